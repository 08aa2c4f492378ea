"""The function that every task of Ray is a call of: an order is computed by it.

Imported in the processes of Ray before anything is known to fit, so it imports next to nothing.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import flowdapt

if TYPE_CHECKING:
    from flowdapt_ray.blocks import Block
    from flowdapt_ray.workers import Answered, Worker

_workers: list[Worker] = []  # this process's one: Ray leaves no other place between two tasks


def compute(
    expected: str, order: bytes, context: bytes | Block, code: bytes | Block, *blocks: Block
) -> tuple[bytes, Block | None]:
    """Compute an order; return an :class:`~flowdapt_ray.workers.Answered`, pickled, and a block.

    :param expected: the version of flowdapt that the server has
    :param order: pickled
    :param context: the payload of its run's context
    :param code: a snapshot of user modules, pickled; the same in every call in one process
    :param blocks: those that the order needs, in the order in which it says so
    """
    if expected != flowdapt.__version__:
        return pickle.dumps(_other_version(expected)), None
    if not _workers:
        from flowdapt_ray.workers import Worker

        _workers.append(Worker(_plain(code)))
    answered: Answered
    answered, block = _workers[0].compute(pickle.loads(order), _plain(context), blocks)  # noqa: S301
    return pickle.dumps(answered, 5), block


def version() -> str:
    """Return the version of flowdapt of a node."""
    return flowdapt.__version__


def _plain(data: bytes | Block) -> Any:
    return data if isinstance(data, bytes) else data.packed(0)


def _other_version(expected: str) -> str:
    from ray import util

    here: Any = util
    return (
        f"node {here.get_node_ip_address()} has flowdapt {flowdapt.__version__}, and the "
        f"server {expected}: install the same version on every node"
    )
