"""What a gateway was told that orders have in common: each thing once, and not for ever."""

from __future__ import annotations

from flowdapt.snapshots import Snapshots
from flowdapt_workers.link import Link


class Briefings:
    """The runs and the code that a gateway knows."""

    def __init__(self) -> None:
        self._codes: dict[str, str] = {}  # by run
        self._sent: set[str] = set()  # codes

    def give(self, link: Link, run: str, code: str, context: bytes, snapshots: Snapshots) -> None:
        """Have a gateway know a run and the code that it began with.

        :param context: the payload of its context
        """
        if run not in self._codes:
            link.send("context", run, context)
        self._codes[run] = code
        if not code or code in self._sent:
            return
        for old in self._sent.difference(self._codes.values()):
            self._sent.remove(old)
            link.send("forget", old)
        self._sent.add(code)
        file = snapshots.file(code)
        link.send("code", code, b"" if file is None else file.read_bytes())

    def release(self, link: Link, run: str) -> None:
        """Have a gateway forget a run; its code stays for the next one, until there is another."""
        if self._codes.pop(run, None) is not None:
            link.send("release", run)

    def clear(self) -> None:
        """Begin anew, with another gateway."""
        self._codes.clear()
        self._sent.clear()
