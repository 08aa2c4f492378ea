"""Calls over HTTP: who may make them, and that each counts once."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from flowdapt_triggers.webhooks import HookRefused, Webhook

from flowdapt.errors import InvalidResource
from flowdapt.triggers import Occasion

NOW = datetime(2031, 4, 5, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
SECRET = "s3cret"
BODY = b'{"city": "Oslo"}'
SCHEMES = ["github", "stripe", "slack", "plain"]
TIMED = ["stripe", "slack", "plain"]


def digest(content: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def signed(
    scheme: str, body: bytes = BODY, seconds: int = SECONDS, secret: str = SECRET
) -> dict[str, str]:
    """Return the headers that a sender signs with."""
    time = str(seconds)
    timed = digest(time.encode() + b"." + body, secret)
    if scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={digest(body, secret)}"}
    if scheme == "stripe":
        return {"Stripe-Signature": f"t={time},v1={'0' * 64},v1={timed},v0=old"}
    if scheme == "slack":
        found = digest(f"v0:{time}:".encode() + body, secret)
        return {"X-Slack-Signature": f"v0={found}", "X-Slack-Request-Timestamp": time}
    return {"X-Signature": timed, "X-Timestamp": time}


def webhook(scheme: str, **rule: Any) -> Webhook:
    return Webhook({"signature": scheme, "secret": "$secret{HOOK}", **rule}, {})


def admitted(
    hook: Webhook, headers: dict[str, str], body: bytes = BODY, secret: str = SECRET
) -> Occasion:
    return hook.admit(headers, body, secret=secret, now=NOW)


def refusal(
    hook: Webhook, headers: dict[str, str], body: bytes = BODY, secret: str = SECRET
) -> str:
    with pytest.raises(HookRefused) as refused:
        admitted(hook, headers, body, secret)
    said = str(refused.value)
    assert not secret or secret not in said
    return said


# Signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_who_signs_is_admitted_whatever_the_case_of_the_headers(scheme: str) -> None:
    headers = signed(scheme)
    lower = {name.lower(): text for name, text in headers.items()}

    one, other = admitted(webhook(scheme), headers), admitted(webhook(scheme), lower)

    assert one.input == other.input == {"city": "Oslo"}
    assert one.time == NOW


def test_the_documented_example_of_github_is_admitted() -> None:
    said = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"X-Hub-Signature-256": f"sha256={said}"}

    found = admitted(webhook("github"), headers, b"Hello, World!", "It's a Secret to Everybody")

    assert found.input == {"body": "Hello, World!"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_another_body_or_secret_is_refused(scheme: str) -> None:
    hook = webhook(scheme)

    assert "the signature does not fit" in refusal(hook, signed(scheme), BODY + b" ")
    assert "the signature does not fit" in refusal(hook, signed(scheme, secret="other"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_not_signed_is_refused_with_the_header_that_lacks(scheme: str) -> None:
    for name in signed(scheme):
        headers = signed(scheme) | {name: ""}
        if (scheme, name) != ("plain", "X-Timestamp"):
            assert f"the request has no header {name}" in refusal(webhook(scheme), headers)


@pytest.mark.parametrize("text", ["ü" * 64, "0" * 63, "t=1,t=2,v1=" + "0" * 64, "v1=\udcff", "=,="])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_garbled_headers_are_refused(scheme: str, text: str) -> None:
    for name in signed(scheme):
        assert refusal(webhook(scheme), signed(scheme) | {name: text})


@pytest.mark.parametrize("scheme", TIMED)
def test_what_was_signed_long_ago_or_is_of_the_future_is_refused(scheme: str) -> None:
    old, early = signed(scheme, seconds=SECONDS - 301), signed(scheme, seconds=SECONDS + 301)

    assert "it was signed 301 s ago, and 300 s are allowed" in refusal(webhook(scheme), old)
    assert "it was signed for 301 s from now" in refusal(webhook(scheme), early)
    assert admitted(webhook(scheme, tolerance="10m"), old).input


@pytest.mark.parametrize("scheme", TIMED)
def test_another_time_than_the_signed_one_is_refused(scheme: str) -> None:
    headers = {
        name: text.replace(str(SECONDS - 999), str(SECONDS))
        for name, text in signed(scheme, seconds=SECONDS - 999).items()
    }

    assert "the signature does not fit" in refusal(webhook(scheme), headers)


def test_an_empty_secret_admits_nobody() -> None:
    assert "is empty" in refusal(webhook("github"), signed("github", secret=""), secret="")
    headers = {"Authorization": "Bearer "}
    assert "is empty" in refusal(Webhook({"token": "$secret{T}"}, {}), headers, secret="")


def test_plain_signatures_need_no_time_unless_a_tolerance_is_named() -> None:
    headers = {"X-Signature": digest(BODY)}

    assert admitted(webhook("plain"), headers).input == {"city": "Oslo"}
    assert "send X-Timestamp" in refusal(webhook("plain", tolerance="5m"), headers)


def test_a_signed_time_cannot_be_hidden_in_the_body() -> None:
    recorded = signed("plain", seconds=SECONDS - 9999)
    body = f"{SECONDS - 9999}.".encode() + BODY

    said = refusal(webhook("plain"), {"X-Signature": recorded["X-Signature"]}, body)

    assert said == "the body begins with a time; it has to come as X-Timestamp"


# Each counts once ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_request_is_the_same_occasion_whatever_is_not_signed(scheme: str) -> None:
    headers = signed(scheme)
    forged = {
        name: text.replace(digest(BODY), digest(BODY).upper()) for name, text in headers.items()
    }
    forged |= {"X-GitHub-Delivery": "new", "X-Request-Id": "new", "Idempotency-Key": "new"}

    one, again = admitted(webhook(scheme), headers), admitted(webhook(scheme), forged)
    other = admitted(webhook(scheme), signed(scheme, b"{}"), b"{}")

    assert one.key == again.key != other.key


@pytest.mark.parametrize(
    ("scheme", "body"),
    [("stripe", {"id": "evt_1"}), ("slack", {"event_id": "Ev1"})],
)
def test_what_a_sender_tries_again_is_the_same_occasion(scheme: str, body: Any) -> None:
    text, hook = json.dumps(body).encode(), webhook(scheme)
    times = (SECONDS - 60, SECONDS)

    one, again = (admitted(hook, signed(scheme, text, time), text) for time in times)

    assert one.key == again.key


def test_an_id_that_is_none_of_an_event_does_not_count() -> None:
    text, hook = b'{"id": "invoice-1"}', webhook("stripe")

    one, other = (admitted(hook, signed("stripe", text, SECONDS - n), text) for n in (0, 1))

    assert one.key != other.key


def test_equal_bodies_count_each_where_that_is_wanted() -> None:
    rule = {"signature": "plain", "secret": "s"}
    hook, headers = Webhook(rule, {"repeat": True}), {"X-Signature": digest(BODY)}

    assert admitted(hook, headers).key != admitted(hook, headers).key


# Without a signature -------------------------------------------------------------------------


def test_who_has_the_token_is_admitted() -> None:
    hook = Webhook({"token": "$secret{T}"}, {})

    assert hook.secret == "$secret{T}"
    assert admitted(hook, {"AUTHORIZATION": f"bearer {SECRET}"}).input == {"city": "Oslo"}
    assert "no token" in refusal(hook, {})
    assert "no token" in refusal(hook, {"Authorization": f"Basic {SECRET}"})
    assert "the token is not the one" in refusal(hook, {"Authorization": "Bearer ünlike"})


def test_calls_without_a_signature_count_once_for_each_name() -> None:
    hook = Webhook({"open": True}, {})
    names = [{"Idempotency-Key": "a"}, {"idempotency-key": "a"}, {"X-Request-Id": "a"}, {}, {}]

    keys = [admitted(hook, headers, secret="").key for headers in names]

    assert hook.secret == ""
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


# What is made of a call ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "data", "values"),
    [
        (b"", None, {}),
        (b" \n", None, {}),
        (b"{}", {}, {}),
        (b"[1, 2]", [1, 2], {"body": [1, 2]}),
        (b"null", None, {"body": None}),
        (b"36893488147419103233", 2**65 + 1, {"body": 2**65 + 1}),
        (b"a=1&b=2", "a=1&b=2", {"body": "a=1&b=2"}),
        (b"NaN", "NaN", {"body": "NaN"}),
        (b"\xff", "\ufffd", {"body": "\ufffd"}),
    ],
)
def test_the_body_is_the_input(body: bytes, data: Any, values: Any) -> None:
    found = admitted(Webhook({"open": True}, {}), {}, body)

    assert (found.event["data"], found.input) == (data, values)


def test_a_body_nested_too_deep_is_a_text() -> None:
    body = b"[" * 100_000

    assert admitted(Webhook({"open": True}, {}), {}, body).input == {"body": body.decode()}


def test_the_event_has_harmless_headers_alone() -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "X-GitHub-Event": "push", "Cookie": "c=1"}

    event = admitted(Webhook({"token": SECRET}, {}), headers).event

    assert event["headers"] == {"x-github-event": "push"}
    assert (event["type"], event["channel"], event["source"]) == (
        "com.event.trigger.webhook",
        "triggers",
        "webhook",
    )
    assert event["time"] == "2031-04-05T00:00:00.000000"


# Rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "options", "loc", "said"),
    [
        ("open", {}, ("rule",), "should be an object that says who may call, not str"),
        ({}, {}, ("rule",), "should say who may call"),
        ({"signatur": "github"}, {}, ("rule",), "(did you mean 'signature'?)"),
        ({"open": False}, {}, ("rule", "open"), "should be True"),
        ({"signature": "githb", "secret": "s"}, {}, ("rule", "signature"), "mean 'github'?"),
        ({"signature": "github"}, {}, ("rule", "secret"), "Field required"),
        ({"signature": "github", "secret": ""}, {}, ("rule", "secret"), "at least 1 character"),
        (
            {"signature": "github", "secret": "s", "tolerance": "5m"},
            {},
            ("rule", "tolerance"),
            "github signs no time",
        ),
        (
            {"signature": "slack", "secret": "s", "tolerance": "soon"},
            {},
            ("rule", "tolerance"),
            "should be a number of seconds",
        ),
        (
            {"signature": "slack", "secret": "s", "tolerance": 0},
            {},
            ("rule", "tolerance"),
            "than 0",
        ),
        ({"token": "t", "open": True}, {}, ("rule", "open"), "cannot stand beside `token`"),
        ({"token": "t", "tokn": 1}, {}, ("rule", "tokn"), "unknown field (did you mean 'token'?)"),
        ({"token": "t"}, {"repeat": True}, ("options", "repeat"), "is about signatures"),
        ({"open": True}, {"x": 1}, ("options", "x"), "unknown field; known are repeat"),
    ],
)
def test_a_rule_that_cannot_be_understood_is_refused(
    rule: Any, options: dict[str, Any], loc: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidResource) as refused:
        Webhook(rule, options)

    (error,) = refused.value.errors
    assert error["loc"] == loc
    assert said in error["msg"]


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidResource) as refused:
        Webhook({"signature": "x", "tolerance": "y", "z": 1}, {"repeet": True})

    found = {error["loc"] for error in refused.value.errors}
    rule = {("rule", name) for name in ("signature", "secret", "tolerance", "z")}
    assert found == rule | {("options", "repeet")}
