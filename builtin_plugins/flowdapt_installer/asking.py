"""What is asked for, in the words of whoever asks, and what a change of the plugins comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowdapt_sets.sets import PluginSet, Wheel
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from flowdapt.errors import InvalidInput, nearest
from flowdapt.executors import Executor
from flowdapt_installer import building, environments
from flowdapt_installer.policies import Policy
from flowdapt_installer.records import Active, Records, Wanted
from flowdapt_installer.warehouse import Warehouse

KEPT = "wheel:"  #: begins a requirement that names a wheel of the warehouse by its hash

_BARE = re.compile(r"[\w.-]+")  # a name without a version


@dataclass(frozen=True, slots=True)
class Site:
    """Where plugins are changed.

    :param folder: for sets on this machine
    :param seconds: how long the nodes may take to prepare a set
    :param extra: of flowdapt, which every node has because of the executor
    """

    records: Records
    warehouse: Warehouse
    executor: Executor
    policy: Policy
    folder: Path
    seconds: float = 120.0
    extra: str = ""


@dataclass
class Plan:
    """What is to be active once a change is made.

    :param old: what is active
    :param base: the set that the change begins from: the old one, or that of all namespaces
    :param wanted: what is asked for by name
    :param fresh: distributions whose version may change
    """

    old: Active
    wanted: dict[str, Wanted]
    fresh: set[str] = field(default_factory=set)
    plugin_set: PluginSet = field(default_factory=PluginSet)
    base: str = ""


async def planned(
    site: Site, what: str, names: Sequence[str], namespace: str, *, build: bool = True
) -> Plan:
    """Return what a change comes to, as far as names tell.

    :param build: what has to be built to know its name; or else it is left out
    :raises InvalidInput: one is no requirement, or nothing that is installed
    """
    old = await site.records.active(namespace)
    base = old if old.spec.active or not namespace else await site.records.active()
    wanted: dict[str, Wanted] = {}
    if base.spec.active:
        wanted = dict((await site.records.get_set(base.spec.active)).spec.wanted)
    plan = Plan(old, wanted, base=base.spec.active)
    if what == "remove":
        _remove(plan, names, namespace)
        return plan
    for text in names or ([*wanted] if what == "upgrade" else []):
        source = _source(text, wanted) if what == "upgrade" else text
        if building.is_git(source):
            site.policy.check_source(source)
            if not build:
                continue
            file, content = await building.cloned(source)
            wheel = site.warehouse.add(content, file)
            key, one = wheel.name, Wanted(requirement=kept(wheel), source=source)
        else:
            key, one = _kept(site, source) if source.startswith(KEPT) else _read(site, source)
        wanted[key] = one
        plan.fresh.add(key)
    return plan


def _remove(plan: Plan, names: Sequence[str], namespace: str) -> None:
    if namespace and not plan.old.spec.active:
        raise InvalidInput(
            f"namespace {namespace} has no plugins of its own: those that its runs have are of all "
            "namespaces, and are removed without --namespace"
        )
    for name in names:
        del plan.wanted[_known(name, plan.wanted)]


def _known(name: str, wanted: Mapping[str, Wanted]) -> str:
    """Return the name of something that was installed by name."""
    key = str(canonicalize_name(name))
    if key not in wanted:
        known = nearest(key, wanted) or f"; there are {', '.join(wanted) or 'none'}"
        raise InvalidInput(f"no plugin {name!r} was installed by name{known}")
    return key


def _source(text: str, wanted: Mapping[str, Wanted]) -> str:
    """Return from where something is to be upgraded: where it came from, or as somebody says."""
    return wanted[_known(text, wanted)].source if _BARE.fullmatch(text) else text


def _read(site: Site, text: str) -> tuple[str, Wanted]:
    """Return the name in a requirement, and what that asks for."""
    bare, _, known_hash = text.partition(" --hash=")
    try:
        requirement = Requirement(bare)
    except InvalidRequirement as error:
        said = str(error).partition("\n")[0]
        raise InvalidInput(
            f"{text!r} is no requirement ({said}): give one such as name>=1.0, a wheel, a folder, "
            "or an address of git"
        ) from None
    if known_hash and not known_hash.startswith("sha256:"):
        raise InvalidInput(f"the hash of {bare!r} must begin with sha256:, not {known_hash[:10]!r}")
    site.policy.check_name(requirement.name)
    if (name := canonicalize_name(requirement.name)) == environments.KERNEL:
        raise InvalidInput("flowdapt itself is installed on each machine, and not as a plugin")
    return name, Wanted(requirement=bare, source=text)


def kept(wheel: Wheel) -> str:
    """Return the requirement that stands for a wheel of the warehouse, with its name for people."""
    return f"{KEPT}{wheel.sha256}#{wheel.file}"


def hash_in(text: str) -> str:
    """Return the hash in such a requirement."""
    return text.removeprefix(KEPT).partition("#")[0]


def _kept(site: Site, text: str) -> tuple[str, Wanted]:
    wheel = site.warehouse.found(hash_in(text))
    if wheel is None:
        raise InvalidInput(f"no wheel has the hash {hash_in(text)!r}: send it first")
    if wheel.name in environments.provided(site.extra):
        raise InvalidInput(f"{wheel.file} would replace {wheel.name}, which every node has already")
    return wheel.name, Wanted(requirement=text, source=text)
