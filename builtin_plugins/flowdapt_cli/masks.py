"""Takes out of settings what nobody should read over a shoulder, or in the log of a build."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"  #: what stands in place of a value

# As words of a key, however they are joined: `api_key` and `apiKey`, but not `keyboard`.
_WORD = (
    r"pass|passwd|password|passphrase|pwd|tokens?|secrets?|keys?|auth|authorization|credentials?"
)
_TELLING = re.compile(
    rf"(?:^|[^a-z])(?:{_WORD}|apikey|cookies?|headers|connection_string)(?:$|[^a-z])", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_USERINFO = re.compile(r"(?<=://)[^/\s]+(?=@)")
_IN_QUERY = re.compile(r"(?<=[?&;])([^=&;#\s]+)=([^&;#\s]+)")


def masked(value: Any) -> Any:
    """Return settings as they are shown, without what their keys or their URLs say is secret.

    Truth values stay, and so does what is empty: they tell whether something is set.
    """
    if isinstance(value, dict):
        return {key: _hidden(of) if _tells(key) else masked(of) for key, of in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return _in_text(value) if isinstance(value, str) else value


def _tells(key: Any) -> bool:
    return bool(_TELLING.search(_CAMEL.sub("_", str(key))))


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return value if isinstance(value, bool) or value in (None, "") else HIDDEN


def _in_text(text: str) -> str:
    def pair(found: re.Match[str]) -> str:
        return f"{found[1]}={HIDDEN}" if _tells(found[1]) else found[0]

    return _IN_QUERY.sub(pair, _USERINFO.sub(HIDDEN, text))
