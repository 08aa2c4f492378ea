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
        from flowdapt_ray.workers import Worker

        os.environ.update(setup.environment)
        _workers.append(Worker(code, setup.log_level))
    answered: Answered
    answered, block = _workers[0].compute(pickle.loads(order), context, list(rest))  # noqa: S301
    return pickle.dumps(answered, 5), block


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
