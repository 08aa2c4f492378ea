"""What a gateway is told, and when it forgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from flowdapt_workers.briefings import Briefings
from flowdapt_workers.link import Link

from flowdapt.snapshots import Root, Snapshots


class Told:
    """Notes the first words of what is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    def send(self, kind: str, name: str, *rest: Any) -> None:
        """Take a message."""
        self.messages.append((kind, name))


def test_code_is_told_of_once_and_forgotten_when_no_run_has_it_and_there_is_another(
    tmp_path: Path,
) -> None:
    told, briefings = Told(), Briefings()
    link, module = cast("Link", told), tmp_path / "mine" / "farm.py"
    module.parent.mkdir()
    snapshots = Snapshots((Root(tmp_path, module.parent),), tmp_path / "code")
    codes = []
    for number in range(3):
        module.write_text(f"n = {number}")
        codes.append(snapshots.take())
    first, second, third = codes

    for run, code in (("a", first), ("b", first), ("c", second)):
        briefings.give(link, run, code, b"", snapshots)
    briefings.release(link, "a")
    briefings.release(link, "c")
    briefings.release(link, "c")
    briefings.give(link, "d", third, b"", snapshots)

    assert told.messages == [
        *(("context", "a"), ("code", first), ("context", "b"), ("context", "c"), ("code", second)),
        *(("release", "a"), ("release", "c")),
        *(("context", "d"), ("forget", second), ("code", third)),
    ]
