"""What is not shown of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flowdapt_cli.masks import HIDDEN, masked

from .conftest import Call

FILE = """
telemetry:
  endpoint: https://ada:pass:w@rd@collector:4318
  headers: {x-team: blue, authorization: Bearer abc}
storage:
  protocol: s3
  parameters: {key: AKIA, secret: shh, use_ssl: true, endpoint: store}
database: {target: sqlite, password: 1234}
"""


@pytest.mark.parametrize(
    "key",
    [
        *("password", "passwd", "db_pwd", "token", "refresh-token", "secret", "clientSecret"),
        *("key", "api_key", "apikey", "aws_access_key_id", "credentials", "Authorization"),
        *("headers", "connection_string", "PASSWORD"),
    ],
)
def test_what_a_key_says_is_secret_is_hidden(key: str) -> None:
    assert masked({"a": [{key: "x"}]}) == {"a": [{key: HIDDEN}]}
    assert masked({key: {"inner": ["x", 7]}}) == {key: {"inner": [HIDDEN, HIDDEN]}}


@pytest.mark.parametrize("key", ["name", "keyboard", "monkey", "passive", "author", "tokenizer"])
def test_what_only_sounds_like_a_secret_is_shown(key: str) -> None:
    assert masked({key: "x"}) == {key: "x"}


@pytest.mark.parametrize("value", [True, False, None, "", {}, []])
def test_whether_something_is_set_is_shown(value: Any) -> None:
    assert masked({"require_token": value}) == {"require_token": value}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ada:pw@host:1/0", "redis://***@host:1/0"),
        ("http://:token@host", "http://***@host"),
        ("http://token@host", "http://***@host"),
        ("amqp://a:p@ss#w?rd@host/x", "amqp://***@host/x"),
        ("see amqp://a:b@one,amqp://a:b@two", "see amqp://***@one,amqp://***@two"),
        ("https://host/@name?user=me", "https://host/@name?user=me"),
        ("https://host/?a=1&token=x&sig=2#f", "https://host/?a=1&token=***&sig=2#f"),
        ("memory://", "memory://"),
    ],
)
def test_of_a_url_who_is_known_there_is_hidden(url: str, shown: str) -> None:
    assert masked({"url": url, "urls": [url]}) == {"url": shown, "urls": [shown]}


def test_settings_are_shown_without_secrets_if_not_asked_otherwise(
    flowdapt: Call, tmp_path: Path
) -> None:
    (tmp_path / "flowdapt.yaml").write_text(FILE)

    for raw in ([], ["--raw"]):
        done = flowdapt("-d", tmp_path, "config", "show", *raw, "--json")
        whole = flowdapt("-d", tmp_path, "config", "show", *raw, "--json", "--reveal")

        shown, revealed = done.json(), whole.json()
        assert shown["telemetry"]["endpoint"] == "https://***@collector:4318"
        assert set(shown["telemetry"]["headers"].values()) == {HIDDEN}
        parameters = {"key": HIDDEN, "secret": HIDDEN, "use_ssl": True, "endpoint": "store"}
        assert shown["storage"]["parameters"] == parameters
        assert shown["database"]["password"] == HIDDEN
        assert "--reveal" in done.err
        assert revealed["telemetry"]["headers"]["authorization"] == "Bearer abc"
        assert revealed["telemetry"]["endpoint"] == "https://ada:pass:w@rd@collector:4318"
        assert revealed["database"]["password"] == 1234
        assert whole.err == ""


def test_nothing_is_said_of_secrets_where_there_are_none(flowdapt: Call, tmp_path: Path) -> None:
    assert flowdapt("-d", tmp_path, "config", "show").err == ""
