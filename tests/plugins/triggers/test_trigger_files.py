"""Files that arrive: each once, when it is whole, and also while no server was there."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import logging
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from flowdapt_testing.desks import until
from flowdapt_triggers import changes, folders
from flowdapt_triggers.files import FileArrivals
from flowdapt_triggers.folders import File
from flowdapt_triggers.seen import Seen

from flowdapt.errors import InvalidResource
from flowdapt.triggers import Occasion
from tests.object_storages import new_bucket

pytestmark = pytest.mark.anyio

QUICK = {"settle": 0.05, "poll": 0.1}
SLOW = {"settle": 0.05, "poll": 60}  # whoever sees something then was told of it
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Told(list[Occasion]):
    """The occasions that a rule told of."""

    @property
    def names(self) -> list[str]:
        return [occasion.event["data"]["name"] for occasion in self]

    async def have(self, *names: str) -> None:
        """Wait for as many occasions, which have to be of these files."""
        await until(lambda: len(self) >= len(names))
        assert sorted(self.names) == sorted(names)


@asynccontextmanager
async def watching(
    rule: Any, options: Any = QUICK, *, looked: bool = True, **times: datetime
) -> AsyncIterator[Told]:
    """Have a rule watch; from the first look on, unless that is not to be waited for."""
    made, told, looks = FileArrivals(rule, options), Told(), threading.Event()
    folder = made._folder
    look = folder.look

    def look_and_say() -> Any:
        try:
            return look()
        finally:
            looks.set()

    folder.look = look_and_say  # type: ignore[method-assign]  # to know when it looked
    task = asyncio.create_task(made.watch(told.append, **times))
    try:
        if looked:
            await until(looks.is_set)
        yield told
    finally:
        assert not task.done(), task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def folder(tmp_path: Path, anyio_backend: str) -> Path:
    (found := tmp_path / "in").mkdir()
    return found


# A folder here -------------------------------------------------------------------------------


async def test_a_file_that_arrives_is_told_of_at_once_and_once(folder: Path) -> None:
    async with watching(str(folder), SLOW) as told:
        (folder / "a.csv").write_text("1,2")
        await told.have("a.csv")
        (folder / "b.csv").write_text("3")
        await told.have("a.csv", "b.csv")

    path, facts = str(folder / "a.csv"), (folder / "a.csv").stat()
    assert told[0].key == f"{path}@3@{facts.st_mtime_ns}"
    assert told[0].input == {"path": path}
    assert told[0].event["type"] == "com.event.trigger.file"
    modified = datetime.fromtimestamp(facts.st_mtime, UTC).replace(tzinfo=None)
    assert told[0].event["data"] == {
        "path": path,
        "name": "a.csv",
        "size": 3,
        "modified": modified.isoformat(timespec="microseconds"),
    }


async def test_a_file_that_changes_is_another_occasion(folder: Path) -> None:
    async with watching(str(folder), SLOW) as told:
        (folder / "a").write_text("1")
        await told.have("a")
        (folder / "a").write_text("12")
        await told.have("a", "a")

    assert told[0].key != told[1].key


async def test_names_that_do_not_fit_or_are_not_whole_do_not_count(folder: Path) -> None:
    async with watching({"path": str(folder), "pattern": "*.csv*"}) as told:
        (folder / "deep.csv").mkdir()
        for name in ("a.txt", ".b.csv", "~c.csv", "d.csv.part", "e.csv.tmp", "deep.csv/f.csv"):
            (folder / name).write_text("x")
        (folder / "d.csv.part").rename(folder / "g.csv")
        await told.have("g.csv")


@pytest.mark.parametrize(
    ("pattern", "name"), [("*.part", "a.part"), (".env*", ".env1"), ("~*", "~x")]
)
async def test_a_pattern_can_name_what_does_not_count_else(
    folder: Path, pattern: str, name: str
) -> None:
    async with watching({"path": str(folder), "pattern": pattern}) as told:
        (folder / name).write_text("x")
        await told.have(name)


async def test_folders_within_count_where_that_is_wanted(folder: Path) -> None:
    (folder / "2031").mkdir()
    (folder / ".git").mkdir()
    rule = {"path": str(folder), "pattern": "2031/*.csv"}
    async with watching(rule, {**SLOW, "recursive": True}) as told:
        (folder / ".git" / "a.csv").write_text("x")
        (folder / "b.csv").write_text("x")
        (folder / "2031" / "c.csv").write_text("x")
        await told.have("c.csv")


async def test_a_folder_may_come_later_go_and_be_made_anew(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.rmdir()
    caplog.set_level(logging.INFO, "flowdapt_triggers")
    async with watching(str(folder)) as told:
        folder.mkdir()
        (folder / "a").write_text("x")
        await told.have("a")
        for name in ("b", "c"):
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / name).write_text("x")
            await told.have(*"abc"[: "abc".index(name) + 1])

    assert told.names == ["a", "b", "c"]
    assert f"folder {folder} is not there, and is waited for" in caplog.messages


async def test_a_folder_made_anew_tells_at_once_again(folder: Path) -> None:
    notices = changes.Changes(str(folder), recursive=False)
    try:
        notices.follow()
        await until(notices.happened.is_set)
        shutil.rmtree(folder)
        folder.mkdir()
        notices.happened.clear()

        def noticed() -> bool:
            notices.follow()
            (folder / uuid4().hex).write_text("x")
            return notices.happened.is_set()

        await until(noticed)
    finally:
        notices.stop()
    await until(lambda: notices._thread is None or not notices._thread.is_alive())


async def test_where_nothing_is_told_it_is_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(*args: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "OS file watch limit reached.")

    monkeypatch.setattr(changes, "watch", no_room)
    async with watching(str(folder)) as told:
        (folder / "a").write_text("x")
        await told.have("a")
        (folder / "b").write_text("x")
        await told.have("a", "b")

    assert caplog.text.count("OS file watch limit reached") == 1


async def test_trouble_is_logged_once_and_does_not_end_the_watch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scan, times = os.scandir, iter(range(4))

    def failing(path: Any) -> Any:
        if next(times, None) is not None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", failing)
    async with watching(str(folder), {**QUICK, "poll": 0.01, "existing": True}) as told:
        (folder / "a").write_text("x")
        await told.have("a")

    assert caplog.text.count("cannot be read, and is tried again") == 1


# What was there before -----------------------------------------------------------------------


async def test_what_was_there_before_counts_only_where_that_is_wanted(folder: Path) -> None:
    (folder / "old").write_text("x")
    async with watching(str(folder)) as told:
        (folder / "new").write_text("x")
        await told.have("new")
    async with watching(str(folder), {**QUICK, "existing": True}) as told:
        await told.have("old", "new")


async def test_what_came_while_nobody_watched_is_told_of_with_the_same_keys(folder: Path) -> None:
    (folder.parent / "moved").write_text("x")
    os.utime(folder.parent / "moved", (1e9, 1e9))
    async with watching(str(folder)) as told:
        (folder / "a").write_text("x")
        await told.have("a")
    (folder / "b").write_text("x")
    (folder.parent / "moved").rename(folder / "moved")  # with the time when it was written

    async with watching(str(folder), since=LONG_AGO, seen_to=told[0].time, looked=False) as again:
        await again.have("a", "b", "moved")

    assert told[0].key in [occasion.key for occasion in again]


async def test_what_is_older_than_the_trigger_does_not_count(folder: Path) -> None:
    (folder / "old").write_text("x")
    later = datetime.now(UTC) + timedelta(hours=3)

    async with watching(str(folder), since=later) as told:
        (folder / "new").write_text("x")
        await told.have("new")
    async with watching(str(folder), since=LONG_AGO, seen_to=later) as told:
        (folder / "newer").write_text("x")
        await told.have("newer")


# Elsewhere -----------------------------------------------------------------------------------


async def test_a_folder_elsewhere_is_looked_at(anyio_backend: str) -> None:
    place, system = f"memory://{uuid4()}", fsspec.filesystem("memory")
    system.pipe(f"{place}/old.csv", b"1")
    async with watching({"path": place, "pattern": "*.csv"}) as told:
        for name in ("a.csv", "b.txt", "deep/c.csv"):
            system.pipe(f"{place}/{name}", b"12")
        await told.have("a.csv")
        system.pipe(f"{place}/a.csv", b"12")
        await told.have("a.csv", "a.csv")
    async with watching(f"{place}/", {**QUICK, "recursive": True, "existing": True}) as told:
        await told.have("old.csv", "a.csv", "b.txt", "c.csv")

    assert {occasion.input["path"] for occasion in told if occasion.input} == {
        f"{place}/{name}" for name in ("old.csv", "a.csv", "b.txt", "deep/c.csv")
    }


async def test_a_folder_of_an_object_storage_is_looked_at(
    s3: dict[str, Any], anyio_backend: str
) -> None:
    place, system = f"s3://{new_bucket(s3)}/in", fsspec.filesystem("s3", **s3)
    async with watching(place, {**QUICK, "storage": s3}) as told:
        await asyncio.to_thread(system.pipe_file, f"{place}/a", b"1")
        await told.have("a")
        before = datetime.now(UTC)  # S3 knows whole seconds alone
        await asyncio.to_thread(system.pipe_file, f"{place}/a", b"2")
        await told.have("a", "a")

    assert told[0].key != told[1].key
    async with watching(place, {**QUICK, "storage": s3}, since=before, looked=False) as again:
        await again.have("a")
    assert again[0].key == told[1].key


async def test_a_server_that_is_away_is_tried_again(
    anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens there
        made = FileArrivals(f"ftp://127.0.0.1:{free.getsockname()[1]}/in", QUICK)
        task = asyncio.create_task(made.watch(lambda occasion: None))

        await until(lambda: "cannot be read, and is tried again: Connection" in caplog.text)

    assert not task.done()
    task.cancel()


def test_no_password_is_told() -> None:
    found = folders.opened("ftp://me:s3cret@host/in", recursive=False, storage={})

    assert found.shown == "ftp://me@host/in"


# What is remembered --------------------------------------------------------------------------


def seen(name: str, size: int = 1, came: float = 0.0) -> File:
    return File(f"/in/{name}", name, size, came, came, str(came))


def names(found: list[File]) -> list[str]:
    return [file.within for file in found]


def test_a_file_counts_once_it_stays_as_it_is() -> None:
    memory = Seen(1.0, None, all_known=False)

    assert memory.settled([seen("a", 1)], 0.0, unseen=()) == []
    assert memory.settled([seen("a", 2)], 0.9, unseen=()) == []
    assert memory.wait == pytest.approx(1.0)
    assert memory.settled([seen("a", 2)], 1.8, unseen=()) == []
    assert names(memory.settled([seen("a", 2)], 1.9, unseen=())) == ["a"]
    assert memory.settled([seen("a", 2)], 9.0, unseen=()) == []


def test_the_oldest_is_told_first() -> None:
    memory = Seen(0.0, 2.0, all_known=False)
    files = [seen("c", came=9.0), seen("a", came=1.0), seen("b", came=3.0)]

    assert names(memory.settled(files, 0.0, unseen=())) == ["b", "c"]


def test_what_is_gone_is_forgotten() -> None:
    memory = Seen(0.0, None, all_known=True)

    for number in range(1000):
        memory.settled([seen(f"{number}")], float(number), unseen=())

    assert len(memory._states) == 1


def test_what_cannot_be_seen_for_a_while_is_not_forgotten() -> None:
    memory = Seen(0.0, None, all_known=True)
    files = [seen("a"), seen("deep/b")]
    memory.settled(files, 0.0, unseen=())

    memory.settled([], 1.0, unseen=())  # such as where a disk was not mounted
    assert memory.settled(files, 2.0, unseen=()) == []
    memory.settled(files[:1], 3.0, unseen=["/in/deep"])
    assert memory.settled(files, 4.0, unseen=()) == []


# Rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "options", "loc", "said"),
    [
        (3, {}, ("rule",), "should be a folder"),
        ("", {}, ("rule", "path"), "at least 1 character"),
        ({"pattern": "*"}, {}, ("rule", "path"), "Field required"),
        (
            {"path": "x", "patern": "*"},
            {},
            ("rule", "patern"),
            "(did you mean 'pattern' or 'path'?)",
        ),
        (
            {"path": "x", "pattern": "a/*"},
            {},
            ("rule", "pattern"),
            "without the option `recursive`",
        ),
        ("s4://x", {}, ("rule", "path"), "there is no file system 's4'"),
        ("x", {"setle": 1}, ("options", "setle"), "unknown field (did you mean 'settle'?)"),
        ("x", {"settle": "soon"}, ("options", "settle"), "should be a number of seconds"),
        ("x", {"poll": 0}, ("options", "poll"), "greater than 0"),
        ("x", {"storage": "key"}, ("options", "storage"), "valid dictionary"),
    ],
)
def test_a_rule_that_cannot_be_understood_is_refused(
    rule: Any, options: dict[str, Any], loc: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidResource) as refused:
        FileArrivals(rule, options)

    (error,) = refused.value.errors
    assert error["loc"] == loc
    assert said in error["msg"]


def test_a_library_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[[str], Any] = lambda name: None  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", find)

    with pytest.raises(InvalidResource, match='requires "requests" to be installed'):
        FileArrivals("webhdfs://host/in", {})
