"""Names for servers, and which server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flowdapt.errors import SettingsError

from .conftest import Call

STAGING = "http://127.0.0.1:3"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file with the contexts."""
    return tmp_path / "contexts.yaml"


def test_a_context_is_added_used_listed_and_removed(flowdapt: Call, file: Path) -> None:
    added = flowdapt("contexts", "add", "staging", STAGING)
    used = flowdapt("contexts", "use", "staging")
    listed = flowdapt("contexts", "list", "-o", "json").json()
    asked = flowdapt("status")
    flowdapt("contexts", "remove", "staging")

    assert added.out == "context staging added\n"
    assert added.err == "use it: flowdapt contexts use staging\n"
    assert used.out == "context staging is used from now on\n"
    assert listed == [{"current": True, "name": "staging", "server": STAGING, "token": False}]
    assert f"no server answers at {STAGING}" in asked.err
    assert yaml.safe_load(file.read_text()) == {"current": None, "contexts": {}}


def test_a_token_is_kept_for_nobody_else_to_read_and_never_shown(
    flowdapt: Call, file: Path
) -> None:
    flowdapt("contexts", "add", "staging", STAGING, "--ask-token", "--use", stdin="s3cret\n")

    listed = flowdapt("contexts", "list")

    assert file.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(file.read_text())["contexts"]["staging"]["token"] == "s3cret"
    assert listed.out.splitlines()[1].split() == ["*", "staging", STAGING, "yes"]


def test_a_file_that_others_can_read_is_warned_about(flowdapt: Call, file: Path) -> None:
    flowdapt("--token", "s3cret", "contexts", "add", "staging", STAGING)
    file.chmod(0o644)

    done = flowdapt("contexts", "list")

    assert f"others can read the tokens in {file}; keep them out: chmod 600 {file}" in done.err


def test_an_address_is_checked_and_must_not_hold_a_token(flowdapt: Call, file: Path) -> None:
    with_token = flowdapt("contexts", "add", "staging", "http://:s3cret@127.0.0.1:3")
    wrong = flowdapt("contexts", "add", "staging", "ftp://farm")

    assert with_token.status == wrong.status == 2
    assert "an address must not hold a token here" in with_token.err
    assert "s3cret" not in with_token.err
    assert "'ftp://farm' is no address of a server" in wrong.err
    assert not file.exists()


def test_a_context_that_there_is_not_is_answered_with_those_there_are(flowdapt: Call) -> None:
    none = flowdapt("contexts", "use", "staging")
    flowdapt("contexts", "add", "staging", STAGING)

    near = flowdapt("--context", "stagin", "status")

    assert none.status == near.status == 2
    assert none.err.startswith("Error: no context named 'staging'; there are none yet; make it: ")
    assert near.err.startswith("Error: no context named 'stagin' (did you mean 'staging'?)")


def test_what_is_named_most_plainly_wins(flowdapt: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    flowdapt("contexts", "add", "current", "http://127.0.0.1:3", "--use")
    flowdapt("contexts", "add", "other", "http://127.0.0.1:4")

    assert "at http://127.0.0.1:3" in flowdapt("status").err
    assert "at http://127.0.0.1:4" in flowdapt("--context", "other", "status").err
    monkeypatch.setenv("FLOWDAPT_SERVER", "http://127.0.0.1:5")
    assert "at http://127.0.0.1:5" in flowdapt("status").err
    assert "at http://127.0.0.1:4" in flowdapt("--context", "other", "status").err
    assert "at http://127.0.0.1:6" in flowdapt("--server", "http://127.0.0.1:6", "status").err
    both = flowdapt("--server", "http://127.0.0.1:6", "--context", "other", "status")
    assert (both.status, "leave one out" in both.err) == (2, True)


def test_a_token_goes_to_its_own_server(
    flowdapt: Call, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | None] = []

    def client(_: str, *, token: str | None) -> None:
        found.append(token)
        raise SettingsError("enough")

    file.write_text("contexts: {a: {server: 'http://127.0.0.1:3', token: of-a}}")
    monkeypatch.setattr("flowdapt.client.Client", client)
    monkeypatch.setenv("FLOWDAPT_TOKEN", "of-another")
    flowdapt("--context", "a", "status")
    flowdapt("--context", "a", "--token", "named", "status")
    monkeypatch.setenv("FLOWDAPT_CONTEXT", "a")
    flowdapt("status")

    assert found == ["of-a", "named", "of-a"]


@pytest.mark.parametrize("text", ["contexts: 3", "- a", "contexts: {a: {token: s3cret}}", "{"])
def test_a_file_that_holds_something_else_is_named_and_not_quoted(
    flowdapt: Call, file: Path, text: str
) -> None:
    file.write_text(text)

    done = flowdapt("status")

    assert done.status == 2
    assert done.err.startswith(f"Error: {file} holds no contexts")
    assert "s3cret" not in done.err
