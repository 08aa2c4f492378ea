"""The library that speaks HTTP, without the command line that it brings.

Importing httpx imports that as well, and rich and pygments with it, if they are there: more than
all else that a short command of ours takes. Where they are not, it does without, and so it is told.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["httpx"]


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Have a module be missing while the context lasts, if nobody has imported it so far."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # what says so to the import system
    try:
        yield
    finally:
        del sys.modules[module]


with _without("httpx._main"):
    import httpx
