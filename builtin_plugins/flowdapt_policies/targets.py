"""Whether the functions that stages name are there."""

from __future__ import annotations

import asyncio
import logging

from flowdapt.engine import Engine
from flowdapt.errors import FlowdaptError, InvalidResource, TargetNotFound
from flowdapt.policies import Policy
from flowdapt.resources import Workflow

logger = logging.getLogger(__name__)

LOOKUP_SECONDS = 10.0  #: how long applying a workflow waits for its targets to be imported


class Targets(Policy):
    """Refuses workflows whose targets are mistyped, where their modules can be imported."""

    engine: Engine | None  #: without one, a run begins at once and says it itself

    async def check(self, workflow: Workflow, where: str) -> None:
        """Look the targets up where stages are computed, and never in the server."""
        if self.engine is None:
            return
        targets = {stage.target: i for i, stage in enumerate(workflow.spec.stages)}
        looking = self.engine.executor.lookup(list(targets), code=self.engine.snapshots.take())
        try:
            wrong = await asyncio.wait_for(looking, LOOKUP_SECONDS)
        except (TimeoutError, FlowdaptError) as error:
            logger.warning("the targets of %r were not looked up: %r", workflow.name, error)
            return
        for target, fault in wrong.items():
            # A module that is missing may be installed before the run; a missing name is a typo.
            if isinstance(fault, TargetNotFound) and fault.mistyped:
                path = ("spec", "stages", targets[target], "target")
                raise InvalidResource.at(where, path, str(fault))
