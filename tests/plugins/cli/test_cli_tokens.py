"""Tokens on the command line, and servers that know their callers by them."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from .conftest import Call
from .processes import Process, serving

EVERYWHERE = ("-o", "rpc.api.host=0.0.0.0", "-o", "rpc.api.port=0", "-o", "executor=threads")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def create(flowdapt: Call, name: str, role: str = "admin", *options: object) -> str:
    """Return the text of a new token."""
    done = flowdapt("tokens", "create", name, "--role", role, *options)
    assert done.status == 0, done.err
    return done.out.strip()


def test_a_token_is_printed_once_and_alone(flowdapt: Call) -> None:
    done = flowdapt("tokens", "create", "ci", "--role", "operate")

    assert re.fullmatch(r"fd_[0-9a-f]{8}_[0-9a-f]{64}\n", done.out)
    assert "not shown again" in done.err
    listed = flowdapt("tokens", "list", "-o", "json")
    secret = done.out.strip().rpartition("_")[2]
    assert secret not in listed.out
    (facts,) = listed.json()
    assert (facts["name"], facts["role"], facts["expires_at"]) == ("ci", "operate", None)


def test_programs_read_what_was_made_and_taken_back(flowdapt: Call) -> None:
    made = flowdapt("tokens", "create", "ci", "--role", "read", "--expires", "30d", "-o", "json")
    gone = flowdapt("tokens", "revoke", "ci", "-o", "json")

    facts = made.json()
    assert facts.pop("token").startswith(f"fd_{facts['id']}_")
    assert facts == gone.json()
    assert facts["expires_at"] > facts["created_at"]


def test_people_see_a_table(flowdapt: Call) -> None:
    create(flowdapt, "ci", "read", "--expires", "12h")
    create(flowdapt, "boss")

    lines = flowdapt("tokens", "list").out.splitlines()

    assert lines[0].split() == ["name", "role", "id", "created", "expires"]
    assert lines[1].split()[:2] == ["ci", "read"]
    assert lines[2].split()[-1] == "never"
    assert flowdapt("tokens", "revoke", "ci").out == "token ci revoked\n"
    assert len(flowdapt("tokens", "list").out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "ci", "--role", "root"), "'root' is not one of"),
        (("create", "ci"), "Missing option '--role'"),
        (("create", "ci", "--role", "read", "--expires", "soon"), "'soon' is no time such as"),
        (("create", "ci", "--role", "read", "--expires", "0d"), "'0d' is no time such as"),
        (("create", "ci", "--role", "read", "--expires", "9999999w"), "is no time such as"),
        (("create", "a b", "--role", "read"), "a token cannot be named 'a b'"),
        (("revoke", "nobody"), "no token named 'nobody'; 'flowdapt tokens list' shows"),
    ],
)
def test_what_cannot_be_done_is_said(flowdapt: Call, arguments: list[str], said: str) -> None:
    done = flowdapt("tokens", *arguments)

    assert done.status != 0
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_name_is_given_once(flowdapt: Call) -> None:
    create(flowdapt, "ci")

    again = flowdapt("tokens", "create", "ci", "--role", "read")

    assert again.status == 1
    assert again.err == "Error: there is a token 'ci' already; revoke it, or choose a name\n"


def test_a_token_that_no_server_would_see_is_not_made(flowdapt: Call) -> None:
    done = flowdapt("-o", "database=memory", "tokens", "create", "ci", "--role", "read")

    assert done.status == 1
    assert "the storage 'memory' keeps nothing for other processes" in done.err
    assert done.out == ""


def test_it_works_beside_a_server_that_runs(flowdapt: Call, tmp_path: Path) -> None:
    with serving(tmp_path / "app", "-o", "rpc.api.require_token=true") as served:
        before = httpx.get(f"{served.address}/status")
        text = create(flowdapt, "ci", "read")
        with httpx.Client(base_url=served.address, headers=bearer(text)) as client:
            known = client.get("/status")
            low = client.post("/configs/", json={})
            flowdapt("tokens", "revoke", "ci")
            after = client.get("/status")
        served.process.signal(signal.SIGTERM)
        assert served.process.status() == 0

    codes = [answer.status_code for answer in (before, known, low, after)]
    assert codes == [401, 200, 403, 401]
    assert "every request is refused until there is a token" in served.process.text
    assert text.rpartition("_")[2] not in served.process.text


def test_a_token_in_the_address_is_enough_for_programs_that_know_no_more(
    flowdapt: Call, tmp_path: Path
) -> None:
    text = create(flowdapt, "ci", "operate")
    with serving(tmp_path / "app", "-o", "rpc.api.require_token=true") as served:
        host = served.address.removeprefix("http://")

        fine = [httpx.get(f"http://{user}@{host}/status") for user in (f":{text}", text)]
        command = flowdapt("--server", f"http://:{text}@{host}", "status", "-o", "json")

    assert [answer.status_code for answer in fine] == [200, 200]
    assert command.json()["services"]


def test_what_is_done_is_found_in_the_audit_trail(flowdapt: Call, tmp_path: Path) -> None:
    text = create(flowdapt, "boss")
    with serving(tmp_path / "app", "-o", "rpc.api.require_token=true") as served:
        with httpx.Client(base_url=served.address, headers=bearer(text)) as client:
            client.post("/configs/", json={"metadata": {"name": "new"}, "spec": {"data": {}}})
            client.get("/status", headers=bearer("wrong"))
            token, made, refused = client.get("/audit").json()["entries"]
        served.process.kill()

    assert (token["operation"], token["path"]) == ("create_token", "/tokens/boss")
    assert (token["token"], token["address"]) == (made["token"], "")
    assert (made["actor"], made["operation"], made["status"]) == ("boss", "create_config", 200)
    assert (refused["actor"], refused["path"], refused["status"]) == ("anonymous", "/status", 401)


def test_nobody_listens_beyond_this_machine_without_a_token(flowdapt: Call) -> None:
    refused = flowdapt(*EVERYWHERE, "serve")

    assert refused.status == 1
    assert refused.err == (
        "Error: 0.0.0.0 can be reached from other machines, and there is no token by which "
        "callers could be known; make one with 'flowdapt tokens create NAME --role admin', "
        "or let everybody in with 'flowdapt serve --insecure'\n"
    )


def test_with_a_token_it_does_and_asks_for_it(
    flowdapt: Call, start: Callable[..., Process], tmp_path: Path
) -> None:
    text = create(flowdapt, "boss")

    process = start(*EVERYWHERE, "serve")

    address = listened(process)
    assert httpx.get(f"{address}/status").status_code == 401
    assert httpx.get(f"{address}/status", headers=bearer(text)).status_code == 200


def test_told_to_it_lets_everybody_in(start: Callable[..., Process]) -> None:
    process = start(*EVERYWHERE, "serve", "--insecure")

    process.line("whoever reaches 0.0.0.0 may do everything: nobody is asked who they are")
    assert httpx.get(f"{listened(process)}/status").status_code == 200


def test_on_this_machine_nobody_is_asked(flowdapt: Call, tmp_path: Path) -> None:
    with serving(tmp_path / "app", "-o", "executor=threads") as served:
        assert httpx.get(f"{served.address}/status").status_code == 200
        assert httpx.get(f"{served.address}/status", headers=bearer("x")).status_code == 401


def listened(process: Process) -> str:
    """Return where a process that listens everywhere is reached from here."""
    port = re.search(r":(\d+),", process.line("serves at"))
    assert port
    return f"http://127.0.0.1:{port[1]}"


def test_a_limit_that_means_nothing_is_told_of(flowdapt: Call) -> None:
    done = flowdapt("-o", "services.rest.head_secs=5", "-o", "executor=threads", "serve")

    assert done.status == 2
    assert "services.rest.head_secs means nothing; there are: head, head_seconds" in done.err


def test_no_file_holds_a_token(flowdapt: Call, tmp_path: Path) -> None:
    text = create(flowdapt, "boss")

    secret = text.rpartition("_")[2].encode()
    for file in (tmp_path / "app").rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes(), file
