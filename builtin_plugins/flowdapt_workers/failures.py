"""What a stage raised, as what survives the way to the server and may be seen there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flowdapt.errors import RunCancelled, StageError
from flowdapt.executors import StageFailed
from flowdapt.runs import Failure
from flowdapt_workers import functions, payloads
from flowdapt_workers.calls import Failed

if TYPE_CHECKING:
    from flowdapt.context import WorkflowRunContext


class NodesUnfit(StageError):
    """There are nodes, and none of them can compute for this server."""


class Interrupted(BaseException):
    """The run was cancelled. Not an Exception, so that stages do not catch it by the way."""


def reported(error: BaseException, context: WorkflowRunContext) -> Failed:
    """Return an exception as text, and as a pickle where it can be one and holds no secret.

    :param context: of the stage that raised, and of the element
    """
    failure = functions.failure(error, context).model_dump()
    if isinstance(error, Interrupted | asyncio.CancelledError):
        failure |= {"type": "RunCancelled", "message": "the run was cancelled"}
    try:
        pickled = payloads.pack(payloads.dump(error))
    except Exception:  # then its text has to do
        return Failed(failure)
    said = pickled.decode(errors="replace")  # texts stand in a pickle as they are
    return Failed(failure, pickled if context.mask(said) == said else None)


def raised(failed: Failed) -> StageError:
    """Return the error that a call ends in, of what :func:`reported` made."""
    if failed.failure["type"] == "RunCancelled":
        return RunCancelled()
    return StageFailed(Failure.model_validate(failed.failure), pickled=failed.pickled)


def original(failed: StageFailed) -> BaseException:
    """Return what a stage raised, or the error itself where that cannot be made again here.

    May import the user's modules, so it is for scripts and not for servers.
    """
    if failed.exception is not None:
        return failed.exception
    try:
        made = None if failed.pickled is None else payloads.load(failed.pickled)
    except Exception:  # an exception may refuse to be made again, or its module be missing
        made = None
    return made if isinstance(made, BaseException) else failed
