"""How others sign what they send: which headers they use, and what of a request is signed."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of itself.

    :param digests: HMACs as hexadecimal digits, of which one has to fit
    :param content: what they are of
    :param time: when it was signed, in seconds since 1970, where that is signed as well
    """

    digests: tuple[str, ...]
    content: bytes
    time: float | None = None

    def fits(self, secret: str) -> bool:
        """Tell whether it was signed with a secret."""
        right = hmac.new(secret.encode(), self.content, hashlib.sha256).hexdigest()
        # All are compared, so that nobody learns from how long it takes.
        found = [hmac.compare_digest(right, digest.lower()) for digest in self.digests]
        return any(found)


def github(headers: Mapping[str, str], body: bytes) -> Signed | None:
    """Read ``X-Hub-Signature-256: sha256=...``."""
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", headers.get("x-hub-signature-256", ""))
    return Signed((match[1],), body) if match else None


def stripe(headers: Mapping[str, str], body: bytes) -> Signed | None:
    """Read ``Stripe-Signature: t=...,v1=...``; there may be several of the last."""
    parts = re.findall(r"(\w+)=(\w+)", headers.get("stripe-signature", ""))
    digests = tuple(value for name, value in parts if name == "v1")
    times = [value for name, value in parts if name == "t" and value.isdecimal()]
    return _timed(digests, times, b"%s." % times[0].encode() + body) if times else None


def slack(headers: Mapping[str, str], body: bytes) -> Signed | None:
    """Read ``X-Slack-Signature: v0=...`` and ``X-Slack-Request-Timestamp``."""
    match = re.fullmatch(r"v0=([0-9a-fA-F]{64})", headers.get("x-slack-signature", ""))
    time = headers.get("x-slack-request-timestamp", "")
    if match is None or not time.isdecimal():
        return None
    return _timed((match[1],), [time], b"v0:%s:" % time.encode() + body)


def plain(headers: Mapping[str, str], body: bytes) -> Signed | None:
    """Read ``X-Signature: ...`` and, where it is there, ``X-Timestamp``."""
    digest, time = headers.get("x-signature", ""), headers.get("x-timestamp", "")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        return None
    if not time:
        return Signed((digest,), body)
    return _timed((digest,), [time], b"%s." % time.encode() + body) if time.isdecimal() else None


def _timed(digests: tuple[str, ...], times: list[str], content: bytes) -> Signed | None:
    return Signed(digests, content, float(times[0])) if digests and times else None


SCHEMES = {"github": github, "stripe": stripe, "slack": slack, "plain": plain}
