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


def span_of(topic: str) -> dict[str, tuple[str, ...]]:
    """Return the annotation of tasks that belong to a span of their own."""
    return {"name": ("flowdapt",), "ids": (topic,)}


def arrive(topic: str, dask_scheduler: Any = None) -> str:
    """Have a scheduler keep no events of a topic; return the version of flowdapt that it has."""
    with suppress(AttributeError):
        dask_scheduler._broker._topics[topic].events = deque(maxlen=0)
    return flowdapt.__version__


def prune(topic: str, dask_scheduler: Any = None) -> None:
    """Have a scheduler forget those tasks of a span that are gone."""
    with suppress(AttributeError, KeyError, TypeError):
        span = dask_scheduler.extensions["spans"].spans[topic]
        span.groups -= {group for group in span.groups if not len(group)}
        span._metadata["collections"].clear()


def leave(topic: str, dask_scheduler: Any = None) -> None:
    """Have a scheduler forget a topic and a span."""
    with suppress(AttributeError, KeyError):
        del dask_scheduler._broker._topics[topic]
    with suppress(AttributeError, KeyError, ValueError):
        known = dask_scheduler.extensions["spans"]
        span = known.spans.pop(topic)
        for spans in (
            known.root_spans,
            known.spans_search_by_name[span.name],
            known.spans_search_by_tag[span.name[0]],
        ):
            spans.remove(span)
