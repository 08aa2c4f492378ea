"""What to do about a plugin that is not healthy, told from why it is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowdapt import __version__
from flowdapt.errors import nearest
from flowdapt.plugins import State
from flowdapt_cli.early import names_of, normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowdapt.plugins import Plugin

SICK = (State.QUARANTINED, State.INCOMPATIBLE)

#: What a reason looks like, and what helps; the first that is found, with its groups put in. The
#: reasons are those of the kernel and of whoever judges plugins, and a test holds them together.
_ADVICE = (
    (r"^requires '", f"install a release of {{name}} that goes with flowdapt {__version__}"),
    (r"needs hooks of version", "upgrade flowdapt, or install an earlier release of {name}"),
    (
        r"No module named '([^']+)'",
        "install what brings {0!r} where flowdapt runs; if nothing of {name} asks for it, its"
        " author forgot to",
    ),
    (r"metadata cannot be read", "install it again, or remove the folder {name}"),
    (
        r"is offered by (.+) and (.+)",
        "two plugins offer one name: flowdapt plugins disable {0}, or {1}",
    ),
    (
        r"import took longer",
        "the stack below shows where it stood; on a machine that was busy then, have it tried"
        " again: flowdapt plugins doctor --again",
    ),
    (r"no child process could", "free memory or processes; the next command tries it again"),
    (
        r"MemoryError while importing",
        "its import fills more memory than the trial grants, or than there is; its author should"
        " load what is large when it is used",
    ),
    (
        r"^its import (replaces|changes|leaves|forks)",
        "all of flowdapt runs in the same process and needs that as it is; its author should do"
        " this where its own code runs, or not at all",
    ),
    (
        r"^its import (keeps|has) the process",
        "every command would end so; its author should not start this by an import",
    ),
    (
        r"while importing$",
        "the import ends the whole process; what it wrote before stands below, if it wrote"
        " anything",
    ),
    (
        r"^its hooks are refused",
        "its author has to mend the hook that is named; install another release meanwhile",
    ),
    (r"^flowdapt_event failed", "see the server's log; a restart of the server tries it again"),
    (r"^import failed", "its own code fails, where the traceback ends; tell its author"),
)


def advice(plugin: Plugin) -> str:
    """Return what helps against what ails a plugin; nothing where nothing does."""
    if plugin.state is State.DISABLED:
        safe = "--safe-mode" in plugin.reason
        return "" if safe else f"flowdapt plugins enable {plugin.name}"
    if plugin.state not in SICK:
        return ""
    for pattern, text in _ADVICE:
        if found := re.search(pattern, plugin.reason):
            return text.format(*found.groups(), name=plugin.name)
    return "see the reason"


def diagnosis(plugin: Plugin) -> dict[str, Any]:
    """Return what scripts read about one that is sick."""
    return {**plugin.to_dict(), "advice": advice(plugin), "traceback": plugin.traceback}


def report(plugin: Plugin) -> str:
    """Return the same for people."""
    name = f"{plugin.name} {plugin.version}".rstrip()
    lines = [
        f"{name} is {plugin.state.value}: {plugin.reason}",
        f"  what helps: {advice(plugin)}",
        f"  to do without it: flowdapt plugins disable {plugin.name}",
    ]
    trace = (f"    {line}" for line in plugin.traceback.rstrip().splitlines())
    return "\n".join([*lines, *trace])


def meaningless(disabled: Iterable[str], plugins: Sequence[Plugin]) -> list[str]:
    """Return, for each name that is to be left out and that nothing has, what is wrong with it."""
    known = {name for plugin in plugins for name in names_of(plugin)}
    names = [plugin.name for plugin in plugins]
    return [
        f"plugins.disabled names {name!r}, which is not installed{nearest(name, names)}"
        for name in disabled
        if normal(name) not in known
    ]
