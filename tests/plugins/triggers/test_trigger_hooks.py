"""Hooks of a real server that needs tokens: who may call them, and what callers are told."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import Tokens
from flowdapt_triggers.resource import TriggerRule
from flowdapt_triggers.secrecy import opened

from flowdapt.client import Client, Refused
from flowdapt.plugins import Plugins
from tests.plugins.client.serving import Served, workflow

SECRET = "a secret of two"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plugins = Plugins.load(safe_mode=True)
    folder = tmp_path_factory.mktemp("hooks")
    with Served(folder, plugins, "rpc.api.require_token=true").running() as served:
        yield served


@pytest.fixture(scope="module")
def tokens(served: Served) -> dict[str, str]:
    """A token of each role."""
    made = Tokens(served.server.storage)
    return {
        role.value: served.do(made.create(f"the-{role.value}", role))[1]
        for role in (Role.ADMIN, Role.OPERATE)
    }


@pytest.fixture(scope="module")
def client(served: Served, tokens: dict[str, str]) -> Iterator[Client]:
    with Client(served.address, token=tokens["admin"]) as client:
        client.workflows.create(workflow("echo", "echo"))
        client.secrets.set("HOOK", SECRET)
        yield client


class Hook:
    """A hook, as who calls it sees it."""

    def __init__(self, client: Client, address: str, rule: Any, **spec: Any) -> None:
        action = {"target": "run_workflow", "parameters": {"workflow": "echo"}}
        resource = {
            "kind": "trigger_rule",
            "metadata": {"name": f"t{uuid4().hex[:8]}"},
            "spec": {"action": action, "type": "webhook", "rule": rule, **spec},
        }
        self.name = client.resources(TriggerRule).create(resource).name
        self._address = f"{address}/hooks/{self.name}"

    def call(self, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        """Call it."""
        return httpx.post(self._address, content=json.dumps(body).encode(), headers=headers)


def signed(secret: str, **body: Any) -> dict[str, str]:
    digest = hmac.new(secret.encode(), json.dumps(body).encode(), hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}"}


SIGNED = {"signature": "github", "secret": "$secret{HOOK}"}


# Who may call --------------------------------------------------------------------------------


def test_a_hook_with_a_token_of_its_own_is_called_with_it(client: Client, served: Served) -> None:
    hook = Hook(client, served.address, {"token": "$secret{HOOK}"})

    good, bad, none = (
        hook.call(headers)
        for headers in (
            {"Authorization": f"Bearer {SECRET}"},
            {"Authorization": "Bearer another"},
            {},
        )
    )

    assert (good.status_code, bad.status_code, none.status_code) == (200, 401, 401)
    assert good.json()["run"]
    assert "the token is not the one of this trigger" in bad.json()["detail"]


@pytest.mark.parametrize("sent", ["Bearer somebody", "Basic c29tZTpib2R5", "Whatever", ""])
def test_an_open_hook_is_called_by_anybody(client: Client, served: Served, sent: str) -> None:
    hook = Hook(client, served.address, {"open": True})

    assert hook.call({"Authorization": sent}).status_code == 200


def test_a_token_of_a_hook_opens_nothing_else(client: Client, served: Served) -> None:
    Hook(client, served.address, {"token": "abc"})

    for path in ("/triggers/", "/hooks", "/trigger_states"):
        answer = httpx.get(served.address + path, headers={"Authorization": "Bearer abc"})
        assert answer.status_code == 401


def test_a_secret_that_is_not_there_is_no_business_of_callers(
    client: Client, served: Served
) -> None:
    hook = Hook(client, served.address, {"signature": "github", "secret": "$secret{NONE}"})

    answer = hook.call(signed("$secret{NONE}", n=1), n=1)

    assert answer.status_code == 503
    assert "NONE" not in answer.text
    assert "'NONE', which is not set" in client.triggers.get(hook.name).problem


def test_where_nobody_keeps_secrets_the_text_itself_is_none(
    client: Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = Hook(client, served.address, SIGNED)
    monkeypatch.setattr(served.server.engine, "seal", None)

    answer = hook.call(signed("$secret{HOOK}", n=1), n=1)

    assert answer.status_code == 503
    assert client.triggers.get(hook.name).fired == 0


def test_that_a_hook_is_paused_is_told_to_those_alone_who_may_call_it(
    client: Client, served: Served
) -> None:
    hook = Hook(client, served.address, SIGNED, paused=True)

    stranger, known = hook.call(n=1), hook.call(signed(SECRET, n=1), n=1)

    assert (stranger.status_code, known.status_code) == (401, 400)
    assert "it is paused" in known.json()["detail"]


def test_why_an_action_failed_is_no_business_of_callers(client: Client, served: Served) -> None:
    action = {"target": "run_workflow", "parameters": {"workflow": "absent"}}
    hook = Hook(client, served.address, {"open": True}, action=action)

    answer = hook.call(n=1)

    assert answer.status_code == 400
    assert "absent" not in answer.text
    assert client.triggers.get(hook.name).problem == "no workflow named 'absent'"


def test_a_call_is_refused_where_its_trigger_is_changed_meanwhile(
    client: Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = Hook(client, served.address, SIGNED)

    async def changing(engine: Any, values: Any) -> Any:
        found = await opened(engine, values)
        await engine.delete(TriggerRule, hook.name)
        return found

    monkeypatch.setattr("flowdapt_triggers.routes.opened", changing)

    answer = hook.call(signed(SECRET, n=1), n=1)

    assert (answer.status_code, answer.json()["detail"]) == (
        503,
        "the trigger was changed meanwhile; try again",
    )


def test_a_call_that_starts_nothing_says_why(client: Client, served: Served) -> None:
    action = {"target": "print_event", "parameters": {}}
    hook = Hook(client, served.address, SIGNED, action=action)

    first, again = (hook.call(signed(SECRET, n=1), n=1).json() for _ in range(2))

    assert first == {"run": None, "name": None, "why": ""}
    assert again["why"] == "it was seen to before, and is not done twice"


# Trials --------------------------------------------------------------------------------------


def tried(**spec: Any) -> dict[str, Any]:
    action = {"target": "print_event", "parameters": {}}
    return {
        "kind": "trigger_rule",
        "metadata": {"name": "tried"},
        "spec": {"action": action, **spec},
    }


def test_only_who_may_apply_rules_tries_ones_that_are_not_applied(
    client: Client, served: Served, tokens: dict[str, str]
) -> None:
    hook = Hook(client, served.address, {"open": True})
    with Client(served.address, token=tokens["operate"]) as operator:
        with pytest.raises(Refused, match="needs a token with the role admin"):
            operator.triggers.attempt(tried(type="interval", rule="1h"))
        with pytest.raises(Refused, match="'webhook' hears no events"):
            operator.triggers.attempt(hook.name)


def test_of_very_many_times_the_last_ones_are_shown(client: Client) -> None:
    trial = client.triggers.attempt(tried(type="interval", rule="1s"), since=1e14)
    few = client.triggers.attempt(tried(type="interval", rule="1h"), since=7200)
    yearly = client.triggers.attempt(tried(type="schedule", rule="0 0 1 1 *"), since=1e12)

    assert (len(trial.firings), trial.more) == (1000, True)
    assert trial.firings[0].time < trial.firings[-1].time
    assert (len(few.firings), few.more) == (2, False)
    assert len(yearly.firings) > 50
    assert not yearly.more


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({"type": "x", "time": "soon"}, "event.time"),
        ({"type": "x", "time": 5}, "event.time"),
        ({"type": ["x"]}, "event.type"),
    ],
)
def test_an_event_that_is_none_is_refused(client: Client, event: Any, path: str) -> None:
    with pytest.raises(Refused, match=f"request body: {path}"):
        client.triggers.attempt(tried(rule={"eq": [{"var": "type"}, "x"]}), event=event)


def test_a_rule_of_time_is_tried_on_no_event(client: Client) -> None:
    with pytest.raises(Refused, match="'interval' hears no events"):
        client.triggers.attempt(tried(type="interval", rule="1h"), event={"type": "x"})


# Published clients ---------------------------------------------------------------------------


def test_published_clients_keep_what_they_know_nothing_of(
    client: Client, served: Served, tokens: dict[str, str]
) -> None:
    made = client.resources(TriggerRule).create(
        {
            **tried(type="schedule", rule=["0 3 * * *"], options={"timezone": "Europe/Berlin"}),
            "metadata": {"name": "published"},
        }
    )
    address = f"{served.address}/triggers/published"
    headers = {"Authorization": f"Bearer {tokens['admin']}"}
    shown = httpx.get(address, headers=headers).json()
    for name in ("options", "concurrency", "misfire", "misfire_window", "debounce", "paused"):
        del shown["spec"][name]
    shown["spec"]["rule"] = ["0 4 * * *"]

    httpx.put(address, headers=headers, json=shown).raise_for_status()
    kept = client.resources(TriggerRule).get("published").spec
    shown["spec"] |= {"type": "condition", "rule": {"eq": [{"var": "type"}, "x"]}}
    httpx.put(address, headers=headers, json=shown).raise_for_status()

    assert kept == made.spec.model_copy(update={"rule": ["0 4 * * *"]})
    assert client.resources(TriggerRule).get("published").spec.options == {}
