"""Runs and their stages as spans of one trace."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from flowdapt import __version__
from flowdapt.runs import Failure, Run, RunState, StageRecord

SCOPE = InstrumentationScope("flowdapt", __version__)
MOST_TEXT = 16 * 1024  #: characters of a message or a traceback; spans wait in memory
SAMPLED = TraceFlags(TraceFlags.SAMPLED)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOW = 2**64 - 1
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


def caller(traceparent: str | None) -> SpanContext | None:
    """Return the span that a W3C header names; nothing for none, and for one that is not kept."""
    found = _TRACEPARENT.fullmatch((traceparent or "").strip())
    if found is None or not int(found[3], 16) & TraceFlags.SAMPLED:
        return None
    trace, span = int(found[1], 16), int(found[2], 16)
    return SpanContext(trace, span, is_remote=True, trace_flags=SAMPLED)


# The SDK's tracer would make the same spans in ten times the time, on the loop that serves
# everybody; they are over when they are made, and nothing of what it adds is needed. Most of what
# a span costs is its attributes, so a stage does not repeat what its trace and its name tell.


def of_run(run: Run, resource: Resource, parent: SpanContext | None = None) -> ReadableSpan:
    """Return the span of a run that ended.

    Its trace is the run's uid as one number, and its own id the lower half of it, so that both are
    known to whoever knows the run.

    :param parent: the caller's span; the run is then part of that trace
    """
    trace = run.uid.int if parent is None else parent.trace_id
    facts: dict[str, Any] = {
        "workflow.name": run.workflow,
        "workflow.uid": str(run.workflow_uid or ""),
        "workflow.namespace": run.namespace,
        "workflow.run.uid": str(run.uid),
        "workflow.run.name": run.name,
        "workflow.run.source": run.source or "",
        "workflow.run.state": run.state.value,
    }
    end = run.finished_at or run.started_at
    return ReadableSpan(
        run.workflow,
        SpanContext(trace, run.uid.int & _LOW, is_remote=False, trace_flags=SAMPLED),
        parent,
        resource,
        facts,
        [_exception(run.failure, end)] if run.failure else [],
        status=_status(run.state, run.failure),
        start_time=_nanoseconds(run.started_at),
        end_time=_nanoseconds(end),
        instrumentation_scope=SCOPE,
    )


def of_stages(run: ReadableSpan, records: Iterable[StageRecord]) -> Iterator[ReadableSpan]:
    """Yield the spans of a run's stages."""
    for record in records:
        span_id = random.getrandbits(64) or 1  # 0 stands for none
        end = None if record.finished_at is None else _nanoseconds(record.finished_at)
        yield ReadableSpan(
            record.stage,
            SpanContext(run.context.trace_id, span_id, is_remote=False, trace_flags=SAMPLED),
            run.context,
            run.resource,
            {"workflow.name": run.name, **_facts(record)},
            [*_exceptions(record)],
            status=_status(record.state, record.failure),
            start_time=_nanoseconds(record.started_at),
            end_time=run.end_time if end is None else end,
            instrumentation_scope=SCOPE,
        )


def _facts(record: StageRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "workflow.stage.state": record.state.value,
        "workflow.stage.attempts": record.attempts,
        **{f"workflow.stage.{name}": amount for name, amount in record.used.items()},
    }
    if record.cpu_seconds is not None:
        facts["workflow.stage.cpu_seconds"] = record.cpu_seconds
    if record.worker is not None:
        facts["workflow.stage.worker"] = record.worker
    if record.items is not None:
        facts["workflow.stage.items"] = record.items
        facts["workflow.stage.items_failed"] = record.items_failed
    return facts


def _exceptions(record: StageRecord) -> Iterator[Event]:
    end = record.finished_at or record.started_at
    for failure in record.failures:
        yield _exception(failure, end)
    if record.failure is not None and record.failure not in record.failures:
        yield _exception(record.failure, end)


def _exception(failure: Failure, time: datetime) -> Event:
    facts: dict[str, Any] = {
        "exception.type": failure.type,
        "exception.message": failure.message[:MOST_TEXT],
    }
    if failure.traceback:
        facts["exception.stacktrace"] = failure.traceback[-MOST_TEXT:]
    if failure.stage is not None:
        facts["workflow.stage.name"] = failure.stage
    if failure.item is not None:
        facts["workflow.stage.item"] = failure.item
    return Event("exception", facts, _nanoseconds(time))


def _status(state: RunState, failure: Failure | None) -> Status:
    if state is not RunState.FAILED:  # who cancels a run did not see it fail
        return Status(StatusCode.UNSET)
    text = f"{failure.type}: {failure.message}"[:MOST_TEXT] if failure else None
    return Status(StatusCode.ERROR, text)


def _nanoseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000
