"""What Ray raises where an order is not computed, in the words of a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt_workers.calls import Failed, Order
from flowdapt_workers.clusters import BlocksLost, OrderLost

from flowdapt.runs import Failure


def failure_of(order: Order, message: str, kind: str = "NodesUnfit") -> Failed:
    """Return that an order fails wherever it is computed, or on some node always."""
    failure = Failure(type=kind, message=message, stage=order.task.stage)
    return Failed(failure.model_dump())


def is_of_task(error: Exception) -> bool:
    """Tell whether an error of Ray is one that a task raised, perhaps as its node lacks us."""
    from ray import exceptions as ray

    return isinstance(error, ray.RayTaskError) and not isinstance(error.cause, ray.ObjectLostError)


def is_of_process(error: Exception) -> bool:
    """Tell whether an error of Ray says that the process of a task died."""
    from ray import exceptions as ray

    return isinstance(error, ray.WorkerCrashedError | ray.OutOfMemoryError)


def loss_of(error: Exception, worker: str, blocks: Mapping[str, int]) -> Exception | None:
    """Return what a gateway is to be told of an error of Ray, if something was lost.

    :param worker: what computed the order, if that is known, or else what of its node is
    :param blocks: the numbers of those that the order takes, by the ids of their objects
    """
    from ray import exceptions as ray

    cause: Any = error.cause if isinstance(error, ray.RayTaskError) else error
    if isinstance(cause, ray.ObjectLostError):
        number = blocks.get(cause.object_ref_hex)
        if number is not None:
            return BlocksLost([number])
        return OrderLost(f"what it takes, or what it returned, was lost: {_brief(cause)}")
    if is_of_task(error):
        return None
    if isinstance(error, ray.WorkerCrashedError):
        return OrderLost(f"{worker or 'its process'} was killed, or ended by itself")
    if isinstance(error, ray.OutOfMemoryError):
        return OrderLost(
            f"{worker or 'its process'} was killed for want of memory: {_brief(error)}"
        )
    if isinstance(error, ray.NodeDiedError):
        return OrderLost(f"the node died under {worker}" if worker else _brief(error))
    return OrderLost(_brief(error))


def _brief(error: Exception) -> str:
    """Return the first sentence of what an error says; Ray adds whole manuals."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text.partition('. ')[0]}"
