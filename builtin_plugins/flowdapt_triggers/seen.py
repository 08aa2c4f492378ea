"""What a trigger remembers of files: which were told, and which may not be whole yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowdapt_triggers.folders import File


@dataclass(slots=True)
class _State:
    """What a file is, and since which look; ``told`` where it does not count any more."""

    mark: tuple[int, str]
    since: float
    told: bool = False


class Seen:
    """Files from look to look; what is gone is forgotten.

    :param settle: seconds for which a file must have stayed as it is
    :param first: the time from which on files count that are there at the first look
    :param all_known: none of these counts
    """

    def __init__(self, settle: float, first: float | None, *, all_known: bool) -> None:
        self._settle, self._first, self._all_known = settle, first, all_known
        self._states: dict[str, _State] = {}
        self._begun = False
        self.wait = math.inf  #: seconds until a file may have settled

    def settled(self, files: Iterable[File], clock: float, *, unseen: Sequence[str]) -> list[File]:
        """Return the files that count now, the oldest first; each is returned once.

        :param files: what is seen now
        :param unseen: folders of which nothing is seen
        """
        before = self._states
        here: dict[str, _State] = {}
        due: list[File] = []
        waiting: list[float] = []
        for file in sorted(files, key=lambda file: file.came or 0.0):
            mark, state = (file.size, file.version), before.get(file.path)
            if state is None or state.mark != mark:
                state = _State(mark, clock, told=state is None and self._is_known(file))
            here[file.path] = state
            if state.told:
                continue
            if state.since + self._settle <= clock:
                state.told = True
                due.append(file)
            else:
                waiting.append(state.since + self._settle - clock)
        if not here:  # a folder that is away, or not mounted, comes back with what it had
            here = before
        elif unseen:
            within = tuple(f"{folder}/" for folder in unseen)
            here = {path: s for path, s in before.items() if path.startswith(within)} | here
        self._states, self._begun, self.wait = here, True, min(waiting, default=math.inf)
        return due

    def _is_known(self, file: File) -> bool:
        if self._begun:
            return False
        if self._first is None:
            return self._all_known
        return file.came is None or file.came < self._first
