"""Reading server-sent events."""

from __future__ import annotations

import pytest
from flowdapt_client.sse import Message, Parser


def parsed(*chunks: bytes) -> list[Message]:
    parser = Parser()
    return [message for chunk in chunks for message in parser.feed(chunk)]


def test_a_message_has_a_name_data_and_an_id() -> None:
    found = parsed(b"id: 7\nevent: log\ndata: {}\n\n")

    assert found == [Message("log", "{}", "7")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_cut_between_chunks_gives_the_same(end: bytes) -> None:
    text = end.join(
        ["id: 1", "data: grün", "data: rot", "", "event: x", "data:y", "", ""][i].encode()
        for i in range(8)
    )

    whole = parsed(text)

    assert whole == [Message("message", "grün\nrot", "1"), Message("x", "y", "1")]
    for at in range(len(text)):
        assert parsed(text[:at], text[at:]) == whole
    assert parsed(*(bytes([byte]) for byte in text)) == whole


def test_a_message_is_there_as_soon_as_its_empty_line_ends() -> None:
    assert parsed(b"data: now\r\n\r") == [Message("message", "now")]


def test_comments_and_fields_that_are_not_known_are_left_out() -> None:
    assert parsed(b": hello\nfoo: bar\ndata: x\n:\n\n") == [Message("message", "x")]


def test_a_message_without_data_is_none() -> None:
    assert parsed(b"event: x\n\ndata: y\n\n") == [Message("message", "y")]


def test_a_field_without_a_colon_has_an_empty_value() -> None:
    assert parsed(b"data\ndata\n\n") == [Message("message", "\n")]


def test_only_one_blank_behind_the_colon_is_left_out() -> None:
    assert parsed(b"data:  x\n\n") == [Message("message", " x")]


def test_what_only_python_takes_for_the_end_of_a_line_is_a_part_of_it() -> None:
    assert parsed("data: a\u2028b\x0bc\x85d\n\n".encode()) == [
        Message("message", "a\u2028b\x0bc\x85d")
    ]


def test_an_id_stays_until_there_is_another_and_may_become_empty() -> None:
    found = parsed(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: 2\x00\ndata: d\n\n")

    assert [message.id for message in found] == ["1", "1", "", ""]


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert parsed(b"\xef\xbb", b"\xbfdata: x\n\n") == [Message("message", "x")]


def test_a_message_that_is_cut_off_is_none() -> None:
    assert parsed(b"data: x\n") == []


def test_the_server_says_when_to_come_again() -> None:
    parser = Parser()

    list(parser.feed(b"retry: 1500\nretry: soon\n\n"))

    assert parser.retry == 1.5
