"""The rule of triggers that fire when somebody calls them over HTTP."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import AfterValidator, Field

from flowdapt.errors import FlowdaptError, InvalidResource, nearest
from flowdapt.resources import Model, timestamp
from flowdapt.settings import Duration
from flowdapt.triggers import Occasion, Rule
from flowdapt_triggers.checks import checked, fault
from flowdapt_triggers.signatures import SCHEMES, NotSigned, Reader, Scheme, Signed

EVENT = "com.event.trigger.webhook"
TOLERANCE_SECONDS = 300.0  #: between the time that was signed and the present one
#: headers that stand in the event; no signature covers them, and none of them is a secret
SHOWN = (
    "content-type",
    "user-agent",
    "x-event-type",
    "x-github-delivery",
    "x-github-event",
    "x-gitlab-event",
    "x-slack-retry-num",
)
#: headers by which calls that are not signed are told apart
NAMES = ("idempotency-key", "x-request-id")


class HookRefused(FlowdaptError):
    """A call does not come from whom it should, or not in time. The message is for the caller."""


def _known(scheme: str) -> str:
    if scheme not in SCHEMES:
        hint = nearest(scheme, SCHEMES) or f"; there are {', '.join(SCHEMES)}"
        raise ValueError(f"{scheme!r} is no scheme of signatures{hint}")
    return scheme


_Text = Annotated[str, Field(min_length=1)]


class _Signature(Model):
    signature: Annotated[str, AfterValidator(_known)]
    secret: _Text
    tolerance: Duration | None = Field(None, gt=0)


class _Token(Model):
    token: _Text


class _Open(Model):
    open: Literal[True]


class _Options(Model):
    repeat: bool = False


_WAYS: dict[str, type[_Signature | _Token | _Open]] = {
    "signature": _Signature,
    "token": _Token,
    "open": _Open,
}


class Webhook(Rule):
    """Fires when ``POST /hooks/{trigger}`` is called.

    The rule says who may call: ``signature`` and ``secret``, whoever signs as ``github``,
    ``stripe``, ``slack`` or ``plain`` do; ``token``, whoever sends it as a bearer; ``open: true``,
    anybody. Where a time is signed, it may be ``tolerance`` (5 minutes) from the present one. With
    ``plain`` the time, ``X-Timestamp``, is up to the sender, unless the rule names a tolerance.

    What is signed counts once, however often it is sent: by what Stripe and Slack call it, which
    stays when they try again, else by all that is signed. For GitHub that is the body: it sends one
    again as it was, and no two pushes have the same. That lasts for as long as keys of occasions
    are remembered. The option ``repeat`` has the same count each time, for senders without a time
    whose bodies say the same; whoever recorded such a call can repeat it, too. Calls that are not
    signed count once for each ``Idempotency-Key`` or ``X-Request-Id``, and each without one.

    :ivar secret: the secret or the token as it is written, perhaps with ``$secret{NAME}``; empty
        where anybody may call
    """

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        faults: list[dict[str, Any]] = []
        said = _who(rule, faults)
        chosen = checked(_Options, options, "options", faults)
        self._scheme: Scheme | None = None
        self._tolerance: float | None = None
        if isinstance(said, _Signature):
            self._scheme, self._tolerance = SCHEMES[said.signature], said.tolerance
            if said.tolerance and self._scheme.timed is False:
                fact = f"{said.signature} signs no time, and nothing can be too old"
                faults.append(fault(("rule", "tolerance"), fact))
        elif said and "repeat" in options:
            fact = "is about signatures; calls without one count each, unless a header names them"
            faults.append(fault(("options", "repeat"), fact))
        if faults or said is None or chosen is None:
            raise InvalidResource("trigger", faults)
        self._repeat, self._open = chosen.repeat, isinstance(said, _Open)
        self.secret: str = getattr(said, "secret", "") or getattr(said, "token", "")

    def admit(
        self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime
    ) -> Occasion:
        """Return the occasion that a call is.

        :param headers: their names in any case
        :param body: as it came
        :param secret: what :attr:`secret` stands for
        :raises HookRefused: saying what is wrong, and nothing of the secret
        """
        if not secret and not self._open:  # anybody could sign with nothing
            raise HookRefused("the secret of this trigger is empty, and nobody can call it")
        lower = {name.lower(): text for name, text in headers.items()}
        if self._scheme:
            signed = self._verified(self._scheme.read, lower, body, secret=secret, now=now)
            data = _read(body)
            # Neither the digest as it is written, which can be in capitals, nor what is in other
            # headers: with another one of these, somebody could repeat what he recorded.
            name = self._scheme.name(data) or f"signed {sha256(signed.content).hexdigest()}"
            key = str(uuid4()) if self._repeat else name
        else:
            if not self._open:
                _check_token(lower, secret)
            data, key = _read(body), _named(lower)
        event = {
            "id": str(uuid4()),
            "time": timestamp(now.astimezone(UTC)),
            "type": EVENT,
            "channel": "triggers",
            "source": "webhook",
            "headers": {name: lower[name] for name in SHOWN if name in lower},
            "data": data,
        }
        if not isinstance(data, dict):
            return Occasion(key, now, event, {"body": data} if body.strip() else {})
        return Occasion(key, now, event, data)

    def _verified(
        self, read: Reader, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime
    ) -> Signed:
        try:
            signed = read(headers, body)
        except NotSigned as error:
            raise HookRefused(str(error)) from None
        if not signed.fits(secret):
            raise HookRefused(
                "the signature does not fit; have both sides the same secret, and is the body "
                "sent as it was signed?"
            )
        if signed.time is None:
            if self._tolerance:
                raise HookRefused("no time is signed; send X-Timestamp and sign TIMESTAMP.BODY")
            return signed
        apart, most = now.timestamp() - signed.time, self._tolerance or TOLERANCE_SECONDS
        if abs(apart) > most:
            when = f"{apart:.0f} s ago" if apart > 0 else f"for {-apart:.0f} s from now"
            raise HookRefused(
                f"it was signed {when}, and {most:g} s are allowed; is the clock right?"
            )
        return signed


def _who(rule: Any, faults: list[dict[str, Any]]) -> _Signature | _Token | _Open | None:
    """Return who may call; else nothing, and there is a fault more."""
    if not isinstance(rule, dict):
        fact = f"should be an object that says who may call, not {type(rule).__name__}"
        faults.append(fault(("rule",), fact))
        return None
    ways = [way for way in _WAYS if way in rule]
    if not ways:
        near = next((hint for name in rule if (hint := nearest(str(name), _WAYS))), "")
        fact = "should say who may call: `signature` and `secret`, or `token`, or `open: true`"
        faults.append(fault(("rule",), fact + near))
        return None
    for other in ways[1:]:
        faults.append(fault(("rule", other), f"cannot stand beside `{ways[0]}`"))
    rest = {name: value for name, value in rule.items() if name not in ways[1:]}
    return checked(_WAYS[ways[0]], rest, "rule", faults)


def _check_token(headers: Mapping[str, str], token: str) -> None:
    word, _, given = headers.get("authorization", "").partition(" ")
    if word.lower() != "bearer" or not given.strip():
        raise HookRefused("the request has no token; send it as `Authorization: Bearer TOKEN`")
    if not hmac.compare_digest(given.strip().encode(errors="replace"), token.encode()):
        raise HookRefused("the token is not the one of this trigger")


def _named(headers: Mapping[str, str]) -> str:
    name = next((name for name in NAMES if headers.get(name)), None)
    if name is None:
        return str(uuid4())
    # A digest, because nobody vouches for how long the text is.
    return f"{name} {sha256(headers[name].encode(errors='replace')).hexdigest()}"


def _read(body: bytes) -> Any:
    """Return a body as JSON or else as text; nothing where it is empty."""
    if not body.strip():
        return None
    try:
        # Not by orjson, for which an integer beyond 64 bits is another number.
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
