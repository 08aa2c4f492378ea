"""The contract of a policy: options of stages and workflows that say how these are computed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, ClassVar

from flowdapt.executors import Outcome
from flowdapt.resources import Stage, Workflow
from flowdapt.runs import Run

if TYPE_CHECKING:
    from flowdapt.engine import Engine
    from flowdapt.walks import Walk

Compute = Callable[[], Awaitable[Outcome]]  #: computes a stage, or all stages of a run


class Policy:
    """Stands around what is computed: may put it off, leave it out, repeat it, or refuse it.

    One object serves all runs of a server. What it overrides is asked only for stages and
    workflows that have one of its options.

    :ivar order: those with a lower one stand further outside
    :ivar stage_options: the keys of a stage's ``options`` that it understands
    :ivar workflow_options: the keys of a workflow's ``options`` that it understands
    :param engine: whose runs it serves; none where a script computes a workflow by itself
    """

    order: ClassVar[int] = 0
    stage_options: ClassVar[Collection[str]] = ()
    workflow_options: ClassVar[Collection[str]] = ()

    def __init__(self, engine: Engine | None) -> None:
        self.engine = engine

    async def check(self, workflow: Workflow, where: str) -> None:
        """Refuse options that mean nothing.

        :param where: named in the error
        :raises InvalidResource: with the path of the option
        """

    def admit(self, workflow: Workflow, run: Run) -> bool:
        """Tell whether a run may begin at once; one that may not is pending until it is computed.

        :param run: about to be stored; one of an earlier server that is gone on with is not asked
        :raises FlowdaptError: it is refused
        """
        del workflow, run
        return True

    async def run(self, walk: Walk, compute: Compute) -> Outcome:
        """Compute all stages of a run."""
        del walk
        return await compute()

    async def stage(self, walk: Walk, stage: Stage, compute: Compute) -> Outcome:
        """Compute a stage; called once for it by each server that goes on with the run."""
        del walk, stage
        return await compute()


def around(policies: Collection[Policy], options: Collection[str], what: str) -> list[Policy]:
    """Return the policies that understand one of the options and do something, innermost first.

    :param what: ``stage``, ``run`` or ``admit``
    """
    keys = "stage_options" if what == "stage" else "workflow_options"
    return [
        policy
        for policy in reversed([*policies])
        if getattr(type(policy), what) is not getattr(Policy, what)
        and not {*options}.isdisjoint(getattr(policy, keys))
    ]
