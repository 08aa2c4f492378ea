"""How others sign what they send: in which headers, and what of a request is signed."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowdapt.errors import FlowdaptError

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_BEGINS_WITH_A_TIME = re.compile(rb"[0-9]{9,12}\.")


class NotSigned(FlowdaptError):
    """A request is not signed as a scheme asks for."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of itself.

    :param digests: HMACs with SHA-256, as hexadecimal digits; one of them has to fit
    :param content: what they are made of
    :param time: when it was signed, in seconds since 1970, where that is signed as well
    """

    digests: tuple[str, ...]
    content: bytes
    time: int | None = None

    def fits(self, secret: str) -> bool:
        """Tell whether it was signed with a secret; how long that takes tells nothing of it."""
        right = hmac.new(secret.encode(), self.content, hashlib.sha256).hexdigest()
        return any(hmac.compare_digest(right, digest.lower()) for digest in self.digests)


def _github(headers: Mapping[str, str], body: bytes) -> Signed:
    return Signed((_digest(headers, "X-Hub-Signature-256", "sha256="),), body)


def _stripe(headers: Mapping[str, str], body: bytes) -> Signed:
    name = "Stripe-Signature"
    parts = [part.strip().partition("=") for part in _header(headers, name).split(",")]
    times = [text for key, _, text in parts if key == "t"]
    digests = tuple(text for key, _, text in parts if key == "v1" and _DIGEST.fullmatch(text))
    if len(times) != 1 or not digests:  # of two times, it would be open which was signed
        raise NotSigned(f"{name} is not t=SECONDS,v1=DIGEST with 64 hexadecimal digits")
    seconds = _seconds(times[0], name)
    return Signed(digests, times[0].encode() + b"." + body, seconds)


def _slack(headers: Mapping[str, str], body: bytes) -> Signed:
    name = "X-Slack-Request-Timestamp"
    text = _header(headers, name)
    digest, seconds = _digest(headers, "X-Slack-Signature", "v0="), _seconds(text, name)
    return Signed((digest,), b"v0:" + text.encode() + b":" + body, seconds)


def _plain(headers: Mapping[str, str], body: bytes) -> Signed:
    digest, text = _digest(headers, "X-Signature", ""), headers.get("x-timestamp", "").strip()
    if text:
        seconds = _seconds(text, "X-Timestamp")
        return Signed((digest,), text.encode() + b"." + body, seconds)
    if _BEGINS_WITH_A_TIME.match(body):
        # Else whoever recorded a request could move its time into the body, where it never ages.
        raise NotSigned("the body begins with a time; it has to come as X-Timestamp")
    return Signed((digest,), body)


def _header(headers: Mapping[str, str], name: str) -> str:
    if text := headers.get(name.lower(), "").strip():
        return text
    raise NotSigned(f"the request has no header {name}; is the sender told to sign?")


def _digest(headers: Mapping[str, str], name: str, prefix: str) -> str:
    text = _header(headers, name)
    if not text.startswith(prefix) or not _DIGEST.fullmatch(digest := text[len(prefix) :]):
        raise NotSigned(f"{name} is not {prefix}DIGEST with 64 hexadecimal digits")
    return digest


def _seconds(text: str, name: str) -> int:
    if not _SECONDS.fullmatch(text):
        raise NotSigned(f"{name} has no time in seconds since 1970")
    return int(text)


Reader = Callable[[Mapping[str, str], bytes], Signed]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to sign.

    :param read: what a request says of itself, by its headers in lower case; it raises
        :class:`NotSigned`
    :param timed: whether a time is signed: always, never, or (``None``) where there is one
    :param named: the field of a signed body, and how its text begins, that is the same when the
        sender tries again, which signs the body anew, with another time
    """

    read: Reader
    timed: bool | None = True
    named: tuple[str, str] | None = None

    def name(self, data: Any) -> str | None:
        """Return what the sender calls this delivery, where that is signed."""
        if self.named is None or not isinstance(data, dict):
            return None
        field, beginning = self.named
        text = data.get(field)
        return text if isinstance(text, str) and text.startswith(beginning) else None


SCHEMES = {
    "github": Scheme(_github, timed=False),
    "stripe": Scheme(_stripe, named=("id", "evt_")),
    "slack": Scheme(_slack, named=("event_id", "Ev")),
    "plain": Scheme(_plain, timed=None),
}
