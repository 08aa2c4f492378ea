"""The rule of triggers that fire when somebody calls them over HTTP."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson
from pydantic import TypeAdapter, ValidationError

from flowdapt.errors import FlowdaptError, InvalidResource, nearest
from flowdapt.resources import timestamp
from flowdapt.settings import Duration
from flowdapt.triggers import Occasion, Rule
from flowdapt_triggers.signatures import SCHEMES

TOLERANCE_SECONDS = 300.0  #: between the time that was signed and the present one
SHOWN = ("content-type", "user-agent", "x-github-event", "x-event-type")  #: headers in the event

_DURATION: TypeAdapter[float] = TypeAdapter(Duration)
_KEYS = {
    "signature": ("signature", "secret", "tolerance", "repeat"),
    "token": ("token",),
    "open": ("open",),
}


class HookRefused(FlowdaptError):
    """A call of a webhook does not come from whom it should, or comes again."""


class Webhook(Rule):
    """Fires when ``POST /hooks/{trigger}`` is called.

    The rule says who may call: whoever signs with a ``secret`` as ``signature`` says (``github``,
    ``stripe``, ``slack`` or ``plain``), whoever sends ``token`` as a bearer, or anybody, which
    ``open: true`` allows. A secret or a token is best written as ``$secret{NAME}``.

    A call that was signed is done once: sent again, it returns the run that began. With ``repeat``
    that is so only for signatures that hold a time, because without one two equal bodies look the
    same; GitHub's always differ. Calls that are not signed are told apart by ``Idempotency-Key`` or
    ``X-Request-Id``, where they have one.
    """

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        self._faults: list[dict[str, Any]] = []
        for name in options:
            self._fault(("options", name), "a webhook has no options; they stand in its rule")
        given = rule if isinstance(rule, dict) else {}
        how = next((word for word in _KEYS if word in given), None)
        if how is None:
            right = "must have `signature` and `secret`, or `token`, or `open: true`"
            self._fault(("rule",), f"says not who may call: it {right}")
        else:
            known = _KEYS[how]
            for name in given:
                if name not in known:
                    hint = nearest(name, known) or f"; beside {how!r} there may be {known[1:]}"
                    self._fault(("rule", name), f"unknown key{hint}")
        self.scheme: str | None = given.get("signature")
        self.secret = self._text(given, "secret" if how == "signature" else "token", how)
        self.repeat = given.get("repeat") is True
        self.tolerance = self._tolerance(given.get("tolerance", TOLERANCE_SECONDS))
        if how == "signature" and self.scheme not in SCHEMES:
            hint = nearest(str(self.scheme), SCHEMES) or f"; there are {', '.join(SCHEMES)}"
            self._fault(("rule", "signature"), f"{self.scheme!r} is no way to sign{hint}")
        if how == "open" and given["open"] is not True:
            self._fault(("rule", "open"), f"is {given['open']!r}, and can only be true")
        self.open = how == "open"
        if self._faults:
            raise InvalidResource("rule", self._faults)

    def _fault(self, place: tuple[str, ...], fact: str) -> None:
        self._faults.append({"loc": place, "msg": fact, "type": "value_error"})

    def _text(self, given: Mapping[str, Any], name: str, how: str | None) -> str:
        value = given.get(name)
        if how in ("signature", "token") and (not isinstance(value, str) or not value):
            self._fault(("rule", name), "must be a text such as '$secret{NAME}'")
        return value if isinstance(value, str) else ""

    def _tolerance(self, given: Any) -> float:
        try:
            return _DURATION.validate_python(given)
        except ValidationError:
            fact = f"{given!r} is no duration; write seconds, or a text such as '5m'"
            self._fault(("rule", "tolerance"), fact)
            return 0.0

    def admit(
        self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime
    ) -> Occasion:
        """Return the occasion that a call is.

        :param headers: names in lower case, or of any case if the mapping does not mind
        :param secret: what :attr:`secret` stands for
        :raises HookRefused: it does not come from whom it should
        """
        key = self._key(headers, body, secret, now)
        value = _read(body)
        event = {
            "id": key,
            "time": timestamp(now),
            "type": "com.event.trigger.webhook",
            "channel": "triggers",
            "source": "webhook",
            "headers": {name: headers[name] for name in SHOWN if name in headers},
            "data": value,
        }
        if value is None:
            given: Mapping[str, Any] = {}
        else:
            given = value if isinstance(value, dict) else {"body": value}
        return Occasion(key, now, event, given)

    def _key(self, headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> str:
        if self.scheme is None:
            if not self.open:
                self._check_token(headers, secret)
            named = headers.get("idempotency-key") or headers.get("x-request-id")
            return f"named {named}" if named else str(uuid4())
        signed = SCHEMES[self.scheme](headers, body)
        if signed is None:
            raise HookRefused(f"the request is not signed as {self.scheme} signs")
        if not signed.fits(secret):
            raise HookRefused("the signature does not fit; is the secret the same on both sides?")
        if signed.time is not None and abs(now.timestamp() - signed.time) > self.tolerance:
            raise HookRefused(
                f"the request was signed {abs(now.timestamp() - signed.time):.0f} s from now, and "
                f"{self.tolerance:.0f} s are allowed"
            )
        if signed.time is None and self.repeat:
            return str(uuid4())
        return f"signed {hashlib.sha256(signed.content).hexdigest()}"

    @staticmethod
    def _check_token(headers: Mapping[str, str], token: str) -> None:
        word, _, given = headers.get("authorization", "").partition(" ")
        right = word.lower() == "bearer"
        if not hmac.compare_digest(given.strip().encode(), token.encode()) or not right:
            raise HookRefused("the request has not the token, as `Authorization: Bearer TOKEN`")


def _read(body: bytes) -> Any:
    """Return a body as JSON, or else as text; nothing where it is empty."""
    if not body.strip():
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")
