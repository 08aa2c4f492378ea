"""What plugins bring beside code: resources to be applied, and parts of a server."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt_sets.sets import PluginSet
from packaging.utils import canonicalize_name

from flowdapt.errors import FlowdaptError
from flowdapt.plugins import GROUP, Plugins

_RESOURCE = {"kind", "metadata", "spec"}  #: what each has, and no other file is likely to have

if TYPE_CHECKING:
    from flowdapt.engine import Engine


def notes(new: PluginSet, folder: Path, old: PluginSet, wanted: Collection[str]) -> Iterator[str]:
    """Say what is to be known of the plugins that come.

    :param wanted: the names of distributions that were asked for
    """
    for there in _come(new, folder, old):
        name = there.metadata["Name"]
        entries = [e for e in there.entry_points if e.group == GROUP]
        if not entries and canonicalize_name(name) in wanted:
            yield f"{name} is no plugin, as it has no entry point {GROUP}; its modules can be used"
        for entry in entries:
            if _has_hooks(there, entry.module):
                yield f"{name} has hooks, which a server calls once it is restarted: use --restart"


def _has_hooks(there: metadata.Distribution, module: str) -> bool:
    """Tell whether a plugin's module implements hooks, from its source alone."""
    stem = module.replace(".", "/")
    for file in there.files or ():
        if str(file) in (f"{stem}/__init__.py", f"{stem}.py"):
            source = Path(str(there.locate_file(file))).read_text(errors="replace")
            return "hookimpl" in source
    return False


def _come(new: PluginSet, folder: Path, old: PluginSet) -> Iterator[metadata.Distribution]:
    """Yield the distributions of a set that another one has not."""
    before = {(wheel.name, wheel.sha256) for wheel in old.wheels}
    come = {wheel.name for wheel in new.wheels if (wheel.name, wheel.sha256) not in before}
    for there in metadata.distributions(path=[str(folder / new.id)]):
        if canonicalize_name(there.metadata["Name"]) in come:
            yield there


def resources(
    plugins: Plugins, new: PluginSet, folder: Path, old: PluginSet
) -> Iterator[dict[str, Any]]:
    """Yield what plugins bring to be applied: their resource files."""
    read = plugins.resolve("readers", "files")
    for there in _come(new, folder, old):
        if not any(entry.group == GROUP for entry in there.entry_points):
            continue
        for file in sorted(map(str, there.files or ())):
            if file.endswith((".yaml", ".yml", ".json")):
                with suppress(FlowdaptError):  # data of the plugin's own
                    for one in read(Path(str(there.locate_file(file)))):
                        if isinstance(one.data, dict) and one.data.keys() >= _RESOURCE:
                            yield one.data


async def apply(engine: Engine, data: dict[str, Any]) -> str:
    """Apply a resource, and say what came of it.

    :raises FlowdaptError: it is refused
    """
    name = data["metadata"].get("name") if isinstance(data["metadata"], dict) else None
    resource, verdict = await engine.apply(data, where=f"{data['kind']} {name!r} of a plugin")
    return f"{data['kind']} {resource.name} {verdict}"
