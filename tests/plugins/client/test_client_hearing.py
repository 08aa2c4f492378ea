"""How a stream of messages outlives its connections, against replies that are written down."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from flowdapt_client.errors import StreamLost

from flowdapt.client import Client, Gap, Refused, Unreadable

EVENT = (
    b'data: {"id": "5d0c1c52-7a0e-4a36-9b7b-0a2f0b8f6c11", "time": "2031-04-05T06:07:08.000000",'
    b' "type": "%s", "channel": "c", "source": "s"}\n'
)
OK = 200


@contextmanager
def replying(*replies: tuple[int, bytes], kind: str = "text/event-stream") -> Iterator[Any]:
    """Listen, and reply so, one connection after another; the last one again and again.

    Yields the address, and a list of the ``Last-Event-ID`` of each request.
    """
    left, resumed = list(replies), list[str | None]()

    class Reply(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            resumed.append(self.headers["Last-Event-ID"])
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Reply) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", resumed
        finally:
            server.shutdown()


def heard(address: str, count: int, *, away: float = 10.0) -> Sequence[str]:
    with Client(address) as client, client.events.follow(away=away) as events:
        return [next(events).type for _ in range(count)]


def test_it_goes_on_behind_the_last_message_that_was_whole() -> None:
    first = b"retry: 5\n\nid: 1\n" + EVENT % b"a" + b"\nid: 2\n" + EVENT % b"cut off"
    second = b"id: 2\n" + EVENT % b"b" + b"\n"

    with replying((OK, first), (OK, second)) as (address, resumed):
        assert heard(address, 2) == ["a", "b"]

    assert resumed == [None, "1"]


def test_what_is_not_kept_any_more_is_told_apart_from_events() -> None:
    first = b"retry: 5\nid: 1\n" + EVENT % b"a" + b"\n"
    second = b'event: gap\ndata: {"after": 1, "before": 9}\n\n' + b"id: 9\n" + EVENT % b"b" + b"\n"
    missed: list[Gap] = []

    with replying((OK, first), (OK, second)) as (address, resumed):
        assert heard(address, 2) == ["a", "b"]
    with replying((OK, second)) as (address, _), Client(address) as client:
        next(client.events.follow(after=1, missed=missed.append))

    assert resumed == [None, "1"]
    assert missed == [Gap(after=1, before=9)]


def test_a_position_without_a_message_counts() -> None:
    first, second = b"retry: 5\n: listening\nid: 7\n\n", EVENT % b"a" + b"\n"

    with replying((OK, first), (OK, second)) as (address, resumed):
        assert heard(address, 1) == ["a"]

    assert resumed == [None, "7"]


def test_a_server_that_starts_again_is_waited_for() -> None:
    busy = 503, b'{"detail": "it is starting", "status_code": 503}'
    last = b"id: 2\n" + EVENT % b"b" + b"\n"

    with replying((OK, b"retry: 5\n\nid: 1\n\n"), busy, busy, (OK, last)) as (address, resumed):
        assert heard(address, 1) == ["b"]

    assert resumed == [None, "1", "1", "1"]


def test_a_page_of_a_proxy_is_a_trouble_that_passes() -> None:
    page = (502, b"<html>Bad Gateway</html>")
    with replying((OK, EVENT % b"a" + b"\n"), page, (OK, EVENT % b"b" + b"\n")) as (address, _):
        assert heard(address, 2) == ["a", "b"]
    with replying(page) as (address, _), Client(address) as client:
        with pytest.raises(Refused, match="Bad Gateway") as raised:
            client.request("GET", "/runs/")
        assert raised.value.status == 502


def test_a_server_that_is_in_trouble_from_the_beginning_is_an_error() -> None:
    with (
        replying((503, b'{"detail": "no", "status_code": 503}')) as (address, _),
        pytest.raises(Refused, match="no"),
    ):
        heard(address, 1)


def test_a_stream_that_is_closed_again_and_again_is_an_error_in_the_end() -> None:
    with replying((OK, b"")) as (address, _), pytest.raises(StreamLost, match="at /events again"):
        heard(address, 1, away=0.1)


def test_what_is_no_stream_is_said_to_be_none() -> None:
    said = "has no stream of events at /events"
    with (
        replying((OK, b"<html>"), kind="text/html") as (address, _),
        pytest.raises(Unreadable, match=said),
    ):
        heard(address, 1)
