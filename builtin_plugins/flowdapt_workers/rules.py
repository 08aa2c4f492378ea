"""What a workflow follows that a script computes by itself, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt.plugins import Plugins
from flowdapt.policies import Policy
from flowdapt.resources import Workflow
from flowdapt.walks import stage_types
from flowdapt_workers.targets import built_in_types


async def rules(
    workflow: Workflow, plugins: Plugins | None = None
) -> tuple[Mapping[str, Any], list[Policy]]:
    """Return the stage types that there are, and the policies, the outermost first.

    :param plugins: where they are known already; loaded only where the workflow needs them
    :raises InvalidResource: an option means nothing
    """
    types, spec = built_in_types(), workflow.spec
    unusual = any(stage.options or stage.type not in types for stage in spec.stages)
    if plugins is None:
        if not (unusual or spec.options):
            return types, []
        plugins = Plugins.load(cache_dir=None)
    offered = plugins.importable("policies", plugins.providers("policies"), what="policy")
    policies = sorted((made(None) for _, made in offered), key=lambda policy: policy.order)
    for policy in policies:
        await policy.check(workflow, "workflow")
    return stage_types(plugins), policies
