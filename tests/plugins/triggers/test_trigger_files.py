"""Files that arrive in a folder: each once, whole, and also while no server was there."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from flowdapt_testing.desks import until
from flowdapt_triggers.files import FileArrivals

from flowdapt.errors import InvalidResource
from flowdapt.triggers import Occasion

pytestmark = pytest.mark.anyio

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
QUICK = {"settle": 0.1, "poll": 0.1}


class Watched:
    """What a rule told."""

    def __init__(self) -> None:
        self.occasions: list[Occasion] = []

    @property
    def names(self) -> list[str]:
        """The names of the files, in the order in which they were told of."""
        return [occasion.event["data"]["name"] for occasion in self.occasions]

    async def has(self, *names: str) -> None:
        """Wait until these files were told of, and no others."""
        await until(lambda: len(self.occasions) >= len(names))
        assert sorted(self.names) == sorted(names)


@asynccontextmanager
async def watching(
    rule: Any,
    since: datetime = LONG_AGO,
    seen_to: datetime | None = None,
    **options: Any,
) -> AsyncIterator[Watched]:
    """Have a rule watch."""
    watched, made = Watched(), FileArrivals(rule, {**QUICK, **options})
    fire: Callable[[Occasion], None] = watched.occasions.append
    task = asyncio.create_task(made.watch(fire, since=since, seen_to=seen_to))
    yield watched
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def folder(tmp_path: Path, anyio_backend: str) -> Path:
    """A folder where files arrive."""
    (made := tmp_path / "in").mkdir()
    return made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowdapt_triggers.files.WAKE_SECONDS", 0.1)


async def test_a_file_that_arrives_is_told_of_once(folder: Path) -> None:
    async with watching(str(folder)) as watched:
        (folder / "a.csv").write_text("1,2")
        await watched.has("a.csv")
        (folder / "b.csv").write_text("3")
        await watched.has("a.csv", "b.csv")

    first = watched.occasions[0]
    assert first.input == {"path": str(folder / "a.csv")}
    assert first.event["data"]["size"] == 3
    assert first.event["type"] == "com.event.trigger.file"


async def test_a_file_that_is_written_again_counts_again(folder: Path) -> None:
    async with watching(str(folder)) as watched:
        (folder / "a").write_text("1")
        await watched.has("a")
        (folder / "a").write_text("12")
        await watched.has("a", "a")

    first, second = watched.occasions
    assert first.key != second.key


async def test_a_file_counts_once_it_is_whole(folder: Path) -> None:
    async with watching(str(folder), settle=0.4) as watched:
        with (folder / "a").open("w") as file:
            for _ in range(8):
                file.write("x" * 10)
                file.flush()
                await asyncio.sleep(0.1)  # it grows for longer than it has to settle
        await watched.has("a")

    assert watched.occasions[0].event["data"]["size"] == 80


async def test_only_names_that_fit_count(folder: Path) -> None:
    (folder / "sub").mkdir()
    async with watching({"path": str(folder), "pattern": "*.csv"}) as watched:
        for name in ("a.txt", ".b.csv", "c.csv.part", "sub/d.csv", "e.csv"):
            (folder / name).write_text("x")
        await watched.has("e.csv")
    async with watching({"path": str(folder), "pattern": "*.csv"}, recursive=True) as watched:
        await watched.has("d.csv", "e.csv")
    async with watching({"path": str(folder), "pattern": "*.part"}) as watched:
        await watched.has("c.csv.part")


# What was there before -----------------------------------------------------------------------


async def test_what_was_there_before_counts_only_where_that_is_wanted(folder: Path) -> None:
    (folder / "old").write_text("x")
    since = datetime.now(UTC) + timedelta(milliseconds=1)
    await asyncio.sleep(0.01)  # files have the time of a clock that ticks in milliseconds

    async with watching(str(folder), since) as watched:
        (folder / "new").write_text("x")
        await watched.has("new")
    async with watching(str(folder), since, existing=True) as watched:
        await watched.has("old", "new")


async def test_what_arrived_while_no_server_was_there_counts(folder: Path) -> None:
    (folder / "a").write_text("x")
    async with watching(str(folder)) as watched:
        await watched.has("a")
    (folder / "b").write_text("x")

    async with watching(str(folder), seen_to=watched.occasions[0].time) as again:
        await again.has("a", "b")

    assert watched.occasions[0].key in [occasion.key for occasion in again.occasions]


async def test_what_was_seen_to_long_ago_is_not_told_of_again(folder: Path) -> None:
    (folder / "a").write_text("x")
    seen_to = datetime.now(UTC) + timedelta(hours=2)

    async with watching(str(folder), seen_to=seen_to) as watched:
        shutil.copy2(folder / "a", folder / "b")
        os.utime(folder / "b", (4_000_000_000, 4_000_000_000))
        await watched.has("b")


# Folders that come and go --------------------------------------------------------------------


async def test_a_folder_may_come_later_and_be_made_anew(folder: Path) -> None:
    shutil.rmtree(folder)
    async with watching(str(folder)) as watched:
        folder.mkdir()
        (folder / "a").write_text("x")
        await watched.has("a")
        shutil.rmtree(folder)
        await asyncio.sleep(0)
        folder.mkdir()
        (folder / "b").write_text("x")
        await watched.has("a", "b")


async def test_a_folder_elsewhere_is_looked_at(anyio_backend: str) -> None:
    place = f"memory://{uuid4()}"
    system = fsspec.filesystem("memory")
    system.pipe(f"{place}/old.csv", b"1")
    since = datetime.now(UTC)
    async with watching({"path": place, "pattern": "*.csv"}, since) as watched:
        system.pipe(f"{place}/a.csv", b"12")
        system.pipe(f"{place}/a.txt", b"12")
        system.pipe(f"{place}/deep/b.csv", b"12")
        await watched.has("a.csv")

    assert watched.occasions[0].input == {"path": f"{place.replace('://', ':///')}/a.csv"}


async def test_a_folder_that_cannot_be_read_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from flowdapt_triggers import folders

    times: list[int] = []
    read = folders.Folder.files

    def failing(self: Any) -> Any:
        times.append(1)
        if len(times) < 4:
            raise PermissionError("not you")
        return read(self)

    monkeypatch.setattr(folders.Folder, "files", failing)
    (folder / "a").write_text("x")

    async with watching(f"file://{folder}") as watched:
        await watched.has("a")

    assert caplog.text.count("PermissionError: not you") == 1


@pytest.mark.parametrize(
    ("rule", "options", "place", "said"),
    [
        (3, {}, ("rule",), "must be a folder"),
        ({"pattern": "*"}, {}, ("rule",), "must be a folder"),
        ({"path": "x", "patern": "*"}, {}, ("rule", "patern"), "unknown key"),
        ({"path": "x", "pattern": ""}, {}, ("rule", "pattern"), "one such as '*.csv'"),
        ("nosuch://x", {}, ("rule", "path"), "'nosuch://x' cannot be reached"),
        ("x", {"setle": 1}, ("options", "setle"), "did you mean 'settle'"),
        ("x", {"settle": "x"}, ("options", "settle"), "is no duration"),
        ("x", {"recursive": "y"}, ("options", "recursive"), "must be true or false"),
    ],
)
def test_a_rule_that_is_none_is_refused(
    rule: Any, options: dict[str, Any], place: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidResource) as caught:
        FileArrivals(rule, options)

    (error,) = caught.value.errors
    assert error["loc"] == place
    assert said in error["msg"]
