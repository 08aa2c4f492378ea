"""Actions and rules that go wrong: each says so, and harms no other."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from flowdapt_testing.desks import until
from flowdapt_triggers.actions import Firing
from flowdapt_triggers.posts import NotDelivered, Post
from flowdapt_triggers.secrecy import SecretsLacking

from flowdapt.errors import InvalidResource
from flowdapt.triggers import Occasion

from . import doings
from .conftest import Yard
from .doings import DOOR, GREW, PRINT, calls, tell

pytestmark = pytest.mark.anyio


async def failed(yard: Yard, **action: Any) -> str:
    """Return why an action failed."""
    trigger = await yard.apply(rule=GREW, action=action)
    await tell(yard)
    await until(lambda: yard.service.lives[trigger.metadata.uid].tally.failed == 1)
    (told,) = await yard.told("failed")
    return str(told["error"])


# Functions -----------------------------------------------------------------------------------


async def test_an_action_that_exits_or_is_cancelled_only_fails(yard: Yard) -> None:
    await yard.apply("exits", rule=GREW, action=calls("exits"))
    await yard.apply("cancels", rule=GREW, action=calls("cancels"))

    for _ in range(2):
        await tell(yard)

    reasons = [one["error"] for one in await yard.told("failed")]
    assert sorted(reasons) == [
        *["SystemExit(3)"] * 2,
        *["the action was cancelled by something it waited for"] * 2,
    ]


async def test_an_error_of_an_action_is_told_as_it_is(yard: Yard) -> None:
    assert await failed(yard, **calls("times_out")) == "the database did not answer"


async def test_calls_that_hang_are_not_piled_up(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_triggers.lanes.ACTION_SECONDS", 0.001)
    trigger = await yard.apply(rule=GREW, action=calls("behind_the_door"))

    tally = yard.service.lives[trigger.metadata.uid].tally
    for _ in range(6):
        before = tally.failed
        await tell(yard)
        await until(lambda: tally.failed > before)  # noqa: B023 - it is waited for here
    DOOR.set()

    reasons = [one["error"] for one in await yard.told("failed")]
    assert reasons[:4] == ["the action took longer than 0 s"] * 4
    assert reasons[4:] == ["4 earlier calls have not ended yet"] * 2


@pytest.mark.parametrize("target", ["builtins.dict", "builtins.iter"])
async def test_a_function_that_does_not_say_what_it_takes_is_refused(
    yard: Yard, target: str
) -> None:
    with pytest.raises(InvalidResource, match="does not say what it takes"):
        await yard.apply(rule=GREW, action={"target": target})


@pytest.fixture
def exiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a function in a module that ends the process."""
    (tmp_path / "module_that_exits.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "module_that_exits.f"


async def test_a_module_that_exits_is_refused(yard: Yard, exiting: str) -> None:
    with pytest.raises(InvalidResource, match="cannot be imported: 3"):
        await yard.apply(rule=GREW, action={"target": exiting})


async def test_a_trigger_that_cannot_work_keeps_no_other_from_it(
    idle: Yard, exiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = await idle.apply("bad", rule=GREW, action={"target": exiting})
    await idle.apply("gone", rule=GREW, action=calls("held"))
    await idle.apply("good", rule=GREW, action=PRINT)
    monkeypatch.setattr(doings, "held", dict)

    await idle.begin()
    await tell(idle)

    assert "cannot be imported: 3" in idle.service.problems[bad.metadata.uid]
    assert [one["trigger"] for one in await idle.told("fired")] == ["good"]


async def test_a_trigger_that_is_applied_while_the_service_starts_works_once(
    idle: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = await idle.apply("doomed", rule=GREW, action=PRINT)
    read = idle.engine.storage.list
    begun, may = asyncio.Event(), asyncio.Event()

    async def slow(kind: str) -> Any:
        found = await read(kind)
        begun.set()
        await may.wait()
        return found

    monkeypatch.setattr(idle.engine.storage, "list", slow)
    idle.engine._known.pop("trigger_rule")
    starting = asyncio.create_task(idle.begin())
    await begun.wait()
    monkeypatch.setattr(idle.engine.storage, "list", read)
    await idle.engine.delete(type(doomed), "doomed")
    await idle.apply("late", rule=GREW, action=PRINT)
    may.set()
    await starting

    await tell(idle)

    assert [one["trigger"] for one in await idle.told("fired")] == ["late"]


# Rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "interval", "rule": "1h"},
        {"type": "webhook", "rule": {"open": True}},
    ],
)
async def test_rules_that_hear_no_events_have_nothing_to_be_quiet_for(
    yard: Yard, spec: dict[str, Any]
) -> None:
    with pytest.raises(InvalidResource, match="debounce: is for what happens"):
        await yard.apply(**spec, debounce="1m", action=PRINT)


@pytest.mark.parametrize("window", [1e15, 1e10, 3.2e9])
async def test_a_window_may_be_longer_than_time_itself(yard: Yard, window: float) -> None:
    await yard.apply(
        type="interval", rule="10s", misfire="all", misfire_window=window, action=PRINT
    )
    yard.clock.set(yard.clock.now().replace(minute=1))
    await yard.clock.advance(10)

    assert len(await yard.told("fired")) == 7


async def test_a_rule_of_another_type_stands_alone(yard: Yard) -> None:
    with pytest.raises(InvalidResource, match=r"spec\.rule"):
        await yard.apply(rule={"of_type": {"once": "2031-01-01"}, "eq": [1, 1]}, action=PRINT)


# Posts ---------------------------------------------------------------------------------------


class Sealing:
    """An engine that knows one secret."""

    async def seal(self, config: dict[str, Any]) -> Any:
        opened = {"secret": "s3cret", "url": config["url"].replace("$secret{HOST}", "farm")}
        headers = {"Authorization": "Bearer s3cret", "X-City": config["headers"]["X-City"]}
        return lambda: {**config, **opened, "headers": headers}


def posting(engine: Any) -> Post:
    parameters = {
        "url": "http://$secret{HOST}/{{ event.city }}",
        "secret": "$secret{KEY}",
        "headers": {"Authorization": "Bearer $secret{KEY}", "X-City": "{{ event.city }}"},
        "attempts": 1,
    }
    server: Any = SimpleNamespace(engine=engine)
    return Post(server, parameters)


def firing() -> Firing:
    trigger: Any = SimpleNamespace(name="t")
    return Firing(trigger, Occasion("k", event={"city": "$secret{OTHER}"}), uuid4())


async def test_what_is_posted_has_the_secrets_that_the_trigger_names_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    async def post(_: object, url: str, **sent: Any) -> httpx.Response:
        seen.append((url, sent))
        return httpx.Response(200)

    monkeypatch.setattr(httpx.AsyncClient, "post", post)

    await posting(Sealing())(firing())

    ((url, sent),) = seen
    digest = hmac.new(b"s3cret", sent["content"], hashlib.sha256).hexdigest()
    assert url == "http://farm/$secret{OTHER}"
    assert sent["headers"]["X-Hub-Signature-256"] == f"sha256={digest}"
    assert sent["headers"]["Authorization"] == "Bearer s3cret"
    assert sent["headers"]["X-City"] == "$secret{OTHER}"


async def test_a_post_that_fails_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    async def post(_: object, url: str, **__: Any) -> httpx.Response:
        raise httpx.ConnectError(f"cannot reach {url}")

    monkeypatch.setattr(httpx.AsyncClient, "post", post)

    with pytest.raises(NotDelivered) as caught:
        await posting(Sealing())(firing())

    assert "farm" not in str(caught.value)
    assert "ConnectError" in str(caught.value)


async def test_where_nobody_keeps_secrets_none_is_posted() -> None:
    with pytest.raises(SecretsLacking):
        await posting(SimpleNamespace(seal=None))(firing())
