"""What a Dask scheduler would keep of our tasks for ever, and how it comes to forget that.

It keeps the last thousand events of every topic, of which each of ours may be a large answer; and
every group of tasks that there ever was, for the span that it belongs to. Dask offers no way to
say otherwise, so this reaches into the scheduler, where it runs; what a release of Dask has not is
left alone. All of it is pickled by name.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

import flowdapt

#: the annotation of tasks that belong to a span of their own; the same for all servers, as a span
#: can never be removed: the next word of a worker that mentions it would end that worker
SPAN = {"name": ("flowdapt",), "ids": ("flowdapt",)}


def arrive(topic: str, dask_scheduler: Any = None) -> str:
    """Have a scheduler keep no events of a topic; return the version of flowdapt that it has."""
    with suppress(AttributeError):
        dask_scheduler._broker._topics[topic].events = deque(maxlen=0)
    return flowdapt.__version__


def prune(dask_scheduler: Any = None) -> None:
    """Have a scheduler forget those of our tasks that are gone."""
    with suppress(AttributeError, KeyError, TypeError):
        span = dask_scheduler.extensions["spans"].spans[SPAN["ids"][-1]]
        known = dask_scheduler.task_groups
        span.groups -= {group for group in span.groups if known.get(group.name) is not group}
        span._metadata["collections"].clear()


def leave(topic: str, dask_scheduler: Any = None) -> None:
    """Have a scheduler forget a topic."""
    prune(dask_scheduler)
    with suppress(AttributeError, KeyError):
        del dask_scheduler._broker._topics[topic]
