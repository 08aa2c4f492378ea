"""Shared memory: how it is used again, whose it is, and what is left of whom."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flowdapt_memory.blocks import LARGE
from flowdapt_memory.owners import OwnMemory
from flowdapt_memory.shm import ShmMemory
from flowdapt_memory.sweeping import sweep
from flowdapt_testing.elsewhere import Elsewhere, is_whole, put

from flowdapt.objects import attached
from tests.plugins.memory.chaos import campaign, end_owners

SIZE = LARGE + 1000


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[OwnMemory]:
    memory = OwnMemory(app_dir=tmp_path)
    yield memory
    memory.close()


@pytest.fixture
def elsewhere(memory: OwnMemory) -> Iterator[Elsewhere]:
    with Elsewhere(memory) as process:
        yield process


def inode(memory: OwnMemory, key: str) -> int:
    return os.stat(f"{memory.arena.objects}/farm/{key}").st_ino


def free(memory: OwnMemory) -> set[int]:
    return {entry.inode() for entry in os.scandir(memory.arena.free)}


def run(script: str, *args: str) -> Any:
    """Run a script in a process of its own, and return what it prints, as JSON."""
    command = [sys.executable, "-c", textwrap.dedent(script), *args]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


# Used again ------------------------------------------------------------------------------------


def test_memory_of_a_replaced_block_is_written_again(memory: OwnMemory) -> None:
    used = set()
    for seed in range(10):
        put(memory, "farm", "cow", SIZE, seed)
        used.add(inode(memory, "cow"))

    assert len(used) == 2  # one is written while the other is there


def test_memory_is_not_written_again_as_long_as_anybody_uses_it(
    memory: OwnMemory, elsewhere: Elsewhere
) -> None:
    put(memory, "farm", "cow", SIZE, 1)
    first = inode(memory, "cow")
    elsewhere.do("hold", "farm", "cow")
    memory.delete("farm", "cow")
    assert free(memory) == {first}

    put(memory, "farm", "pig", SIZE, 2)

    assert inode(memory, "pig") != first
    assert elsewhere.do("held_is_whole")
    elsewhere.kill()
    put(memory, "farm", "hen", SIZE, 3)
    assert inode(memory, "hen") == first


def test_memory_that_is_much_too_large_is_not_taken(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", 4 * SIZE, 1)
    first = inode(memory, "cow")
    memory.delete("farm", "cow")

    put(memory, "farm", "pig", SIZE, 2)

    assert inode(memory, "pig") != first


def test_a_block_is_not_written_over_when_its_replacing_was_cut_short(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", SIZE, 1)
    file = f"{memory.arena.objects}/farm/cow"
    os.link(file, f"{memory.arena.free}/{inode(memory, 'cow')}")  # and there it was killed

    put(memory, "farm", "pig", SIZE, 2)
    sweep(memory.arena, time.time() + 3600)

    assert memory.get("farm", "cow")[-1] == 1
    assert is_whole(memory.get("farm", "cow"))
    os.link(file, f"{memory.arena.free}/{inode(memory, 'cow')}")
    memory.delete("farm", "cow")
    assert not memory.exists("farm", "cow")


def test_a_forked_child_and_its_parent_do_not_write_into_the_same_memory(
    memory: OwnMemory,
) -> None:
    put(memory, "farm", "cow", SIZE, 1)
    memory.delete("farm", "cow")  # both think that it is theirs
    child = os.fork()
    if child == 0:
        for seed in range(50):
            put(memory, "farm", "pig", SIZE, seed)
        os._exit(0)
    torn = 0
    for seed in range(50):
        put(memory, "farm", "hen", SIZE, seed)
        torn += not is_whole(memory.get("farm", "hen"))

    _, status = os.waitpid(child, 0)

    assert (status, torn) == (0, 0)
    assert memory.get("farm", "pig")[-1] == 49
    assert is_whole(memory.get("farm", "pig"))


# Without a copy --------------------------------------------------------------------------------


def test_an_array_from_memory_lies_in_the_shared_file_and_costs_no_memory_of_its_own(
    memory: OwnMemory,
) -> None:
    script = """
        import json, re, sys
        import numpy as np, psutil
        from flowdapt_workers import payloads
        from flowdapt.context import Address
        from flowdapt.objects import attached
        memory = attached(Address(*sys.argv[1:]))
        before = psutil.Process().memory_full_info().uss
        array = payloads.load(memory.get("farm", "field"), readonly=True)
        total = float(array.sum())
        grown = psutil.Process().memory_full_info().uss - before
        at = array.ctypes.data
        spans = [line.split(None, 5) for line in open("/proc/self/maps")]
        (file,) = [s[5].strip() for s in spans if len(s) == 6
                   and int(s[0].split("-")[0], 16) <= at < int(s[0].split("-")[1], 16)]
        print(json.dumps([total, grown, file, array.flags.writeable]))
    """
    import numpy as np
    from flowdapt_workers import payloads

    array = np.ones(5_000_000)
    segments = payloads.dump(array)
    memory.put("farm", "field", payloads.laid_out(segments), size=payloads.size(segments))

    mine = payloads.load(memory.get("farm", "field"), readonly=True)
    assert mine.sum() == array.sum()  # or the pages would be of nobody but the other process

    total, grown, file, writeable = run(script, *memory.address)

    assert total == array.sum()
    assert grown < array.nbytes / 20
    assert file == f"{memory.arena.objects}/farm/field"
    assert not writeable


def test_one_mapping_serves_all_that_ask_in_a_process(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", SIZE, 1)

    first, second = memory.get("farm", "cow"), memory.get("farm", "cow")

    assert address(first) == address(second)


def address(view: memoryview) -> int:
    import numpy as np

    return int(np.frombuffer(view, np.uint8).ctypes.data)


def test_more_blocks_than_open_files_can_be_in_use(memory: OwnMemory) -> None:
    script = """
        import json, resource, sys
        from flowdapt.context import Address
        from flowdapt.objects import attached
        from flowdapt_testing.elsewhere import is_whole
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        memory = attached(Address(*sys.argv[1:]))
        held = [memory.get("farm", f"cow-{n}") for n in range(60)]
        print(json.dumps([len(held), all(map(is_whole, held))]))
    """
    for number in range(60):
        put(memory, "farm", f"cow-{number}", SIZE, number)

    assert run(script, *memory.address) == [60, True]


def test_facts_are_told_while_blocks_go(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", SIZE, 1)
    for folder in (f"{memory.arena.objects}/farm", memory.arena.free):
        os.symlink("nowhere", f"{folder}/gone")  # like one that goes once its name was read

    facts = memory.stats()

    assert (facts["objects"], facts["free"]) == (1, 0)


def test_who_is_interrupted_as_they_get_the_lock_keeps_nobody_waiting(
    memory: OwnMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def interrupted(fd: int, operation: int) -> None:
        real(fd, operation)
        if operation == fcntl.LOCK_EX:
            raise KeyboardInterrupt

    monkeypatch.setattr(fcntl, "flock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        memory.delete("farm", "cow")

    with open(f"{memory.folder}/lock", "rb") as lock:
        real(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises as long as somebody has it


# Whose it is, and what is left -----------------------------------------------------------------


def test_nobody_else_can_read_it(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", SIZE, 1)
    put(memory, "farm", "pig", 100, 1)
    memory.capacity = 0
    put(memory, "farm", "hen", SIZE, 1)

    for folder in (memory.folder, memory.disk):
        for path in Path(folder).rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
        assert Path(folder).stat().st_mode & 0o077 == 0


def test_a_memory_goes_with_its_owner_and_others_stay(tmp_path: Path) -> None:
    one, other = OwnMemory(app_dir=tmp_path), OwnMemory(app_dir=tmp_path)
    put(one, "farm", "cow", SIZE, 1)
    put(other, "farm", "cow", SIZE, 2)
    attached_to_one: ShmMemory = attached(one.address)

    attached_to_one.close()
    other.close()

    assert one.get("farm", "cow")[-1] == 1
    assert not Path(other.folder).exists()
    assert not Path(other.disk).exists()
    one.close()
    one.close()


def test_a_child_does_not_end_the_memory_of_its_parent(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", 100, 1)
    child = os.fork()
    if child == 0:
        memory.close()
        os._exit(0)

    os.waitpid(child, 0)

    assert memory.get("farm", "cow")[-1] == 1


def test_a_sweep_removes_what_is_past_its_time_from_memory_and_disk(memory: OwnMemory) -> None:
    memory.put("farm", "cow", [bytes(SIZE)], size=SIZE, ttl=10)
    memory.put("farm", "hen", [b"x"], size=1, ttl=1000)
    memory.capacity = 0
    memory.put("farm", "pig", [b"x"], size=1, ttl=10)

    sweep(memory.arena, time.time() + 100)

    assert [entry.key for entry in memory.list("farm")] == ["hen"]
    folders = (memory.arena.objects, memory.arena.on_disk)
    assert [p.name for f in folders for p in Path(f).glob("*/*")] == ["hen"]


def test_a_sweep_gives_free_memory_back_after_a_while(memory: OwnMemory) -> None:
    for seed in range(6):
        put(memory, "farm", "cow", SIZE, seed)
    memory.delete("farm", "cow")
    files = [os.open(entry.path, os.O_RDONLY) for entry in os.scandir(memory.arena.free)]
    assert all(os.fstat(file).st_blocks for file in files)

    sweep(memory.arena, time.time())
    assert free(memory)
    sweep(memory.arena, time.time() + 100)

    assert free(memory) == set()
    assert [os.fstat(file).st_blocks for file in files] == [0] * len(files)
    put(memory, "farm", "cow", SIZE, 9)
    assert memory.get("farm", "cow")[-1] == 9
    for file in files:
        os.close(file)


def test_a_sweep_corrects_the_count_of_bytes_in_use(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", SIZE, 1)
    exact = memory.arena.used
    with memory.arena.changing():
        memory.arena.add_used(50 * SIZE)

    sweep(memory.arena, time.time())

    assert memory.arena.used == exact


def test_what_was_put_outlives_the_process_that_put_it_and_its_files_are_closed(
    memory: OwnMemory, elsewhere: Elsewhere
) -> None:
    elsewhere.do("put", "farm", "cow", SIZE, 1)
    elsewhere.kill()
    memory.get("farm", "cow")
    before = psutil.Process().num_fds()

    for _ in range(20):
        assert is_whole(memory.get("farm", "cow"))

    assert psutil.Process().num_fds() == before


def test_killed_writers_and_readers_lose_tear_and_leak_nothing(tmp_path: Path) -> None:
    counts = campaign(tmp_path, 100, seed=time.time_ns(), capacity=8_000_000)

    assert counts.done > 100
    assert counts.looked_at > 50
    faults = counts.torn, counts.lost, counts.leaked_files, counts.miscounted_bytes
    assert faults == (0, 0, 0, 0)


def test_nothing_is_left_of_killed_owners(tmp_path: Path) -> None:
    assert end_owners(tmp_path, 10, seed=time.time_ns()) == []


def test_the_memory_of_an_owner_that_is_gone_says_so(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path)
    other: ShmMemory = attached(memory.address)
    put(other, "farm", "cow", 100, 1)
    memory.close()

    with pytest.raises(KeyError):
        other.get("farm", "cow")
    with pytest.raises(ConnectionError, match=r"memory .* is gone: the server .* has ended"):
        put(other, "farm", "cow", 100, 1)
    with pytest.raises(ConnectionError, match=r"memory .* is gone"):
        put(other, "farm", "cow", SIZE, 1)
    other.close()
    for call in (other.get, other.exists, other.delete):
        with pytest.raises(ConnectionError, match=r"memory .* is gone"):
            call("farm", "cow")


def test_a_file_that_is_no_block_is_named(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", 100, 1)
    file = Path(memory.arena.objects) / "farm" / "cow"
    file.write_bytes(b"somebody else was here")
    os.utime(file, (2**33, 2**33))

    with pytest.raises(OSError, match="farm/cow is no block of a memory"):
        memory.get("farm", "cow")


def test_a_reader_who_waited_for_a_writer_that_was_killed_gets_what_is_in_force(
    memory: OwnMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(memory, "farm", "cow", SIZE, 1)
    old = f"{memory.arena.objects}/farm/cow"
    real, waited = fcntl.flock, list[int]()

    def flock(fd: int, how: int) -> None:
        if how == fcntl.LOCK_SH and not waited:  # it has the file open, and not the lock
            waited.append(fd)
            with memory.arena.changing():
                os.rename(old, f"{memory.arena.new}/half")
            with open(f"{memory.arena.new}/half", "r+b") as half:
                half.seek(SIZE // 2)
                half.write(b"half written again")
            put(memory, "farm", "cow", SIZE, 2)
        real(fd, how)

    monkeypatch.setattr("flowdapt_memory.reading.fcntl.flock", flock)

    found = memory.get("farm", "cow")

    assert waited
    assert (is_whole(found), found[-1]) == (True, 2)


def test_a_child_does_not_hold_on_to_a_lock(memory: OwnMemory) -> None:
    put(memory, "farm", "cow", 100, 1)
    read, write = os.pipe()
    with memory.arena.changing():
        child = os.fork()
        if child == 0:
            os.read(read, 1)
            os._exit(0)

    with Elsewhere(memory) as elsewhere:
        elsewhere.do("put", "farm", "pig", 100, 2)

    os.write(write, b"x")
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
