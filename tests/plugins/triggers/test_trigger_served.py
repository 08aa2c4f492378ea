"""Triggers of a real server, as clients see them."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from flowdapt_triggers.resource import TriggerRule

from flowdapt.client import Client, Refused
from flowdapt.errors import ResourceNotFound
from flowdapt.plugins import Plugins
from tests.plugins.client.serving import Served, workflow

pytestmark = pytest.mark.anyio

SECRET = "a secret of two"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plugins = Plugins.load(safe_mode=True)
    with Served(tmp_path_factory.mktemp("served"), plugins).running() as served:
        with Client(served.address) as client:
            client.workflows.create(workflow("echo", "echo"))
            client.secrets.set("HOOK", SECRET)
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


def trigger(name: str = "", **spec: Any) -> dict[str, Any]:
    """Return a trigger that runs a workflow."""
    action = {"target": "run_workflow", "parameters": {"workflow": "echo"}}
    return {
        "kind": "trigger_rule",
        "metadata": {"name": name or f"t{uuid4().hex[:8]}"},
        "spec": {"action": action, **spec},
    }


@pytest.fixture
def later(client: Client) -> Iterator[str]:
    """The name of a trigger that is due in many years."""
    made = client.resources(TriggerRule).create(trigger(type="once", rule="2090-01-01"))
    yield made.name
    client.resources(TriggerRule).delete(made.name)


# How they stand ------------------------------------------------------------------------------


def test_a_trigger_says_when_it_is_due_and_what_it_did(client: Client, later: str) -> None:
    uid = client.triggers.fire(later)

    state = client.triggers.get(later)
    assert uid is not None
    run = client.runs.wait(uid)
    assert (run.workflow, run.source, run.input) == ("echo", "trigger", {})
    assert (state.type, state.action, state.fired, state.problem) == ("once", "run_workflow", 1, "")
    assert state.next == datetime(2090, 1, 1, tzinfo=UTC)
    assert [(firing.what, firing.run) for firing in state.firings] == [("fired", uid)]
    assert later in [one.name for one in client.triggers.list()]


def test_a_trigger_is_paused_and_goes_on(client: Client, later: str) -> None:
    client.triggers.pause(later)
    paused = client.triggers.get(later)
    client.triggers.resume(later)
    client.triggers.resume(later)

    assert (paused.paused, paused.next) == (True, None)
    assert client.triggers.get(later).next is not None
    assert client.resources(TriggerRule).get(later).metadata.generation == 3


def test_a_workflow_that_is_not_there_is_told(client: Client) -> None:
    data = trigger(type="once", rule="2090-01-01")
    data["spec"]["action"]["parameters"]["workflow"] = "nothing"
    name = client.resources(TriggerRule).create(data).name

    before = client.triggers.get(name)
    with pytest.raises(Refused, match="no workflow named 'nothing'"):
        client.triggers.fire(name)
    after = client.triggers.get(name)

    assert before.problem == "there is no workflow 'nothing'"
    assert (after.failed, after.firings[0].why) == (1, "no workflow named 'nothing'")
    client.resources(TriggerRule).delete(name)


def test_what_is_not_there_is_said_to_be_missing(client: Client) -> None:
    for ask in (client.triggers.get, client.triggers.fire, client.triggers.pause):
        with pytest.raises(ResourceNotFound, match="no trigger_rule named 'none'"):
            ask("none")


def test_a_bad_line_is_refused_with_its_path(client: Client) -> None:
    with pytest.raises(Refused) as caught:
        client.resources(TriggerRule).create(trigger(type="schedule", rule=["61 * * * *"]))

    assert "spec.rule.0: '61 * * * *': minute is '61', and must be 0 to 59" in caught.value.detail


def test_a_trigger_of_published_clients_has_all_that_they_need(
    served: Served, client: Client, later: str
) -> None:
    shown = httpx.get(f"{served.address}/triggers/{later}").json()

    assert set(shown["spec"]["action"]) == {"target", "parameters"}
    assert (shown["spec"]["type"], shown["spec"]["rule"]) == (
        "condition",
        {"of_type": {"once": "2090-01-01"}},
    )
    found = client.resources(TriggerRule).get(later)
    assert (found.spec.type, found.spec.rule) == ("once", "2090-01-01")


# Hooks ---------------------------------------------------------------------------------------


@pytest.fixture
def hook(client: Client, served: Served) -> Iterator[str]:
    """The address of a hook."""
    rule = {"signature": "github", "secret": "$secret{HOOK}"}
    made = client.resources(TriggerRule).create(trigger(type="webhook", rule=rule))
    yield f"{served.address}/hooks/{made.name}"
    client.resources(TriggerRule).delete(made.name)


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}"}


def test_a_call_that_is_signed_runs_a_workflow_once(client: Client, hook: str) -> None:
    body = json.dumps({"city": "Oslo", "id": uuid4().hex}).encode()

    one, again = (httpx.post(hook, content=body, headers=signed(body)) for _ in range(2))

    assert (one.status_code, one.json()) == (200, again.json())
    run = client.runs.wait(UUID(one.json()["run"]))
    assert run.value()["city"] == "Oslo"


def test_a_call_that_is_not_signed_is_refused(client: Client, hook: str) -> None:
    body = b"{}"
    name = hook.rpartition("/")[2]

    for headers in ({}, signed(body, "other")):
        answer = httpx.post(hook, content=body, headers=headers)
        assert answer.status_code == 401
        assert SECRET not in answer.text
    assert client.triggers.get(name).fired == 0


def test_a_hook_that_is_paused_does_not_fire(client: Client, hook: str) -> None:
    name = hook.rpartition("/")[2]
    client.triggers.pause(name)

    answer = httpx.post(hook, content=b"{}", headers=signed(b"{}"))

    assert answer.status_code == 400
    assert "it is paused" in answer.json()["detail"]
    assert client.triggers.get(name).fired == 0


def test_only_hooks_can_be_called(served: Served, later: str) -> None:
    assert httpx.post(f"{served.address}/hooks/{later}").status_code == 404
    assert httpx.post(f"{served.address}/hooks/none").status_code == 404


# Trials and backfills ------------------------------------------------------------------------


def test_a_rule_is_tried_against_the_past_and_does_nothing(client: Client) -> None:
    run = client.runs.run("echo", {"n": 3})
    rule = {
        "and": [
            {"eq": [{"var": "type"}, "com.event.workflow.workflow_finished"]},
            {"eq": [{"var": "data.uid"}, str(run.uid)]},
        ]
    }
    tried = trigger("tried", rule=rule)
    tried["spec"]["action"]["parameters"]["input"] = {"n": "{{ event.data.result.n }}"}

    trial = client.triggers.attempt(tried, since=600)

    (firing,) = trial.firings
    assert firing.subject == f"workflow_run/{run.uid}"
    assert firing.action["parameters"] == {"workflow": "echo", "input": {"n": 3}}
    assert trial.tried > 1
    assert "tried" not in [one.name for one in client.triggers.list()]


def test_a_schedule_is_tried_for_its_times(client: Client) -> None:
    trial = client.triggers.attempt(trigger(type="interval", rule="10m"), since=3600)

    assert len(trial.firings) in (5, 6)


def test_a_rule_is_tried_on_one_event(client: Client) -> None:
    rule = trigger(rule={"gt": [{"var": "data.n"}, 2]})

    met, unmet, undecided = (
        client.triggers.attempt(rule, event={"type": "x", "data": {"n": n}}) for n in (3, 2, "a")
    )

    assert len(met.firings) == 1
    assert unmet.firings == ()
    assert undecided.firings[0].error.startswith("TypeError")


def test_what_is_tried_imports_nothing_that_an_action_names(client: Client) -> None:
    rule = trigger(rule={"gt": [{"var": "data.n"}, 2]})
    rule["spec"]["action"] = {"target": "antigravity.fly"}

    trial = client.triggers.attempt(rule, event={"type": "x", "data": {"n": 3}})

    assert len(trial.firings) == 1
    assert "antigravity" not in sys.modules


def test_a_period_has_one_run(client: Client) -> None:
    start, end = datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 1, 2, tzinfo=UTC)

    one, again = (client.triggers.run_period("echo", start, end, {"n": 1}) for _ in range(2))

    assert (one.new, again.new) == (True, False)
    assert one.run == again.run
    assert client.runs.wait(one.run).value() == {
        "start": "2031-01-01T00:00:00.000000",
        "end": "2031-01-02T00:00:00.000000",
        "n": 1,
    }
    with pytest.raises(Refused, match="is not after"):
        client.triggers.run_period("echo", end, start)
