"""How the items of a run are told over HTTP: as server-sent events, or as lines of JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flowdapt_rest import sse

LINES = "application/x-ndjson"


@dataclass(frozen=True)
class Form:
    """One way to tell.

    :param message: makes one of the name of its kind, and of JSON without white space
    :param alive: shows that the connection is, and means nothing else
    """

    media_type: str
    message: Callable[[str, bytes], bytes]
    alive: bytes


def _event(name: str, data: bytes) -> bytes:
    return sse.message(data, event=name)


def _line(name: str, data: bytes) -> bytes:
    return b'{"%s":%s}\n' % (name.encode(), data)


_FORMS = (Form(sse.MEDIA_TYPE, _event, sse.ALIVE), Form(LINES, _line, b"{}\n"))


def form_of(accept: str) -> Form | None:
    """Return the form that an `Accept` header asks for; none where it names neither."""
    if "text/event-stream" not in accept and LINES not in accept:  # most requests
        return None
    named = [part.partition(";")[0].strip() for part in accept.lower().split(",")]
    found = [form for name in named for form in _FORMS if form.media_type == name]
    return found[0] if found else None
