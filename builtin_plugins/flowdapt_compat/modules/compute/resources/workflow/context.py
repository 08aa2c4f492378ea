"""As in earlier releases; see ``flowdapt.context``."""

from flowdapt.context import (
    WorkflowRunContext,
    get_run_context,
    reset_run_context,
    set_run_context,
)

__all__ = ["WorkflowRunContext", "get_run_context", "reset_run_context", "set_run_context"]
