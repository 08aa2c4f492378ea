"""Commands over what resources were, and over what only administrators see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import Tokens

from flowdapt.plugins import Plugins
from tests.plugins.client import serving

from .conftest import Call, Done


class Farm:
    """A config with a name of its own, which is applied at some depth."""

    def __init__(self, ask: Call, file: Path) -> None:
        self.ask, self.file = ask, file
        self.name = f"farm-{os.urandom(4).hex()}"

    def apply(self, depth: int, *options: str) -> Done:
        spec = f"spec:\n  data: {{depth: {depth}}}\n"
        self.file.write_text(f"kind: config\nmetadata: {{name: {self.name}}}\n{spec}")
        return self.ask("apply", self.file, *options)


@pytest.fixture
def farm(ask: Call, tmp_path: Path) -> Farm:
    """The config, of which there are two generations."""
    farm = Farm(ask, tmp_path / "farm.yaml")
    farm.apply(1)
    farm.apply(2)
    return farm


def test_history_shows_every_change(ask: Call, farm: Farm) -> None:
    people = ask("history", "config", farm.name).out.splitlines()
    scripts = ask("history", "configs", farm.name, "-o", "json").json()

    assert [line.split()[:2] for line in people[1:]] == [["1", "created"], ["2", "changed"]]
    assert [one["resource"]["spec"]["data"]["depth"] for one in scripts] == [1, 2]


def test_diff_shows_what_changed(ask: Call, farm: Farm) -> None:
    farm.apply(3)

    last = ask("diff", "config", farm.name)
    all_of_it = ask("diff", "config", farm.name, "--from", "1", "--to", "3", "-o", "json").json()
    first = ask("diff", "config", farm.name, "--to", "1")
    unknown = ask("diff", "config", farm.name, "--from", "7")

    assert last.out.startswith("--- generation 2\n+++ generation 3\n")
    assert "\n-    depth: 2\n+    depth: 3\n" in last.out
    assert (all_of_it["from"], all_of_it["to"]) == (1, 3)
    assert first.err == "generation 1 is the first\n"
    assert unknown.err == "Error: there is no generation 7; there are 1, 2, 3\n"


def test_rollback_brings_back_what_a_resource_was(ask: Call, farm: Farm) -> None:
    done = ask("rollback", "config", farm.name)
    back = ask("inspect", "config", farm.name, "-o", "json").json()
    unknown = ask("rollback", "config", farm.name, "--to", "9")

    assert done.out == f"config {farm.name} is as the generation before again, as generation 3\n"
    assert back["spec"]["data"] == {"depth": 1}
    assert unknown.status == 1
    assert "has no such revision" in unknown.err


def test_a_resource_that_never_was_has_no_history(ask: Call, farm: Farm) -> None:
    done = ask("history", "config", farm.name[:-1])

    assert done.status == 1
    assert f"(did you mean '{farm.name}'" in done.err


def test_a_dry_run_shows_what_would_change_and_stores_nothing(ask: Call, farm: Farm) -> None:
    done = farm.apply(3, "--dry-run")

    assert done.out.startswith(f"config {farm.name} changed (dry run)\n--- as it is\n+++ ")
    assert "\n-    depth: 2\n+    depth: 3\n" in done.out
    assert len(ask("history", "config", farm.name, "-o", "json").json()) == 2


def test_secrets_are_set_from_standard_input_and_never_shown(ask: Call) -> None:
    done = ask("secrets", "set", "key", stdin="s3cret\n")

    listed = ask("secrets", "list")
    empty = ask("secrets", "set", "key", stdin="\n")
    deleted = ask("secrets", "delete", "key")

    assert done.out == "secret key set\n"
    assert listed.out.splitlines()[1].split()[0] == "key"
    assert "s3cret" not in ask("secrets", "list", "-o", "json").out
    assert empty.err == "Error: the value of key is empty\n"
    assert deleted.out == "secret key deleted\n"
    assert ask("secrets", "delete", "key").err == "Error: no secret named 'key'\n"


def test_a_server_that_drains_accepts_no_runs(ask: Call) -> None:
    ask("drain")
    refused, status = ask("run", "fruit"), ask("status")
    ask("undrain")

    assert refused.status == 1
    assert "draining" in refused.err
    assert "runs         refused, the server is draining" in status.out
    assert ask("run", "fruit").status == 0


# With tokens ---------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path, plugins: Plugins) -> Iterator[serving.Served]:
    """A server that asks everybody for a token."""
    folder = tmp_path / "guarded"
    folder.mkdir()
    with serving.Served(folder, plugins, "rpc.api.require_token=true").running() as served:
        yield served


def token(served: serving.Served, name: str, role: Role) -> str:
    return served.do(Tokens(served.server.storage).create(name, role))[1]


def test_audit_shows_who_did_what(flowdapt: Call, guarded: serving.Served) -> None:
    text = token(guarded, "ada", Role.ADMIN)
    flowdapt("contexts", "add", "guarded", guarded.address, "--ask-token", "--use", stdin=text)
    flowdapt("undrain")

    people = flowdapt("audit").out.splitlines()
    scripts = flowdapt("audit", "--actor", "ada", "-o", "json").json()
    flowdapt("drain")
    flowdapt("undrain")
    last = flowdapt("audit", "--limit", "2", "-o", "json").json()

    assert people[0].split() == ["time", "by", "status", "operation", "request", "from"]
    assert people[1].split()[2:] == ["ada", "200", "undrain", "DELETE", "/drain", "127.0.0.1"]
    assert [entry["path"] for entry in scripts] == ["/drain"]
    assert [entry["operation"] for entry in last] == ["drain", "undrain"]
    assert text not in str(people)


def test_a_token_that_is_missing_or_too_low_is_said(
    flowdapt: Call, guarded: serving.Served
) -> None:
    text = token(guarded, "eve", Role.READ)

    nobody = flowdapt("--server", guarded.address, "status")
    eve = flowdapt("--server", guarded.address, "--token", text, "drain")

    assert nobody.status == eve.status == 1
    assert "nobody may call this without a token" in nobody.err
    assert "this needs a token with the role operate" in eve.err
