"""Deploy adaptive and reactive AI applications: plain Python functions, a small YAML file."""

from __future__ import annotations

from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowdapt_artifacts import models as models
    from flowdapt_calls.calling import call_workflow as call_workflow
    from flowdapt_calls.calling import call_workflow_async as call_workflow_async
    from flowdapt_calls.calling import start_workflow as start_workflow
    from flowdapt_calls.calling import start_workflow_async as start_workflow_async
    from flowdapt_calls.errors import WorkflowFailed as WorkflowFailed
    from flowdapt_embedded.run import run as run

    from flowdapt.context import get_run_context as get_run_context

__version__ = "1.0.0"

# The import paths of earlier releases, such as flowdapt.compute, come with a plugin.
for _folder in getattr(PathFinder.find_spec("flowdapt_compat"), "submodule_search_locations", ()):
    __path__.append(f"{_folder}/modules")


_CALLS = ("call_workflow", "call_workflow_async", "start_workflow", "start_workflow_async")
_EXPORTS = (*_CALLS, "WorkflowFailed", "models", "run")


# Looked up on first use, so that `flowdapt --help` and workers import only what they need.
def __getattr__(name: str) -> Any:
    if name == "get_run_context":
        from flowdapt.context import get_run_context as found
    elif name in _EXPORTS:
        from flowdapt.plugins import offered

        found = offered("exports", name)
    else:
        raise AttributeError(f"module 'flowdapt' has no attribute {name!r}")
    return globals().setdefault(name, found)
