"""The resources that come with a plugin: YAML and JSON files in its package, read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flowdapt_workers.targets import resolve

from flowdapt.errors import FlowdaptError, InvalidResource, PluginError, StageError
from flowdapt.plugins import Plugin, Plugins, State
from flowdapt.resources import Resource, Workflow
from flowdapt.server import kinds
from flowdapt.walks import stage_types

TRIGGER = "trigger_rule"  #: the kind whose rules and actions other plugins bring
SUFFIXES = (".yaml", ".yml", ".json")  #: of files that may hold resources


class Bundle:
    """What resources there are, and what is wrong with them.

    :ivar resources: each with its kind, name and file
    :ivar problems: each with its place
    """

    def __init__(self, plugins: Plugins, found: Iterable[Plugin]) -> None:
        self._plugins, self._kinds, self._types = plugins, kinds(plugins), stage_types(plugins)
        self.resources: list[dict[str, str]] = []
        self.problems: list[tuple[str, str]] = []
        for plugin in found:
            for folder in _folders(plugin):
                for document in self._documents(folder):
                    self._take(plugin, document, folder)

    def _documents(self, folder: Path) -> Iterator[Any]:
        read = self._plugins.resolve("readers", "files")
        with suppress(FlowdaptError):
            yield from read(folder)
            return
        # One file after the other, so that all that are at fault are told of.
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES and b"kind" in file.read_bytes():
                try:
                    yield from read(file)
                except FlowdaptError as error:
                    self.problems.append((folder.name, str(error)))

    def _take(self, plugin: Plugin, document: Any, folder: Path) -> None:
        where = str(Path(document.where).relative_to(folder.parent))
        try:
            model = self._kinds.get(kind := str(document.data["kind"]))
            if model is None:
                known = ", ".join(map(repr, self._kinds))
                raise InvalidResource.at(where, ("kind",), f"{kind!r} is none; there are {known}")
            resource = model.parse(document.data, where=where, strict=True)
        except InvalidResource as error:
            self.problems.append((where, str(error)))
            return
        facts = {"kind": resource.kind, "name": resource.name, "file": where}
        if any(
            one["kind"] == resource.kind and one["name"] == resource.name for one in self.resources
        ):
            self.problems.append((where, f"there is another {resource.kind} {resource.name!r}"))
        self.resources.append(facts)
        # Nothing of a plugin is imported that is not healthy.
        if plugin.state is State.HEALTHY:
            self.problems += [(where, fact) for fact in self._faults(resource)]

    def _faults(self, resource: Resource) -> Iterator[str]:
        if isinstance(resource, Workflow):
            for stage in resource.spec.stages:
                if stage.type not in self._types:
                    known = ", ".join(map(repr, self._types))
                    yield f"stage {stage.name!r}: no stage type {stage.type!r}; there are {known}"
                yield from _unresolved(stage.target, f"stage {stage.name!r}")
        elif resource.kind == TRIGGER:
            yield from self._trigger_faults(resource.spec)

    def _trigger_faults(self, spec: Any) -> Iterator[str]:
        try:
            self._plugins.resolve("triggers", spec.type)(spec.rule, spec.options)
        except (PluginError, InvalidResource) as error:
            yield str(error)
        target = spec.action.target
        if target in self._plugins.providers("actions"):
            return
        if "." in target:
            yield from _unresolved(target, "its action")
        else:
            known = ", ".join(map(repr, self._plugins.providers("actions")))
            yield f"no action is named {target!r}; there are {known}"


def _unresolved(target: Any, what: str) -> Iterator[str]:
    try:
        resolve(target)
    except StageError as error:
        yield f"{what}: {error}"


def _folders(plugin: Plugin) -> Iterator[Path]:
    """Yield the folder of a plugin's package, without importing it; a single module has none."""
    with suppress(ImportError, ValueError):
        spec = find_spec(plugin.entry.module.partition(".")[0])
        for folder in (spec.submodule_search_locations if spec else None) or ():
            yield Path(folder)
