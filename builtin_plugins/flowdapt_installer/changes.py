"""Makes one change of the plugins: resolve, collect, prepare, activate. In this order, and whole.

Until the last step nothing that runs begin with is touched, and that step is one write. So whatever
fails or dies before it leaves everything as it was, and whatever dies after it changes nothing.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.preparing import is_whole, prepare
from flowdapt_sets.sets import PluginSet, Wheel

from flowdapt.errors import InvalidInput, ResourceNotFound
from flowdapt_installer import environments
from flowdapt_installer.asking import KEPT, Plan, Site, hash_in
from flowdapt_installer.collecting import collected
from flowdapt_installer.errors import ChangeFailed
from flowdapt_installer.records import Active, Records, Wanted
from flowdapt_installer.resolving import Locked, resolved

HERE = "this server"  #: what it is called among the nodes


async def resolve(site: Site, plan: Plan) -> list[Locked]:
    """Decide on versions, and check them against the policy."""
    hashes = {one.source: _hash_of(one) for name, one in plan.wanted.items() if name in plan.fresh}
    site.policy.check_wanted(hashes)
    lines = [_line(site, name, one) for name, one in plan.wanted.items()]
    before = await set_of(site.records, plan.base)
    keep = [w for w in before.wheels if w.name not in plan.fresh and w.name not in plan.wanted]
    keep += [w for w in before.wheels if w.name in plan.wanted and w.name not in plan.fresh]
    if not lines:
        return []
    there = environments.provided(site.extra)
    return await resolved(lines, there, keep=keep, warehouse=site.warehouse)


def _line(site: Site, name: str, one: Wanted) -> str:
    if not one.requirement.startswith(KEPT):
        return one.requirement
    wheel = site.warehouse.found(hash_in(one.requirement))
    if wheel is None:
        raise ChangeFailed(f"the wheel of {name} is not kept any more: install it anew")
    return f"{name} @ {site.warehouse.path(wheel).absolute().as_uri()}"


def _hash_of(one: Wanted) -> str:
    if one.requirement.startswith(KEPT):
        return hash_in(one.requirement)
    return one.source.partition(" --hash=sha256:")[2].lower()


async def collect(
    site: Site, plan: Plan, locked: Sequence[Locked], told: Callable[[Wheel], None]
) -> None:
    """Fetch the wheels, and make a set of them."""
    for item in locked:  # before anything of it is fetched, or built
        site.policy.check_name(item.name)
    wheels = await collected(locked, site.warehouse, told)
    site.policy.check(wheels)
    for wheel in wheels:
        if taken := site.warehouse.files(wheel) & environments.files(site.extra):
            raise ChangeFailed(
                f"{wheel.file} would replace {min(taken)}, which every node has already"
            )
        one = plan.wanted.get(wheel.name)
        known = _hash_of(one) if one is not None else ""
        if known and known != wheel.sha256:
            raise ChangeFailed(f"{wheel.file} has the hash {wheel.sha256}, and not {known}")
    modules = [m for wheel in wheels for m in site.warehouse.modules(wheel)]
    ordered = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    plan.plugin_set = PluginSet(ordered, tuple(modules))


async def ready(site: Site, plugin_set: PluginSet) -> dict[str, str]:
    """Prepare a set here and on all nodes.

    :return: by node, what is wrong; empty texts for those that are ready
    :raises ChangeFailed: nodes did not answer in time
    """
    if not plugin_set.wheels:
        return {}
    await asyncio.to_thread(is_whole, plugin_set, site.folder)
    try:
        await asyncio.to_thread(prepare, plugin_set, site.warehouse.content, site.folder)
    except SetUnusable as error:
        return {HERE: str(error)}
    asked = site.executor.prepare(plugin_set.to_json(), site.warehouse.folder)
    try:
        nodes = await asyncio.wait_for(asked, site.seconds)
    except TimeoutError:
        said = f"not all nodes have prepared the set within {site.seconds:g} s"
        raise ChangeFailed(said) from None
    return {HERE: "", **nodes}


def refuse(problems: Mapping[str, str]) -> None:
    """Fail where a node has a problem.

    :raises ChangeFailed: naming them
    """
    if wrong := {node: said for node, said in problems.items() if said}:
        parts = "; ".join(f"{node}: {said}" for node, said in wrong.items())
        raise ChangeFailed(f"not every node can use these plugins. {parts}")


async def set_of(records: Records, id: str) -> PluginSet:  # noqa: A002 - what sets have
    """Return a set; an empty one where none is meant."""
    return (await records.get_set(id)).plugin_set if id else PluginSet()


def difference(old: PluginSet, new: Iterable[Locked | Wheel]) -> dict[str, Any]:
    """Return what comes and what goes, with versions."""
    before = {wheel.name: wheel.version for wheel in old.wheels}
    after = {one.name: one.version for one in new}
    return {
        "added": {n: v for n, v in after.items() if before.get(n) != v},
        "removed": {n: v for n, v in before.items() if after.get(n) != v},
    }


async def earlier(records: Records, old: Active, wanted: Sequence[str]) -> str:
    """Return the id of the set to go back to; empty for none at all.

    :param wanted: its id, or the begin of it; else the one that was active before
    :raises InvalidInput: there is no such set, or nothing was active before
    """
    if not wanted:
        if not old.spec.before:
            raise InvalidInput("nothing was active before: there is nothing to go back to")
        return old.spec.before[-1]
    known = [one.metadata.name for one in await records.sets()]
    found = [one for one in known if one.startswith(wanted[0])]
    if len(found) != 1:
        how = "several sets" if found else "no set"
        raise (
            ResourceNotFound("plugin set", wanted[0])
            if not found
            else InvalidInput(f"{how} begin with {wanted[0]!r}: {', '.join(found)}")
        )
    return found[0]


PYTHON = f"{platform.python_implementation()} {platform.python_version()}"
