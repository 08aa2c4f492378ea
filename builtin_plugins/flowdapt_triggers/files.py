"""The rule of triggers that fire for files that arrive, on this machine or elsewhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from flowdapt.errors import InvalidResource
from flowdapt.resources import Model, now, timestamp
from flowdapt.settings import Duration
from flowdapt.triggers import Occasion, WatchingRule
from flowdapt_triggers.changes import Changes
from flowdapt_triggers.checks import checked, fault
from flowdapt_triggers.folders import File, Folder, LocalFolder, Look, opened
from flowdapt_triggers.seen import Seen

logger = logging.getLogger(__name__)

EVENT = "com.event.trigger.file"
LONGEST_SECONDS = 60.0  #: between two looks at a folder that cannot be read, if ``poll`` is less
REST = 10  #: times as long as a look takes, nothing is looked at again
SLACK_SECONDS = 0.02  #: by which the clock that files have their times from may be behind
OVERLAP = timedelta(hours=1)  #: of what is told again after a restart, as files come in no order
UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".crdownload")
HIDDEN = (".", "~")

_Text = Annotated[str, Field(min_length=1)]


class _Rule(Model):
    path: _Text
    pattern: _Text = "*"


class _Options(Model):
    settle: Duration = Field(1.0, ge=0)
    poll: Duration = Field(5.0, gt=0)
    recursive: bool = False
    existing: bool = False
    storage: dict[str, Any] = Field(default_factory=dict)


class FileArrivals(WatchingRule):
    """Fires once for each file that arrives, and once more for one that was changed since.

    The rule is a folder, or an object with its ``path`` and a ``pattern`` of names, such as
    ``*.csv``; with a ``/`` in it, of paths within the folder. A URL such as ``s3://bucket/in`` is
    read through fsspec. What is hidden, and files whose name says that they are not whole yet
    (``.x``, ``~x``, ``x.part``, ``x.tmp``), count only if the pattern begins, or ends, like that.

    Options: ``settle``, how long a file must have stayed as it is (1 s); ``poll``, between two
    looks (5 s), where a folder of this machine tells of changes at once, unless others make them
    over a network; ``recursive``; ``existing``, whether files count that were there before the
    trigger; ``storage``, further arguments of the file system.
    """

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        faults: list[dict[str, Any]] = []
        given = {"path": rule} if isinstance(rule, str) else rule
        said = None
        if isinstance(given, dict):
            said = checked(_Rule, given, "rule", faults)
        else:
            fact = "should be a folder, or an object with its `path` and a `pattern`"
            faults.append(fault(("rule",), fact))
        chosen = checked(_Options, options, "options", faults)
        if said and chosen and "/" in said.pattern and not chosen.recursive:
            fact = "has a `/`, and without the option `recursive` no file is in a folder within"
            faults.append(fault(("rule", "pattern"), fact))
        if said and chosen:
            try:
                self._folder = opened(said.path, recursive=chosen.recursive, storage=chosen.storage)
            except ValueError as error:
                faults.append(fault(("rule", "path"), str(error)))
        if faults or said is None or chosen is None:
            raise InvalidResource("trigger", faults)
        self._pattern, self._options = said.pattern, chosen

    async def watch(
        self,
        fire: Callable[[Occasion], None],
        *,
        since: datetime | None = None,
        seen_to: datetime | None = None,
    ) -> None:
        """Call ``fire`` for each file that arrives, until this is cancelled.

        :param since: when the trigger was made: what came before is known, unless ``existing``.
            Without it, that is what is there at the first look.
        :param seen_to: the time of the last occasion that was told before a restart, if one was.
            What came since then, and in the hour before, is told, perhaps again; but nothing from
            before ``since``, unless ``existing``. File systems that tell no times have what came
            while nobody watched pass for known.
        """
        first = self._first(since, seen_to)
        seen = Seen(self._options.settle, first, all_known=first is None and not self._existing)
        watching = _Watching(self._folder, self._options.poll)
        try:
            while True:
                look, clock = await watching.look(), asyncio.get_running_loop().time()
                self.trouble = watching.trouble
                wait = watching.pause
                if look:
                    counting = [file for file in look.files if self._counts(file.within)]
                    unseen = [str(error.filename) for error in look.troubles]
                    for file in seen.settled(counting, clock, unseen=unseen):
                        fire(_occasion(file))
                    wait = min(wait, seen.wait)
                await watching.sleep(wait)
        finally:
            watching.stop()

    @property
    def _existing(self) -> bool:
        return self._options.existing

    def _first(self, since: datetime | None, seen_to: datetime | None) -> float | None:
        """Return the time from which on files count that came before the first look."""
        times = [since] if since and not self._existing else []
        times += [seen_to - OVERLAP] if seen_to else []
        return max(times).timestamp() - SLACK_SECONDS if times else None

    def _counts(self, within: str) -> bool:
        name, pattern = within.rpartition("/")[2], self._pattern
        if not fnmatchcase(within if "/" in pattern else name, pattern):
            return False
        begins = pattern.rpartition("/")[2]
        if any(name.startswith(mark) and not begins.startswith(mark) for mark in HIDDEN):
            return False
        return not any(name.endswith(end) and not pattern.endswith(end) for end in UNFINISHED)


class _Watching:
    """Looks at a folder when there is reason to, and says what is wrong with it once."""

    def __init__(self, folder: Folder, poll: float) -> None:
        self._folder, self._poll, self._failures = folder, poll, 0
        self._said: set[str] = set()
        self._took, self.trouble = 0.0, ""
        local = isinstance(folder, LocalFolder)
        self._changes = Changes(folder.path, recursive=folder.recursive) if local else None

    async def look(self) -> Look | None:
        """Return which files are there; nothing where that cannot be seen."""
        clock = asyncio.get_running_loop().time
        began, self.trouble = clock(), ""
        if self._changes:
            self._changes.happened.clear()
        try:
            look = await asyncio.to_thread(self._look)
        except FileNotFoundError:
            self._say("absent", "is not there, and is waited for", logging.INFO)
            self._failures = 0
            return Look([])
        except Exception as error:  # such as a network that is away
            self._failures += 1
            self._complain(error, "cannot be read, and is tried again")
            return None
        finally:
            self._took = clock() - began
        for trouble in look.troubles:
            self._complain(trouble, "cannot be read in part")
        if self._changes and (quiet := self._changes.trouble):
            self._complain(quiet, f"tells of no changes; looked at every {self._poll:g} s")
        elif not look.troubles:
            self._said.clear()
        self._failures = 0
        return look

    def _look(self) -> Look:
        if self._changes:
            self._changes.follow()  # before the look, or what comes between is missed
        return self._folder.look()

    @property
    def pause(self) -> float:
        """Seconds until the next look, if nothing is the matter before."""
        if not self._failures:
            return self._poll
        longer: float = self._poll * 2 ** min(self._failures, 30)
        return min(longer, max(self._poll, LONGEST_SECONDS))

    async def sleep(self, seconds: float) -> None:
        """Wait for so long, or until something changes."""
        rest = min(self._took * REST, self._poll)  # however much changes, and however large it is
        await asyncio.sleep(rest)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds - rest, 0.01)):
                await (self._changes.happened if self._changes else asyncio.Event()).wait()

    def stop(self) -> None:
        """Look no longer."""
        if self._changes:
            self._changes.stop()

    def _complain(self, error: Exception, fact: str) -> None:
        said = f"{type(error).__name__}: {error}"
        self._say(f"{type(error)} {getattr(error, 'errno', '')} {fact}", f"{fact}: {said}")

    def _say(self, kind: str, fact: str, level: int = logging.WARNING) -> None:
        self.trouble = f"folder {self._folder.shown} {fact}"
        if kind not in self._said:
            self._said.add(kind)
            logger.log(level, "folder %s %s", self._folder.shown, fact)


def _occasion(file: File) -> Occasion:
    data = {
        "path": file.path,
        "name": file.within.rpartition("/")[2],
        "size": file.size,
        "modified": timestamp(_moment(file.modified)) if file.modified else None,
    }
    event = {
        "id": str(uuid4()),
        "time": timestamp(now()),
        "type": EVENT,
        "channel": "triggers",
        "source": "file",
        "headers": {},
        "data": data,
    }
    # Names can have bytes that are no text, and keys are stored.
    key = f"{file.path}@{file.size}@{file.version}".encode(errors="backslashreplace").decode()
    # None is of the future, or what comes until then would not be told after a restart.
    return Occasion(key, min(_moment(file.came), now()), event, {"path": file.path})


def _moment(seconds: float | None) -> datetime:
    """Return a time; the present one, where it is none that can be."""
    with suppress(OverflowError, ValueError, OSError):
        return now() if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return now()
