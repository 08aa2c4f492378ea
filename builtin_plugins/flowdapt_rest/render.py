"""Resources and runs as JSON, in each version of their schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from flowdapt.resources import Resource, timestamp
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt_rest.run_shapes import Log, LogPart, RunV1alpha1
from flowdapt_rest.shapes import SINCE_V1
from flowdapt_rest.versions import V1, V1ALPHA1

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from flowdapt.storage import LogBlock, StoredRun

_SINCE_V1 = {"metadata": set(SINCE_V1)}


def resource(given: Resource, version: str) -> bytes:
    """Return one resource."""
    if version == V1ALPHA1 and hasattr(given, "as_v1alpha1"):
        given = given.as_v1alpha1()
    return given.model_dump_json(exclude=_SINCE_V1 if version == V1ALPHA1 else None).encode()


def resources(given: Iterable[Resource], version: str) -> bytes:
    """Return a list of resources."""
    return _list(resource(one, version) for one in given)


def run(stored: StoredRun, version: str) -> bytes:
    """Return one run; its result goes in as it is stored, without being read."""
    result = {} if stored.result is None else {"result": orjson.Fragment(stored.result)}
    if version == V1ALPHA1:
        return orjson.dumps({**_run_v1alpha1(stored.run), **result})
    known = stored.run.model_dump_json().encode()
    beside = orjson.dumps({"result_bytes": stored.result_bytes, **result})
    return known[:-1] + b"," + beside[1:]  # the members of both


def runs(given: Iterable[StoredRun], version: str) -> bytes:
    """Return a list of runs, without the results that the storage leaves out of lists."""
    return _list(run(one, version) for one in given)


def run_page(given: Sequence[StoredRun], following: UUID | None) -> bytes:
    """Return a part of a list of runs."""
    return b'{"runs":' + runs(given, V1) + b',"next":' + orjson.dumps(following) + b"}"


def _run_v1alpha1(given: Run) -> RunV1alpha1:
    # Published clients refuse states beyond their four. A cancelled run has a result like a failed
    # one, which says so.
    state = RunState.FAILED if given.state is RunState.CANCELLED else given.state
    view: RunV1alpha1 = {
        "uid": given.uid,
        "name": given.name,
        "workflow": given.workflow,
        "source": given.source,
        "started_at": timestamp(given.started_at),
        "state": state.value,
    }
    if given.finished_at is not None:  # the TypeScript client makes 1970 of null
        view["finished_at"] = timestamp(given.finished_at)
    return view


def stages(given: Iterable[StageRecord]) -> bytes:
    """Return how the stages of a run stand."""
    return _list(record.model_dump_json().encode() for record in given)


def log(blocks: Mapping[int, LogBlock], *, after: int) -> bytes:
    """Return a part of a run's log, and the position to go on from."""
    parts = [log_part(position, block) for position, block in blocks.items()]
    view: Log = {"blocks": parts, "next": max(blocks, default=after)}
    return orjson.dumps(view)


def log_part(position: int, block: LogBlock) -> LogPart:
    """Return lines that were written together."""
    return {"position": position, "stage": block.stage, "lines": _lines(block)}


def _lines(block: LogBlock) -> Sequence[orjson.Fragment]:
    return [orjson.Fragment(line) for line in block.lines.split(b"\n") if line]


def _list(parts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"
