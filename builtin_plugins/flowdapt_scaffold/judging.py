"""What runs in the child process: ``python -m flowdapt_scaffold.judging SITE``.

A plugin whose import never ends, or ends the process, is tried in one more process before, see
``flowdapt_judge``; so what is left to happen here is what its parts and stages do.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from importlib.metadata import Distribution, PackageNotFoundError
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from flowdapt import __version__
from flowdapt.errors import PluginError
from flowdapt.executors import Executor
from flowdapt.hooks import NAMESPACE
from flowdapt.objects import Artifacts, Memory
from flowdapt.plugins import GROUP, Plugin, Plugins, State, unfit
from flowdapt.resources import Resource
from flowdapt.services import Service
from flowdapt.stages import StageType
from flowdapt.storage import Storage
from flowdapt.triggers import Rule
from flowdapt_scaffold.bundles import Bundle
from flowdapt_scaffold.candidates import python_problem

Problem = tuple[str, str]  #: a place, and what is wrong there

_CONTRACTS: dict[str, type] = {
    "artifacts": Artifacts,
    "executors": Executor,
    "kinds": Resource,
    "memories": Memory,
    "services": Service,
    "stages": StageType,
    "storages": Storage,
    "triggers": Rule,
}


def report(distribution: Distribution) -> dict[str, Any]:
    """Return all that is known of a distribution, as plain data."""
    plugins = Plugins.load(distributions=[*_ours(), distribution])
    found = [plugin for plugin in plugins.list() if not plugin.built_in]
    bundle = Bundle(plugins, found)
    requires = _requires(distribution)
    problems = [*_of_metadata(distribution, found)]
    for plugin in found:
        problems += _of_plugin(plugins, plugin)
    problems += bundle.problems
    return {
        "name": distribution.metadata["Name"],
        "version": distribution.version,
        "requires": requires,
        "fits": not any(map(unfit, found)),
        "flowdapt": __version__,
        "plugins": [_facts(plugins, plugin) for plugin in found],
        "resources": bundle.resources,
        "problems": [{"where": where, "fact": fact} for where, fact in problems],
        "notes": [*_notes(distribution, requires)],
    }


def _ours() -> Iterable[Distribution]:
    return [d for d in metadata.distributions() if (d.name or "").lower() == NAMESPACE][:1]


def _requires(distribution: Distribution) -> str:
    """Return which flowdapt a distribution says that it requires."""
    lines = [line for line in distribution.requires or () if "extra ==" not in line]
    ours = [line for line in lines if re.match(rf"{NAMESPACE}\b(?![-_.])", line.lower())]
    return ", ".join(ours)


def _notes(distribution: Distribution, requires: str) -> Iterator[str]:
    """Yield what need not be wrong: it may be that only this environment lacks something."""
    if not requires:
        yield f"it does not say which {NAMESPACE} it requires"
    for line in distribution.requires or ():
        with suppress(InvalidRequirement):
            needed = Requirement(line)
            if needed.name.lower() == NAMESPACE or not _applies(needed):
                continue
            try:
                present = metadata.version(needed.name)
            except PackageNotFoundError:
                yield f"it requires {line}, which is not installed here"
            else:
                if not needed.specifier.contains(present, prereleases=True):
                    yield f"it requires {line}, and {present} is installed here"


def _applies(needed: Requirement) -> bool:
    return needed.marker is None or needed.marker.evaluate({"extra": ""})


def _facts(plugins: Plugins, plugin: Plugin) -> dict[str, Any]:
    loaded = plugins.loaded(plugin.name)
    hooks = [name for name in dir(loaded) if hasattr(getattr(loaded, name), f"{NAMESPACE}_impl")]
    return {**plugin.to_dict(), "module": plugin.entry.value, "hooks": hooks}


# What is wrong -------------------------------------------------------------------------------


def _of_metadata(distribution: Distribution, found: list[Plugin]) -> Iterator[Problem]:
    if not found:
        fact = f"has no entry point in the group {GROUP!r}, so it is not found as a plugin"
        yield distribution.metadata["Name"], fact
    if fault := python_problem(distribution.metadata["Requires-Python"]):
        yield distribution.metadata["Name"], fault


def _of_plugin(plugins: Plugins, plugin: Plugin) -> Iterator[Problem]:
    if plugin.state is not State.HEALTHY:
        yield plugin.name, f"is {plugin.state.value}: {plugin.reason}\n{plugin.traceback}".rstrip()
        return
    for offer in plugin.provides:
        part, _, name = offer.partition(":")
        try:
            found = plugins.resolve(part, name)
        except PluginError as error:
            yield offer, str(error)
            continue
        if fact := _no_part(found, _CONTRACTS.get(part)):
            yield offer, fact


def _no_part(found: Any, contract: type | None) -> str:
    """Say why something does not keep a contract, as far as that can be seen of it."""
    if contract is None:
        return ""
    if not isinstance(found, type):
        return "" if callable(found) else f"is {found!r:.50}, and should be a {contract.__name__}"
    if not issubclass(found, contract):
        return f"{found.__name__} is no subclass of {contract.__module__}.{contract.__name__}"
    missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
    return f"{found.__name__} lacks {missing}" if inspect.isabstract(found) else ""


def main(site: str) -> None:
    """Check what is in a folder, and write the report where nothing else is written."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what the plugin prints is no part of the answer
    (distribution,) = metadata.distributions(path=[site])
    written = memoryview(json.dumps(report(distribution)).encode())
    while written:
        written = written[os.write(answer, written) :]
    # Not by returning: threads that the plugin started may never end.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
