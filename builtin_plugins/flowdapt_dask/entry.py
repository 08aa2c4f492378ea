"""What the gateway has done on Dask workers. All of it is pickled by name."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from typing import Any

from distributed import get_worker
from flowdapt_sets import preparing
from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.sets import PluginSet
from flowdapt_workers.clusters import Surroundings

import flowdapt
from flowdapt_dask.agent import Agent, name_of
from flowdapt_dask.amounts import described, label, supplied
from flowdapt_dask.blocks import Block


async def compute(key: str, message: bytes, *blocks: Block | None) -> Block | None:
    """Compute an order.

    :param key: of this task
    :param message: the server, the order, and the context of its run unless that is large
    """
    about, order, context = pickle.loads(message)  # noqa: S301 - from our own gateway
    agent = await agent_of(get_worker(), about)
    return await agent.compute(key, order, context, blocks)


async def agent_of(worker: Any, about: Surroundings) -> Agent:
    """Return the agent of a server on a worker; it is made when it is first needed."""
    agent: Agent | None = worker.plugins.get(name_of(about.server))
    if agent is None:
        agent = Agent(worker, about)
        await worker.plugin_add(agent, name=agent.name)
    return agent


async def prepare(version: str, dask_worker: Any = None) -> dict[str, float] | str:
    """Have a worker take orders; return what it has, or the version of flowdapt that it has.

    :param version: of flowdapt, which it must have
    """
    if flowdapt.__version__ != version:
        return flowdapt.__version__
    has = described(dask_worker)
    if label(version) not in dask_worker.state.total_resources:
        await dask_worker.set_resources(**supplied(version, has))
    return has


async def warm_up(about: Surroundings, dask_worker: Any = None) -> None:
    """Start what the first order would have to wait for."""
    await (await agent_of(dask_worker, about)).start()


async def prepare_set(
    plugins: str, wheels: Sequence[bytes] | None, look: bool, dask_worker: Any = None
) -> str | None:
    """Prepare a plugin set on this node; return what is wrong, or nothing where it lacks wheels.

    :param wheels: their contents, in the set's order; absent to see whether they are needed
    :param look: compare what is there, file by file, and do nothing else
    """
    del dask_worker
    plugin_set = PluginSet.from_json(plugins)
    if look:
        return await asyncio.to_thread(preparing.problem_of, plugin_set)
    if await asyncio.to_thread(preparing.is_whole, plugin_set):
        return ""
    if wheels is None:
        return None
    contents = dict(zip(plugin_set.wheels, wheels, strict=True))
    try:
        await asyncio.to_thread(preparing.prepare, plugin_set, contents.__getitem__)
    except SetUnusable as error:
        return str(error)
    return ""


async def give(server: str, kind: str, name: str, thing: bytes, *, dask_worker: Any = None) -> None:
    """Give an agent what it asked for."""
    agent: Agent | None = dask_worker.plugins.get(name_of(server))
    if agent is not None:
        agent.give(kind, name, thing)


async def answer(
    server: str, number: int, question: int, text: bytes, *, dask_worker: Any = None
) -> None:
    """Answer what the code of an order asked."""
    agent: Agent | None = dask_worker.plugins.get(name_of(server))
    if agent is not None:
        agent.answer(number, question, text)


async def leave(server: str, *, dask_worker: Any = None) -> None:
    """End the agent of a server that is gone."""
    if name_of(server) in dask_worker.plugins:
        await dask_worker.plugin_remove(name=name_of(server))
