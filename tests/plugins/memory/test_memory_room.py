"""What happens when memory or the disk is full: small file systems, in a namespace of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from flowdapt_memory.owners import OwnMemory
from flowdapt_testing.elsewhere import Elsewhere, is_whole, put

MIB = 2**20
LARGE = 3 * MIB // 2


def places(memory: OwnMemory, namespace: str = "farm") -> dict[str, str]:
    return {entry.key: entry.place for entry in memory.list(namespace)}


def ask(memory: OwnMemory, key: str, seconds: float) -> None:
    """Have a block be asked for at a time, as its file says it."""
    file = f"{memory.arena.objects}/farm/{key}"
    os.utime(file, (seconds, os.stat(file).st_mtime))


@pytest.mark.parametrize("size", [1000, LARGE], ids=["small", "large"])
def test_what_was_not_asked_for_the_longest_goes_to_disk(tmp_path: Path, size: int) -> None:
    memory = OwnMemory(app_dir=tmp_path, capacity=3 * max(size, 4096) + 2 * MIB // 3)
    for number, key in enumerate(["cow", "pig", "hen"]):
        put(memory, "farm", key, size, number)
        ask(memory, key, 1000 + number)
    ask(memory, "cow", 2000)
    if size < LARGE:
        memory.capacity = 3 * 4096

    put(memory, "farm", "ape", size, 3)

    assert places(memory)["pig"] == "disk"
    assert places(memory)["cow"] == places(memory)["ape"] == "memory"
    assert [memory.get("farm", key)[-1] for key in ("cow", "pig", "hen", "ape")] == [0, 1, 2, 3]
    assert memory.arena.used <= memory.capacity
    memory.close()


def test_what_went_to_disk_is_replaced_in_memory_and_deleted_like_any_other(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path, capacity=2 * LARGE)
    put(memory, "farm", "cow", LARGE, 1)
    put(memory, "farm", "pig", LARGE // 3, 1)
    put(memory, "farm", "hen", LARGE, 2)
    assert places(memory)["cow"] == "disk"

    put(memory, "farm", "cow", 1000, 3)
    memory.delete("farm", "pig")

    assert places(memory)["cow"] == "memory"
    assert memory.get("farm", "cow")[-1] == 3
    assert not memory.exists("farm", "pig")
    on_disk = [file for file in Path(memory.disk).rglob("*") if file.is_file()]
    assert {file.name for file in on_disk} <= {"hen", "owner"}
    memory.close()


def test_what_somebody_uses_stays_and_what_is_new_goes_to_disk(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path, capacity=2 * LARGE)
    put(memory, "farm", "cow", LARGE, 1)
    with Elsewhere(memory) as elsewhere:
        elsewhere.do("hold", "farm", "cow")

        put(memory, "farm", "pig", LARGE, 2)

        assert places(memory) == {"cow": "memory", "pig": "disk"}
        assert elsewhere.do("held_is_whole")
    memory.close()


def test_memory_of_what_went_to_disk_is_given_back_though_its_writer_has_it_mapped(
    tmp_path: Path,
) -> None:
    memory = OwnMemory(app_dir=tmp_path, capacity=3 * LARGE)
    for seed in range(6):  # after a few uses a segment is mapped
        put(memory, "farm", "cow", LARGE, seed)
        memory.delete("farm", "cow")
    put(memory, "farm", "cow", LARGE, 7)
    file = os.open(f"{memory.arena.objects}/farm/cow", os.O_RDONLY)

    put(memory, "farm", "pig", 2 * LARGE, 8)

    assert places(memory)["cow"] == "disk"
    assert os.fstat(file).st_blocks == 0
    os.close(file)
    memory.close()


def test_a_namespace_keeps_to_its_quota_and_leaves_others_alone(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path, quotas={"farm": 2 * LARGE, "*": "1GiB"})
    put(memory, "zoo", "ape", LARGE, 0)
    for seed, key in enumerate(["cow", "pig", "hen"]):
        put(memory, "farm", key, LARGE - 1000, seed)

    put(memory, "farm", "barn", 3 * LARGE, 9)

    assert sorted(places(memory).values()) == ["disk", "disk", "memory", "memory"]
    assert places(memory)["barn"] == "disk"
    assert places(memory, "zoo") == {"ape": "memory"}
    assert [memory.get("farm", key)[-1] for key in ("cow", "pig", "hen", "barn")] == [0, 1, 2, 9]
    memory.close()


def test_capacity_is_half_of_what_the_system_offers_unless_it_is_set(tmp_path: Path) -> None:
    auto = OwnMemory(app_dir=tmp_path)
    system = os.statvfs("/dev/shm")
    assert 0 < auto.capacity <= system.f_blocks * system.f_frsize // 2
    auto.close()

    given = OwnMemory(app_dir=tmp_path, capacity="512MiB")
    assert given.capacity == 512 * MIB
    given.close()
    with pytest.raises(ValueError, match="capacity 'much' is no number of bytes"):
        OwnMemory(app_dir=tmp_path, capacity="much")


# Full file systems -----------------------------------------------------------------------------


def in_small_file_systems(script: str, tmp_path: Path, *, memory: str, disk: str) -> Any:
    """Run a script with two small file systems, and return what it prints, as JSON."""
    begin = """
        import errno, json, os, sys
        from pathlib import Path
        from flowdapt.errors import MemoryFull
        from flowdapt_memory.owners import OwnMemory
        from flowdapt_testing.elsewhere import is_whole, put
        shared, disk = map(Path, sys.argv[1:])
        # The system has more room for blocks than this says, so that it is the system that is full.
        memory = OwnMemory(app_dir=disk, folder=str(shared), capacity="1GiB")
        def places(): return {e.key: e.place for e in memory.list("farm")}
        def files(folder):
            found = [p.name for p in Path(folder).rglob("*") if p.is_file()]
            return [name for name in found if name != "owner"]
    """
    for name in ("shared", "disk"):
        (tmp_path / name).mkdir()
    (tmp_path / "script.py").write_text(textwrap.dedent(begin) + textwrap.dedent(script))
    mount = "mount -t tmpfs -o size={} none {}"
    shell = " && ".join(
        [
            mount.format(memory, tmp_path / "shared"),
            mount.format(disk, tmp_path / "disk"),
            f"exec {sys.executable} {tmp_path}/script.py {tmp_path}/shared {tmp_path}/disk",
        ]
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_full_shared_memory_never_fails_what_the_disk_has_room_for(tmp_path: Path) -> None:
    script = """
        for n in range(30):
            put(memory, "farm", f"cow-{n}", 1_500_000 if n % 2 else 50_000, n)
        found = [memory.get("farm", f"cow-{n}") for n in range(30)]
        whole = [is_whole(one) and one[-1] == n for n, one in enumerate(found)]
        print(json.dumps([all(whole), sorted(set(places().values())), len(places())]))
    """

    answer = in_small_file_systems(script, tmp_path, memory="5m", disk="64m")

    assert answer == [True, ["disk", "memory"], 30]


def test_what_fits_nowhere_is_refused_and_all_else_stays_as_it_was(tmp_path: Path) -> None:
    script = """
        put(memory, "farm", "cow", 1_500_000, 1)
        put(memory, "farm", "pig", 1_500_000, 2)
        before = places()
        try:
            put(memory, "farm", "cow", 9_000_000, 3)
        except MemoryFull as error:
            said = str(error)
        whole = [memory.get("farm", k)[-1] for k in ("cow", "pig")]
        left = files(memory.arena.new) + files(memory.arena.new_on_disk)
        put(memory, "farm", "hen", 1000, 4)
        print(json.dumps([said, whole, left, places()["hen"]]))
    """

    said, whole, left, hen = in_small_file_systems(script, tmp_path, memory="4m", disk="4m")

    assert said.startswith("object 'cow' of 9000128 bytes fits neither into the memory, which has ")
    assert "No space left on device" in said
    assert (whole, left, hen) == ([1, 2], [], "memory")


def test_a_disk_without_room_leaves_blocks_in_memory_whole(tmp_path: Path) -> None:
    script = """
        memory.capacity = 4_000_000
        put(memory, "farm", "cow", 3_500_000, 1)
        try:
            put(memory, "farm", "pig", 3_500_000, 2)
        except MemoryFull:
            pass
        print(json.dumps([memory.get("farm", "cow")[-1], places(), files(memory.disk)]))
    """

    answer = in_small_file_systems(script, tmp_path, memory="16m", disk="1m")

    assert answer == [1, {"cow": "memory"}, []]


def test_blocks_are_whole_after_they_were_moved_while_others_read_and_write(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path, capacity=4 * LARGE)
    for number in range(12):
        put(memory, "farm", f"cow-{number}", LARGE, number)
    with Elsewhere(memory) as writer, Elsewhere(memory) as reader:
        writer.begin("put_many", "farm", "pig", LARGE, 40)

        torn = sum(reader.do("get_many", "farm", f"cow-{n % 12}", 5) for n in range(36))

    assert torn == 0
    assert all(is_whole(memory.get("farm", f"cow-{n}")) for n in range(12))
    memory.close()


def test_what_was_never_asked_for_goes_before_what_was(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path, capacity=4 * LARGE)
    for key in ("cow", "pig", "hen"):
        put(memory, "farm", key, LARGE, 1)
        file = f"{memory.arena.objects}/farm/{key}"
        times = os.stat(file)
        os.utime(file, (times.st_atime - 60, times.st_mtime))  # a minute goes by

    memory.get("farm", "cow")
    put(memory, "farm", "ape", LARGE, 1)
    put(memory, "farm", "cat", LARGE, 1)

    assert places(memory)["cow"] == places(memory)["cat"] == "memory"
    assert places(memory)["pig"] == "disk"
    memory.close()


def test_what_is_on_disk_is_not_taken_for_that_of_somebody_who_is_gone(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path, capacity=0)
    put(memory, "farm", "cow", LARGE, 1)

    OwnMemory(app_dir=tmp_path, folder=str(tmp_path / "elsewhere")).close()

    assert memory.get("farm", "cow")[-1] == 1
    memory.close()
