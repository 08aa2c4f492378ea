"""Calls over HTTP: who may make them, and that each counts once."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from flowdapt_triggers.webhooks import HookRefused, Webhook

from flowdapt.errors import InvalidResource
from flowdapt.triggers import Occasion

NOW = datetime(2031, 4, 5, tzinfo=UTC)
TIME = str(int(NOW.timestamp()))
BODY = b'{"city": "Oslo"}'


def mac(content: bytes, secret: str = "s3cret") -> str:
    """Return what a sender computes."""
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def admitted(rule: Any, headers: dict[str, str], body: bytes = BODY) -> Occasion:
    """Return the occasion that a call is."""
    return Webhook(rule, {}).admit(headers, body, secret="s3cret", now=NOW)


def signing(scheme: str, body: bytes = BODY, time: str = TIME) -> dict[str, str]:
    """Return the headers of a request that is signed."""
    stamp = time.encode()
    return {
        "github": {"x-hub-signature-256": f"sha256={mac(body)}"},
        "stripe": {"stripe-signature": f"t={time},v1={'0' * 64},v1={mac(stamp + b'.' + body)}"},
        "slack": {
            "x-slack-signature": f"v0={mac(b'v0:' + stamp + b':' + body)}",
            "x-slack-request-timestamp": time,
        },
        "plain": {"x-signature": mac(stamp + b"." + body), "x-timestamp": time},
    }[scheme]


SCHEMES = ["github", "stripe", "slack", "plain"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_signed_is_admitted_and_counts_once(scheme: str) -> None:
    rule = {"signature": scheme, "secret": "$secret{HOOK}"}

    one, again = (admitted(rule, signing(scheme)) for _ in range(2))
    other = admitted(rule, signing(scheme, b"{}"), b"{}")

    assert one.key == again.key != other.key
    assert (one.input, other.input) == ({"city": "Oslo"}, {})
    assert one.event["data"] == {"city": "Oslo"}
    assert one.time == NOW


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("headers", ["none", "other body", "other secret", "garbled"])
def test_what_is_not_signed_by_the_right_one_is_refused(scheme: str, headers: str) -> None:
    rule = {"signature": scheme, "secret": "s3cret"}
    given: dict[str, str] = {}
    if headers == "other body":
        given = signing(scheme, b"{}")
    if headers == "other secret":
        given = {name: text[:-1] + "0" for name, text in signing(scheme).items()}
        rule["secret"] = "other"
    if headers == "garbled":
        given = dict.fromkeys(signing(scheme), "v1=")

    with pytest.raises(HookRefused) as caught:
        Webhook(rule, {}).admit(given, BODY, secret=rule["secret"], now=NOW)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["stripe", "slack", "plain"])
def test_what_was_signed_long_ago_is_refused(scheme: str) -> None:
    old = str(int(TIME) - 301)
    rule = {"signature": scheme, "secret": "s3cret"}

    with pytest.raises(HookRefused, match="signed 301 s from now, and 300 s are allowed"):
        admitted(rule, signing(scheme, time=old))
    assert admitted({**rule, "tolerance": "10m"}, signing(scheme, time=old)).input


def test_equal_bodies_without_a_time_may_count_each() -> None:
    rule = {"signature": "plain", "secret": "s", "repeat": True}
    headers = {"x-signature": mac(BODY)}

    assert admitted(rule, headers).key != admitted(rule, headers).key


def test_a_token_admits() -> None:
    rule = {"token": "$secret{HOOK}"}

    assert admitted(rule, {"authorization": "Bearer s3cret"}, b"words").input == {"body": "words"}
    for wrong in ({}, {"authorization": "Bearer other"}, {"authorization": "Basic s3cret"}):
        with pytest.raises(HookRefused):
            admitted(rule, wrong)


def test_calls_that_name_themselves_count_once() -> None:
    rule = {"open": True}
    one, again, other = (admitted(rule, {"idempotency-key": name}, b"") for name in ("a", "a", "b"))

    assert one.key == again.key != other.key
    assert one.input == {}
    assert admitted(rule, {}).key != admitted(rule, {}).key


@pytest.mark.parametrize(
    ("rule", "place", "said"),
    [
        ({}, ("rule",), "says not who may call"),
        ("open", ("rule",), "says not who may call"),
        ({"open": False}, ("rule", "open"), "is False, and can only be true"),
        ({"signature": "githb", "secret": "s"}, ("rule", "signature"), "did you mean 'github'"),
        ({"signature": "github"}, ("rule", "secret"), "must be a text"),
        ({"token": ""}, ("rule", "token"), "must be a text"),
        ({"token": "s", "secret": "s"}, ("rule", "secret"), "unknown key"),
        (
            {"signature": "slack", "secret": "s", "tolerance": "x"},
            ("rule", "tolerance"),
            "duration",
        ),
    ],
)
def test_a_rule_that_does_not_say_who_may_call_is_refused(
    rule: Any, place: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidResource) as caught:
        Webhook(rule, {})

    (error,) = caught.value.errors
    assert error["loc"] == place
    assert said in error["msg"]
