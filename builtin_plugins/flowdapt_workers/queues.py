"""Jobs that wait to be computed, in the order in which they are."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator

from flowdapt_workers.jobs import Job


class Queue:
    """Jobs, those of a higher priority first; of one priority, in the order in which they came."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[Job]] = {}
        self._ranks: list[int] = []  # the lowest first, negative as those of Unix are

    def add(self, job: Job, *, first: bool = False) -> None:
        """Have a job wait.

        :param first: before others of its priority
        """
        priority = job.call.priority
        if priority not in self._lines:
            self._lines[priority] = deque()
            insort(self._ranks, -priority)
        line = self._lines[priority]
        if first:
            line.appendleft(job)
        else:
            line.append(job)

    def remove(self, job: Job) -> None:
        """Have a job wait no more.

        :raises ValueError: it does not
        """
        self._lines.get(job.call.priority, deque[Job]()).remove(job)

    def lines(self) -> list[deque[Job]]:
        """Return those of each priority, the highest first."""
        return [self._lines[-rank] for rank in self._ranks]

    def __iter__(self) -> Iterator[Job]:
        for rank in self._ranks:
            yield from self._lines[-rank]

    def __contains__(self, job: Job) -> bool:
        return job in self._lines.get(job.call.priority, ())
