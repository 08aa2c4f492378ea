"""Starts of runs that a client asks for twice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def count(client: httpx.AsyncClient) -> int:
    """Return how many runs of the workflow there are."""
    found: list[Any] = (await client.get("/workflows/echo/run")).json()
    return len(found)


async def test_the_same_key_returns_the_same_run(workflows: httpx.AsyncClient) -> None:
    first = await workflows.post("/workflows/echo/run", json={"n": 1}, headers=key("a"))
    again = await workflows.post("/workflows/echo/run", json={"n": 1}, headers=key("a"))
    at_once = await workflows.post(
        "/workflows/echo/run?wait=false", json={"n": 1}, headers=key("a")
    )

    assert first.json() == again.json() == at_once.json()
    assert await count(workflows) == 1


async def test_of_equal_starts_at_once_one_starts_a_run(workflows: httpx.AsyncClient) -> None:
    starts = [
        workflows.post("/workflows/echo/run", json={"n": 1}, headers=key("many")) for _ in range(20)
    ]

    answers = await asyncio.gather(*starts)

    assert {answer.json()["uid"] for answer in answers} == {answers[0].json()["uid"]}
    assert {answer.json()["state"] for answer in answers} == {"finished"}
    assert await count(workflows) == 1


async def test_keys_stand_for_one_workflow_and_one_namespace(workflows: httpx.AsyncClient) -> None:
    paths = ["/workflows/echo/run", "/workflows/echo/run?namespace=other", "/workflows/failing/run"]

    uids = [(await workflows.post(path, headers=key("b"))).json()["uid"] for path in paths]

    assert len({*uids}) == len(paths)


async def test_a_key_that_comes_with_another_input_is_refused(
    workflows: httpx.AsyncClient,
) -> None:
    first = await workflows.post("/workflows/echo/run", json={"n": 1}, headers=key("c"))
    other = await workflows.post("/workflows/echo/run", json={"n": 2}, headers=key("c"))

    assert other.status_code == 422
    run = first.json()["name"]
    assert f"'c' stands for the run {run}, which has another input" in other.json()["detail"]
    assert await count(workflows) == 1


@pytest.mark.parametrize(
    ("values", "others", "status"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, 200),
        ({"n": 1}, {"n": True}, 422),
        ({"n": {"m": 0}}, {"n": {"m": False}}, 422),
        ({"n": "1"}, {"n": 1}, 422),
    ],
)
async def test_inputs_are_the_same_where_json_has_them_so(
    workflows: httpx.AsyncClient, values: dict[str, Any], others: dict[str, Any], status: int
) -> None:
    await workflows.post("/workflows/echo/run", json=values, headers=key("f"))

    again = await workflows.post("/workflows/echo/run", json=others, headers=key("f"))

    assert again.status_code == status


async def test_a_known_key_is_answered_while_no_runs_are_accepted(
    workflows: httpx.AsyncClient,
) -> None:
    first = await workflows.post("/workflows/echo/run", headers=key("d"))
    await workflows.post("/drain")

    again = await workflows.post("/workflows/echo/run", headers=key("d"))
    fresh = await workflows.post("/workflows/echo/run", headers=key("e"))

    assert again.json() == first.json()
    assert fresh.status_code == 503


@pytest.mark.parametrize("text", ["", "two words", "x" * 256])
async def test_what_can_be_no_key_is_refused(workflows: httpx.AsyncClient, text: str) -> None:
    answer = await workflows.post("/workflows/echo/run", headers=key(text))

    assert answer.status_code == 400
    assert "1 to 255 printable ASCII characters" in answer.json()["detail"]
