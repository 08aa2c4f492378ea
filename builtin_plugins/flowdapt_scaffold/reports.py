"""What people read of a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WIDTH = 12  #: of the column with what a line is about


def told(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines."""
    if "name" in report:
        yield f"{report['name']} {report['version']}"
        yield from _facts(report)
    for note in report.get("notes", ()):
        yield _line("note", note)
    for problem in report["problems"]:
        yield _line("wrong", f"{problem['where']}: {problem['fact']}")
    if not report["problems"]:
        yield "nothing is wrong"


def _facts(report: Mapping[str, Any]) -> Iterator[str]:
    if report["requires"]:
        fits = "which" if report["fits"] else "and no such"
        yield _line("requires", f"{report['requires']}, {fits} is this, {report['flowdapt']}")
    for plugin in report["plugins"]:
        yield _line("plugin", f"{plugin['module']} is {plugin['state']}")
        for offer in plugin["provides"]:
            part, _, name = offer.partition(":")
            yield _line(part, name)
        offered = {f"flowdapt_{offer.partition(':')[0]}" for offer in plugin["provides"]}
        for hook in plugin["hooks"]:
            if hook not in offered:
                yield _line("hook", hook)
    for resource in report["resources"]:
        yield _line(resource["kind"], f"{resource['name']} in {resource['file']}")


def _line(what: str, text: str) -> str:
    return f"  {what:<{WIDTH}} " + text.replace("\n", "\n" + " " * (WIDTH + 3))
