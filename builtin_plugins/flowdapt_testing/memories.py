"""What every memory does."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flowdapt_workers import payloads

from flowdapt.objects import Memory
from flowdapt_testing.elsewhere import Elsewhere, block, is_whole, put

SMALL, LARGE = 1000, 1_500_000  #: bytes of a block that may be copied, and of one that must not
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
NAMES = ["plain", "a/b", "..", ".", ".hidden", "ä ö", "a~b", "%2E", "x" * 300, "ü" * 500, "new"]


class MemorySuite:
    """What every :class:`flowdapt.objects.Memory` does.

    A subclass says how one is made::

        class TestMyMemory(MemorySuite):
            @pytest.fixture
            def memory(self, tmp_path):
                return MyMemory(app_dir=tmp_path)
    """

    @pytest.fixture
    def elsewhere(self, memory: Memory) -> Iterator[Elsewhere]:
        """Another process over the same memory."""
        with Elsewhere(memory) as process:
            yield process

    @pytest.fixture(autouse=True)
    def _closed(self, memory: Memory) -> Iterator[None]:
        yield
        memory.close()

    # One block

    @SIZES
    def test_what_was_put_is_there_for_this_process_and_others(
        self, memory: Memory, elsewhere: Elsewhere, size: int
    ) -> None:
        memory.put("farm", "cow", [b"moo", bytes(size - 3)], size=size)

        assert bytes(memory.get("farm", "cow")) == b"moo" + bytes(size - 3)
        put(memory, "farm", "pig", size, 7)
        assert elsewhere.do("get", "farm", "pig") == 7
        elsewhere.do("put", "farm", "hen", size, 8)
        assert memory.get("farm", "hen")[-1] == 8

    @SIZES
    def test_the_last_that_was_put_under_a_key_counts(
        self, memory: Memory, elsewhere: Elsewhere, size: int
    ) -> None:
        for seed in range(5):
            put(memory, "farm", "cow", size, seed)
            elsewhere.do("put", "farm", "cow", size, seed + 100)
            assert memory.get("farm", "cow")[-1] == seed + 100

        put(memory, "farm", "cow", SMALL + LARGE - size, 42)  # from small to large, and back
        assert elsewhere.do("get", "farm", "cow") == 42

    def test_a_block_may_be_empty(self, memory: Memory) -> None:
        memory.put("farm", "cow", [], size=0)

        assert memory.exists("farm", "cow")
        assert bytes(memory.get("farm", "cow")) == b""

    @SIZES
    def test_what_was_deleted_is_gone_everywhere(
        self, memory: Memory, elsewhere: Elsewhere, size: int
    ) -> None:
        put(memory, "farm", "cow", size, 1)

        elsewhere.do("delete", "farm", "cow")

        assert not memory.exists("farm", "cow")
        assert not elsewhere.do("exists", "farm", "cow")
        with pytest.raises(KeyError, match=r"no object 'cow' .* namespace 'farm'"):
            memory.get("farm", "cow")

    def test_deleting_what_is_not_there_is_silent(self, memory: Memory) -> None:
        memory.delete("farm", "cow")

        assert not memory.exists("farm", "cow")

    def test_namespaces_are_apart(self, memory: Memory) -> None:
        put(memory, "farm", "cow", SMALL, 1)
        put(memory, "zoo", "cow", SMALL, 2)

        memory.delete("farm", "cow")

        assert memory.get("zoo", "cow")[-1] == 2

    def test_any_text_is_a_key_and_a_namespace(self, memory: Memory, elsewhere: Elsewhere) -> None:
        for number, name in enumerate(NAMES):
            put(memory, name, "key", SMALL, number)
            put(memory, "farm", name, SMALL, number)

        for number, name in enumerate(NAMES):
            assert elsewhere.do("get", name, "key") == number
            assert elsewhere.do("get", "farm", name) == number
            assert [(e.namespace, e.key) for e in memory.list(name)] == [(name, "key")]
        assert sorted(e.key for e in memory.list("farm")) == sorted(NAMES)

    @pytest.mark.parametrize("name", ["", "x" * 1025, "\ud800", 7, None, b"bytes"])
    def test_what_is_no_name_is_refused_and_named(self, memory: Memory, name: Any) -> None:
        for namespace, key in (("farm", name), (name, "key")):
            with pytest.raises(ValueError, match=r"is no (key|namespace): "):
                memory.put(namespace, key, [b"x"], size=1)
            with pytest.raises(ValueError, match=r"is no (key|namespace): "):
                memory.get(namespace, key)

    # Whose memory it is

    @SIZES
    def test_a_block_is_read_only(self, memory: Memory, size: int) -> None:
        put(memory, "farm", "cow", size, 1)

        assert memory.get("farm", "cow").readonly

    @SIZES
    def test_what_is_written_to_a_writable_block_nobody_else_sees(
        self, memory: Memory, elsewhere: Elsewhere, size: int
    ) -> None:
        put(memory, "farm", "cow", size, 1)

        own = memory.get("farm", "cow", writable=True)
        own[:] = bytes(size)

        assert elsewhere.do("get", "farm", "cow") == 1
        assert is_whole(memory.get("farm", "cow"))
        assert bytes(own) == bytes(size)

    @SIZES
    def test_a_block_in_use_stays_what_it_is_when_it_is_replaced_and_deleted(
        self, memory: Memory, elsewhere: Elsewhere, size: int
    ) -> None:
        put(memory, "farm", "cow", size, 1)
        mine = memory.get("farm", "cow")
        elsewhere.do("hold", "farm", "cow")

        for seed in range(20):
            put(memory, "farm", "cow", size, seed + 2)
            put(memory, "farm", f"pig-{seed}", size, seed)
        memory.delete("farm", "cow")

        assert (is_whole(mine), mine[-1]) == (True, 1)
        assert elsewhere.do("held_is_whole")

    def test_what_is_aligned_in_a_payload_is_aligned_in_memory(self, memory: Memory) -> None:
        import numpy as np

        segments = payloads.dump({"a": np.arange(500_000.0), "b": np.arange(7)})
        size = payloads.size(segments)

        memory.put("farm", "arrays", payloads.laid_out(segments), size=size)

        loaded = payloads.load(memory.get("farm", "arrays"), readonly=True)
        assert loaded["a"].ctypes.data % payloads.ALIGNMENT == 0
        assert loaded["a"].sum() == np.arange(500_000.0).sum()

    # What there is

    def test_a_list_tells_what_there_is(self, memory: Memory) -> None:
        memory.put("farm", "cow", [bytes(SMALL)], size=SMALL, type="cow")
        memory.put("farm", "pig", [bytes(LARGE)], size=LARGE, type="pig", ttl=60)
        memory.put("zoo", "ape", [b"x"], size=1)
        memory.put(".run", "hidden", [b"x"], size=1)

        found = {entry.key: entry for entry in memory.list("farm")}

        assert {key: (e.size, e.type, e.place) for key, e in found.items()} == {
            "cow": (SMALL, "cow", "memory"),
            "pig": (LARGE, "pig", "memory"),
        }
        assert found["cow"].expires is None
        assert found["pig"].expires == pytest.approx(found["pig"].created + 60)
        assert {(e.namespace, e.key) for e in memory.list()} == {
            *(("farm", "cow"), ("farm", "pig"), ("zoo", "ape"))
        }
        assert [e.key for e in memory.list(".run")] == ["hidden"]
        assert list(memory.list("nowhere")) == []

    def test_a_namespace_is_cleared_whole(self, memory: Memory, elsewhere: Elsewhere) -> None:
        for number in range(250):
            put(memory, "farm", f"cow-{number}", SMALL, 1)
        put(memory, "farm", "pig", LARGE, 1)
        put(memory, "zoo", "ape", SMALL, 1)

        memory.clear("farm")

        assert list(memory.list("farm")) == []
        assert not elsewhere.do("exists", "farm", "pig")
        assert memory.exists("zoo", "ape")
        memory.clear("farm")
        put(memory, "farm", "cow", SMALL, 2)
        assert memory.exists("farm", "cow")

    def test_a_block_is_gone_after_its_time(self, memory: Memory, elsewhere: Elsewhere) -> None:
        memory.put("farm", "cow", [b"moo"], size=3, ttl=-1)
        memory.put("farm", "pig", [b"oink"], size=4, ttl=60)

        assert not elsewhere.do("exists", "farm", "cow")
        with pytest.raises(KeyError):
            memory.get("farm", "cow")
        assert [entry.key for entry in memory.list("farm")] == ["pig"]
        memory.put("farm", "cow", [b"moo"], size=3)
        assert bytes(memory.get("farm", "cow")) == b"moo"

    # Many at once

    @SIZES
    def test_a_reader_gets_the_old_or_the_new_block_and_never_a_mixture(
        self, memory: Memory, elsewhere: Elsewhere, size: int
    ) -> None:
        put(memory, "farm", "cow", size, 250)
        elsewhere.begin("put_many", "farm", "cow", size, 100)

        torn, seen = 0, set[int]()
        while 99 not in seen:  # the last that is put
            found = memory.get("farm", "cow")
            torn += not is_whole(found)
            seen.add(found[-1])

        assert torn == 0

    def test_threads_of_one_process_do_not_mix_their_blocks(self, memory: Memory) -> None:
        faults: list[str] = []

        def work(number: int) -> None:
            for seed in range(30):
                put(memory, "farm", f"cow-{number}", LARGE // 2, seed)
                found = memory.get("farm", f"cow-{number}")
                if not is_whole(found) or found[-1] != seed:
                    faults.append(f"cow-{number} {seed}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert faults == []

    def test_what_a_killed_process_had_put_is_still_there(
        self, memory: Memory, elsewhere: Elsewhere
    ) -> None:
        elsewhere.do("put", "farm", "cow", LARGE, 1)
        elsewhere.do("put", "farm", "pig", SMALL, 2)

        elsewhere.kill()

        assert memory.get("farm", "cow")[-1] == 1
        assert memory.get("farm", "pig")[-1] == 2
        assert bytes(memory.get("farm", "cow")) == block(LARGE, 1)
