"""Deploy adaptive and reactive AI applications: plain Python functions, a small YAML file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowdapt.context import get_run_context as get_run_context
    from flowdapt.embedded import run as run

__version__ = "1.0.0"

# Looked up on first use, so that `flowdapt --help` and workers import only what they need.
_PUBLIC = {"get_run_context": "flowdapt.context", "run": "flowdapt.embedded"}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'flowdapt' has no attribute {name!r}")
