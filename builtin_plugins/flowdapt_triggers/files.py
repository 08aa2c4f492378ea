"""The rule of triggers that fire for files that arrive, on this machine or elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from watchfiles import awatch

from flowdapt.errors import InvalidResource, nearest
from flowdapt.resources import timestamp
from flowdapt.settings import Duration
from flowdapt.triggers import Occasion, WatchingRule
from flowdapt_triggers.folders import File, Folder

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0  #: between two looks at a folder elsewhere
SETTLE_SECONDS = 1.0  #: for which a file must not have changed
WAKE_SECONDS = 0.5  #: how often it is seen to that a folder here is still the same one
OVERLAP = timedelta(hours=1)  #: of the files that are told of once more after a restart
SELDOM_SECONDS = 30.0  #: between two looks at a folder here of which no change was told

_OPTIONS = ("settle", "poll", "recursive", "existing", "storage")
_DURATION: TypeAdapter[float] = TypeAdapter(Duration)


@dataclass
class _Seen:
    """A file, and since when it is what it is."""

    file: File
    since: float
    told: bool = False


class FileArrivals(WatchingRule):
    """Fires once for each file that arrives, and once more for one that was changed since.

    The rule is a folder, or an object with its ``path`` and a ``pattern`` of names; a URL such as
    ``s3://bucket/folder`` is read through fsspec. Options: ``settle``, for how long a file must not
    have changed (1 s); ``poll``, how often a folder elsewhere is looked at (5 s); ``recursive``;
    ``existing``, whether files count that were there before the trigger; ``storage``, further
    arguments of the file system. Files whose name says that they are not whole yet do not count.
    """

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        self._faults: list[dict[str, Any]] = []
        for name in options:
            if name not in _OPTIONS:
                hint = nearest(name, _OPTIONS) or f"; there are {', '.join(_OPTIONS)}"
                self._fault(("options", name), f"unknown option{hint}")
        self._existing = self._switch(options, "existing")
        self._settle = self._seconds(options, "settle", SETTLE_SECONDS)
        self._poll = self._seconds(options, "poll", POLL_SECONDS)
        self._seen: dict[str, _Seen] = {}
        self._complaint = ""
        folder = self._folder(rule, options)
        if self._faults or folder is None:
            raise InvalidResource("rule", self._faults)
        self._in = folder

    # Reading ---------------------------------------------------------------------------------

    def _fault(self, place: tuple[str, ...], fact: str) -> None:
        self._faults.append({"loc": place, "msg": fact, "type": "value_error"})

    def _folder(self, rule: Any, options: Mapping[str, Any]) -> Folder | None:
        given = {"path": rule} if isinstance(rule, str) else rule
        if not isinstance(given, dict) or not isinstance(given.get("path"), str):
            self._fault(("rule",), "must be a folder, or an object with its `path` and a `pattern`")
            return None
        for name in given:
            if name not in ("path", "pattern"):
                self._fault(("rule", name), "unknown key; there are path, pattern")
        pattern = given.get("pattern", "*")
        if not isinstance(pattern, str) or not pattern:
            self._fault(("rule", "pattern"), f"is {pattern!r}, and must be one such as '*.csv'")
            return None
        storage = options.get("storage", {})
        if not isinstance(storage, dict):
            self._fault(("options", "storage"), "must be an object")
            return None
        recursive = self._switch(options, "recursive")
        try:
            return Folder(given["path"], pattern, recursive=recursive, storage=storage)
        except (ValueError, ImportError, TypeError) as error:
            self._fault(("rule", "path"), f"{given['path']!r} cannot be reached: {error}")
            return None

    def _switch(self, options: Mapping[str, Any], name: str) -> bool:
        if not isinstance(value := options.get(name, False), bool):
            self._fault(("options", name), f"is {value!r}, and must be true or false")
        return value is True

    def _seconds(self, options: Mapping[str, Any], name: str, default: float) -> float:
        with suppress(ValidationError):
            if (seconds := _DURATION.validate_python(options.get(name, default))) >= 0:
                return seconds
        fact = f"{options.get(name)!r} is no duration; write seconds, or a text such as '5s'"
        self._fault(("options", name), fact)
        return default

    # Watching --------------------------------------------------------------------------------

    async def watch(
        self, fire: Callable[[Occasion], None], *, since: datetime, seen_to: datetime | None
    ) -> None:
        """Tell of files that arrive, also of those that did while no server was there."""
        if seen_to is not None:
            self._after: datetime | None = max(since, seen_to - OVERLAP)
        else:
            self._after = None if self._existing else since
        async for _ in self._looks():
            try:
                found = await asyncio.to_thread(self._in.files)
            except Exception as error:  # such as a network that is away
                self._complain(error)
                continue
            self._complaint = ""
            self._compare(found, fire)

    def _complain(self, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        if said != self._complaint:
            logger.warning("folder %s cannot be read, and is tried again: %s", self._in.place, said)
        self._complaint = said

    def _compare(self, found: list[File], fire: Callable[[Occasion], None]) -> None:
        """Tell of files that are new and settled; remember those that are there alone."""
        now, before, self._seen = asyncio.get_running_loop().time(), self._seen, {}
        for file in found:
            seen = before.get(file.path)
            if seen is None or seen.file != file:
                seen = _Seen(file, now)
                seen.told = self._after is not None and file.stamp < self._after
            self._seen[file.path] = seen
            if not seen.told and now - seen.since >= self._settle:
                seen.told = True
                fire(_occasion(file))

    @property
    def _unsettled(self) -> bool:
        return any(not seen.told for seen in self._seen.values())

    # When to look ----------------------------------------------------------------------------

    async def _looks(self) -> AsyncIterator[None]:
        """Yield whenever it is time to look."""
        while True:
            yield
            if self._in.local and _number(self._in.place) is not None:
                async for _ in self._changes():
                    yield
            else:
                await asyncio.sleep(self._pause(self._poll))

    def _pause(self, seconds: float) -> float:
        return min(seconds, max(self._settle, 0.05)) if self._unsettled else seconds

    async def _changes(self) -> AsyncIterator[None]:
        """Yield when something changed in a folder here, or has to settle; end when it is gone."""
        place, looked = self._in.place, 0.0
        folder, clock = _number(place), asyncio.get_running_loop().time
        told = awatch(
            place,
            watch_filter=None,
            step=50,
            rust_timeout=int(WAKE_SECONDS * 1000),
            yield_on_timeout=True,
        )
        try:
            async for changes in told:
                if changes or self._unsettled or clock() - looked > SELDOM_SECONDS:
                    looked = clock()
                    yield
                if _number(place) != folder:  # it is gone, or another one is there
                    return
        except OSError:  # it went just now, or may not be watched: then it is only looked at
            await asyncio.sleep(self._pause(self._poll))


def _number(folder: str) -> int | None:
    """Return what no other folder has; nothing where there is none."""
    try:
        return os.stat(folder).st_ino if os.path.isdir(folder) else None
    except OSError:
        return None


def _occasion(file: File) -> Occasion:
    key = f"{file.path}@{file.size}@{file.version}"
    data = {
        "path": file.path,
        "name": file.path.rpartition("/")[2],
        "size": file.size,
        "modified": timestamp(file.stamp),
    }
    event = {
        "id": key,
        "time": timestamp(file.stamp),
        "type": "com.event.trigger.file",
        "channel": "triggers",
        "source": "file",
        "data": data,
    }
    return Occasion(key, file.stamp, event, {"path": file.path})
