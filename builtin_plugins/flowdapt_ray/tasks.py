"""The function that every task of Ray is a call of: an order is computed by it.

Imported in the processes of Ray before anything is known to fit, so it imports next to nothing.
"""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

import flowdapt

if TYPE_CHECKING:
    from flowdapt_ray.blocks import Block
    from flowdapt_ray.workers import Answered, Worker


class Lacking(NamedTuple):
    """Why an order was not computed: a node has not prepared the plugin set that goes with it."""

    plugins: str


class Setup(NamedTuple):
    """What a process must know of its server before it computes. Of whatever version, so plain.

    :param version: of flowdapt, in the server
    :param environment: variables for what is computed
    :param log_level: of the records of the logging module that are captured
    """

    version: str
    environment: dict[str, str]
    log_level: int


_workers: list[Worker] = []  # this process's one: Ray leaves no other place between two tasks


def compute(head: bytes, *given: Block) -> tuple[bytes, Block | None]:
    """Compute an order; return an :class:`~flowdapt_ray.workers.Answered`, pickled, and a block.

    :param head: pickled: a :class:`Setup`; the order, pickled; and as far as they are small, the
        payload of its run's context, and a snapshot of user modules, which is the same in every
        call in one process
    :param given: those of the last two that are large, and the blocks that the order needs
    """
    setup, order, inline = pickle.loads(head)  # noqa: S301 - from our server
    if setup.version != flowdapt.__version__:
        return pickle.dumps(_other_version(setup.version)), None
    rest = iter(given)
    context: Any
    code: Any
    context, code = (next(rest).packed(0) if data is None else data for data in inline)
    if not _workers:
        if plugins := _lacking(code):
            return pickle.dumps(Lacking(plugins)), None
        from flowdapt_ray.workers import Worker

        os.environ.update(setup.environment)
        _workers.append(Worker(code, setup.log_level))
    answered: Answered
    answered, block = _workers[0].compute(pickle.loads(order), context, list(rest))  # noqa: S301
    return pickle.dumps(answered, 5), block


def _lacking(code: bytes) -> str:
    """Return the plugin set of a snapshot, if there is one and it is not prepared here."""
    plugins: str = pickle.loads(code)[2] if code else ""  # noqa: S301 - from our server
    if not plugins:
        return ""
    from flowdapt_sets import paths
    from flowdapt_sets.sets import PluginSet

    there = paths.is_ready(PluginSet.from_json(plugins).id, paths.node_folder())
    return "" if there else plugins


def prepare(plugins: str, wheels: Block | None, look: bool) -> str | None:
    """Prepare a plugin set on this node; return what is wrong, or nothing where it lacks wheels.

    :param wheels: the contents of its wheels, in its order; absent to see whether they are needed
    :param look: compare what is there, file by file, and do nothing else
    """
    from flowdapt_sets import preparing
    from flowdapt_sets.errors import SetUnusable
    from flowdapt_sets.sets import PluginSet

    plugin_set = PluginSet.from_json(plugins)
    if look:
        return preparing.problem_of(plugin_set)
    if preparing.is_whole(plugin_set):
        return ""
    if wheels is None:
        return None
    contents = {wheel: bytes(wheels.packed(i)) for i, wheel in enumerate(plugin_set.wheels)}
    try:
        preparing.prepare(plugin_set, contents.__getitem__)
    except SetUnusable as error:
        return str(error)
    return ""


def version() -> str:
    """Return the version of flowdapt of a node."""
    return flowdapt.__version__


def _other_version(expected: str) -> str:
    from ray import util

    here: Any = util
    return (
        f"node {here.get_node_ip_address()} has flowdapt {flowdapt.__version__}, and the "
        f"server {expected}: install the same version on every node"
    )
