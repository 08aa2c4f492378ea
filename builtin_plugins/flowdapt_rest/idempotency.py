"""Starts that clients may ask for again, because they do not know what became of the first time.

A key that a client makes up stands for one start of a workflow in a namespace: the run's uid is
made of it, and no two runs have the same. As the Internet draft "The Idempotency-Key HTTP Header
Field" has it, a key that comes again with another input is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

import orjson

from flowdapt.errors import InvalidInput, ResourceExists, ResourceNotFound
from flowdapt.resources import Workflow
from flowdapt.texts import to_json
from flowdapt_rest.bodies import MalformedHeader

if TYPE_CHECKING:
    from starlette.requests import Request

    from flowdapt.engine import Engine
    from flowdapt.runs import Run

HEADER = "Idempotency-Key"
PATTERN = r"^[!-~]{1,255}$"  #: printable ASCII without spaces


class KeyTaken(InvalidInput):
    """A key comes again, with another input than the first time."""

    def __init__(self, key: str, run: str) -> None:
        super().__init__(
            f"{HEADER} {key!r} stands for the run {run}, which has another input: "
            "make up a new key for a new run"
        )


def key_of(request: Request) -> str | None:
    """Return the key that a client gives, if it does.

    :raises MalformedHeader: it cannot be one
    """
    key = request.headers.get(HEADER)
    if key is not None and not re.fullmatch(PATTERN, key):
        raise MalformedHeader(HEADER, key, "1 to 255 printable ASCII characters without spaces")
    return key


async def uid_of(engine: Engine, name: str, *, key: str | None, namespace: str | None) -> UUID:
    """Return the uid of the run that a key stands for; without a key, a new one.

    :raises ResourceNotFound: there is no such workflow
    """
    if key is None:
        return uuid4()
    workflow = await engine.get(Workflow, name)
    return _uid(workflow.metadata.uid, namespace or engine.namespace, key)


async def submitted(
    engine: Engine,
    name: str,
    given: dict[str, Any],
    *,
    uid: UUID,
    key: str | None,
    namespace: str | None,
    by: str,
) -> tuple[Run, bool]:
    """Start a run, or find the one that was started with the same key; tell which it was.

    :param uid: of the run, as :func:`uid_of` has it
    :raises KeyTaken: that one has another input
    """
    if key is None:
        return await engine.submit(name, given, namespace=namespace, by=by, uid=uid), True
    try:
        return await _same(engine, uid, given, key), False  # also while no runs are accepted
    except ResourceNotFound:
        pass
    try:
        return await engine.submit(name, given, namespace=namespace, by=by, uid=uid), True
    except ResourceExists:  # the same request came twice at once
        return await _same(engine, uid, given, key), False


def _uid(workflow: UUID, namespace: str, key: str) -> UUID:
    return uuid5(workflow, f"idempotency {namespace} {key}")


async def _same(engine: Engine, uid: UUID, given: dict[str, Any], key: str) -> Run:
    run = await engine.find_run(uid)
    if _canonical(run.input) != _canonical(given):
        raise KeyTaken(key, run.name)
    return run


def _canonical(values: object) -> bytes:
    """Return what equal inputs alone have in common; for Python, 1 and true are equal."""
    return orjson.dumps(orjson.loads(to_json(values)), option=orjson.OPT_SORT_KEYS)
