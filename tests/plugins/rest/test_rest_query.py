"""Times in a query, as each client writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote_plus

import pytest
from flowdapt_rest.query import MalformedQuery, moment
from starlette.requests import Request


def asked(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode()})


@pytest.mark.parametrize(
    "query",
    [
        quote_plus("2031-04-05 06:07:08"),
        "2031-04-05T06:07:08.000Z",
        quote_plus("2031-04-05T08:07:08+02:00"),
        "2031-04-05T08:07:08+02:00",  # the + means a blank here, but nobody means one
    ],
)
def test_a_time_is_read_however_it_is_written(query: str) -> None:
    assert moment(asked(f"start_time={query}"), "start_time") == datetime(
        2031, 4, 5, 6, 7, 8, tzinfo=UTC
    )


def test_a_time_that_is_absent_is_none() -> None:
    assert moment(asked(""), "start_time") is None


@pytest.mark.parametrize("query", ["yesterday", "", "2031-13-01", "7"])
def test_a_time_that_is_none_is_refused(query: str) -> None:
    with pytest.raises(MalformedQuery, match="start_time"):
        moment(asked(f"start_time={query}"), "start_time")
