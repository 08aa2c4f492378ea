"""Installing plugins on one machine: what may be installed, what comes of it, and what is told."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flowdapt_installer.records import KEPT_BEFORE

from flowdapt import __version__
from flowdapt.client import Client, Refused
from flowdapt.errors import ResourceNotFound
from tests.plugins.cli.processes import Process, free_port
from tests.plugins.installer.campaign import campaign
from tests.plugins.installer.sites import Site, orchard, serving
from tests.wheelhouse import wheel

#: a project that builds itself, so that building needs no index
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "orchard"
version = "9.0"
"""
BACKEND = """
import pathlib, shutil
def build_wheel(folder, *_):
    (made,) = pathlib.Path(__file__).parent.glob("*.whl")
    return pathlib.Path(shutil.copy(made, folder)).name
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels that stands for an index."""
    return tmp_path_factory.mktemp("shelf")


def only_from(shelf: Path) -> dict[str, str]:
    """Return variables for a server that finds distributions on a shelf, and in no index."""
    settings = shelf / "settings.toml"  # uv would find a uv.toml in whatever folder is below
    settings.write_text("no-index = true\n")
    return {"UV_CONFIG_FILE": str(settings), "UV_FIND_LINKS": str(shelf)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Iterator[Site]:
    """A server that finds distributions on the shelf and nowhere else."""
    with serving(None, tmp_path_factory.mktemp("app"), environment=only_from(shelf)) as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_installed(site: Site) -> Iterator[None]:
    yield
    for one in site.client.plugins.sets():
        for namespace in one.namespaces:
            where = "" if namespace == "*" else namespace
            site.change("remove", *one.wanted, namespace=where)


def refused(site: Site, what: str, *names: str, **facts: Any) -> str:
    """Return why a change is refused, before it begins or at one of its steps."""
    try:
        ended = site.change(what, *names, **facts)
    except Refused as error:  # at once
        return str(error)
    assert ended.state == "failed"
    return ended.error


def names(site: Site) -> dict[str, str]:
    """Return the distributions of the set that is active, with their versions."""
    for one in site.client.plugins.sets():
        if "*" in one.namespaces:
            return {found.name: found.version for found in one.distributions}
    return {}


# What comes of it


def test_what_a_plugin_needs_comes_with_it_and_what_every_node_has_does_not(
    site: Site, shelf: Path
) -> None:
    wheel(shelf, "press", "1.5", entry=None)
    wheel(shelf, "cider", "1.0", requires=["press>=1", "pluggy>=1.5", "flowdapt>=1.0,<2"])

    site.install("cider")

    assert names(site) == {"cider": "1.0", "press": "1.5"}


def test_an_upgrade_takes_the_newest_and_leaves_the_others_alone(site: Site, shelf: Path) -> None:
    for version in ("1.0", "2.0"):
        wheel(shelf, "pear", version)
        wheel(shelf, "plum", version)
    site.install("pear>=1", "plum<2")

    site.install("pear==1.0")
    before = names(site)
    site.install("plum")
    also = names(site)
    site.change("upgrade", "pear>=1")
    after = names(site)

    assert before == {"pear": "1.0", "plum": "1.0"}
    assert also == {"pear": "1.0", "plum": "2.0"}
    assert after == {"pear": "2.0", "plum": "2.0"}


def test_runs_of_a_namespace_can_have_plugins_of_their_own(site: Site, tmp_path: Path) -> None:
    site.install(orchard(tmp_path, "1.0"))
    site.install(orchard(tmp_path, "2.0"), namespace="trial")

    everywhere, _ = site.versions(2)
    there, _ = site.versions(2, namespace="trial")

    assert (everywhere, there) == ({"1.0"}, {"2.0"})


def test_plugins_are_removed_with_what_only_they_needed(site: Site, shelf: Path) -> None:
    wheel(shelf, "press", "1.5", entry=None)
    wheel(shelf, "cider", "1.0", requires=["press"])
    wheel(shelf, "juice", "1.0")
    site.install("cider", "juice")

    site.change("remove", "cider")

    assert names(site) == {"juice": "1.0"}


def test_a_rollback_goes_back_step_by_step_or_to_a_certain_set(site: Site, tmp_path: Path) -> None:
    ids = [site.install(orchard(tmp_path, version)).active for version in ("1.0", "2.0", "3.0")]

    back = [site.change("rollback").active, site.change("rollback").active]
    forth = site.change("rollback", ids[2][:10]).active

    assert back == [ids[1], ids[0]]
    assert forth == ids[2]


def test_what_no_rollback_can_reach_is_removed(tmp_path: Path) -> None:
    with serving(None, tmp_path / "app") as site:
        ids = [site.install(orchard(tmp_path, f"{n}.0")).active for n in range(KEPT_BEFORE + 2)]
        known = {one.id for one in site.client.plugins.sets()}
        for _ in range(KEPT_BEFORE):
            last = site.change("rollback").active
        folders = {place.name for place in (tmp_path / "app" / "plugins" / "sets").iterdir()}

    assert known == {*ids[1:]}
    assert last == ids[1]
    assert ids[0] not in folders


def test_what_plugins_bring_is_applied_where_that_is_asked_for(site: Site, tmp_path: Path) -> None:
    stage = {"name": "tell", "target": "meadow.stages.version"}
    workflow = {"kind": "workflow", "metadata": {"name": "mow"}, "spec": {"stages": [stage]}}
    files = {
        "meadow/__init__.py": "",
        "meadow/stages.py": "def version(): return 'hay'\n",
        "meadow/mow.yaml": yaml.safe_dump(workflow),
        "meadow/other.yaml": "of: something else\n",
        "meadow/wrong.yaml": "kind: workflow\nmetadata: {name: wrong}\nspec: {stages: 7}\n",
    }

    ended = site.install(wheel(tmp_path, "meadow", "1.0", files), apply=True)

    assert site.client.runs.run("mow").value() == "hay"
    assert "workflow mow created" in ended.notes
    assert any("wrong" in note and note.startswith("not applied") for note in ended.notes)


def test_a_dry_run_says_what_would_change_and_changes_nothing(site: Site, shelf: Path) -> None:
    wheel(shelf, "press", "1.5", entry=None)
    wheel(shelf, "cider", "1.0", requires=["press"])

    ended = site.install("cider", dry_run=True)

    assert ended.added == {"cider": "1.0", "press": "1.5"}
    assert names(site) == {}


def test_what_is_active_is_found_by_the_next_server(tmp_path: Path) -> None:
    with serving(None, tmp_path / "app") as site:
        site.install(orchard(tmp_path, "1.0"))

    with serving(None, tmp_path / "app") as site:
        met, _ = site.versions(2)
        (plugin,) = [p for p in _listed(site) if p["name"] == "orchard"]

    assert met == {"1.0"}
    assert plugin["state"] == "healthy"


def _listed(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.client.request("GET", "/plugin/", kind="plugin")
    return found


def test_published_clients_are_told_of_a_plugin_at_once(site: Site, tmp_path: Path) -> None:
    versions = []
    for version in ("1.0", "2.0"):
        site.install(orchard(tmp_path, version))
        answer = site.client.request("GET", "/plugin/orchard", kind="plugin")
        versions.append(answer["metadata"]["version"])
    files = site.client.request("GET", "/plugin/orchard/files", kind="plugin.files")

    site.change("remove", "orchard")

    assert versions == ["1.0", "2.0"]
    assert files == {"files": []}
    assert "orchard" not in [plugin["name"] for plugin in _listed(site)]


# Where it comes from


def test_a_project_in_a_git_repository_is_built_and_installed(site: Site, tmp_path: Path) -> None:
    project = tmp_path / "repository" / "here"
    orchard(project, "9.0")
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "backend.py").write_text(BACKEND)
    git = ["git", "-C", str(tmp_path / "repository"), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"], ["tag", "v9"]):
        subprocess.run([*git, *command], check=True)

    site.install(f"git+file://{tmp_path}/repository@v9#subdirectory=here")

    assert names(site) == {"orchard": "9.0"}


def test_a_package_that_is_no_plugin_can_be_installed_and_that_is_told(
    site: Site, tmp_path: Path
) -> None:
    ended = site.install(wheel(tmp_path, "shears", "1.0", entry=None))

    assert [note for note in ended.notes if "no plugin, as it has no entry point" in note]


# What is refused, and leaves everything as it was


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("nowhere-to-be-found", "nowhere-to-be-found was not found in the provided"),
        ("needs-old-pluggy", r"depend.* on pluggy<1 .* Every node has pluggy [\d.]+, which a plug"),
        ("needs-old-flowdapt", f"flowdapt<1 .* Every node has flowdapt {__version__}"),
        ("pluggy<1", "Every node has pluggy"),
        ("for-another", "for-another.* no wheels with a matching"),
        ("flowdapt", "flowdapt itself is installed on each machine"),
        ("not a requirement!", "is no requirement .* give one such as name>=1.0"),
        ("wheel:0000", "no wheel has the hash '0000': send it first"),
        ("git+nonsense", "git failed: "),
        ("pear==1.0 --hash=sha256:00", r"pear-1.0-.* has the hash .*, and not 00"),
        ("pear==1.0 --hash=md5:00", "must begin with sha256:"),
    ],
)
def test_what_cannot_be_installed_is_refused_with_the_reason(
    site: Site, shelf: Path, wanted: str, said: str
) -> None:
    wheel(shelf, "needs-old-pluggy", "1.0", requires=["pluggy<1"])
    wheel(shelf, "needs-old-flowdapt", "1.0", requires=["flowdapt<1"])
    wheel(shelf, "for-another", "1.0", tag="cp39-cp39-win_amd64")
    wheel(shelf, "pear", "1.0")
    before = site.client.plugins.sets()

    error = refused(site, "install", wanted)

    assert re.search(said, error), error
    assert site.client.plugins.sets() == before


def test_a_wheel_that_is_cut_off_or_of_another_kind_is_refused(site: Site, tmp_path: Path) -> None:
    whole = orchard(tmp_path, "1.0")
    cut = tmp_path / "cut" / whole.name
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[:-200])

    ended = site.change("install", cut)

    assert "is no whole wheel" in ended.error or "Failed to read" in ended.error
    with pytest.raises(Refused, match=r"'orchard.txt' is no name of a wheel"):
        site.client.plugins.send("orchard.txt", b"")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"orchard/__init__.py": "1 / 0\n"}, "cannot be imported: ZeroDivisionError"),
        ({"orchard/__init__.py": "import sys; sys.exit('no')\n"}, "SystemExit: no"),
        ({"orchard/__init__.py": "import os; os._exit(3)\n"}, "ended with 3"),
        ({"../outside.py": "", "orchard/__init__.py": ""}, "outside of its folder"),
    ],
)
def test_a_plugin_that_no_node_could_use_is_refused(
    site: Site, tmp_path: Path, files: dict[str, str], said: str
) -> None:
    ended = site.change("install", wheel(tmp_path, "orchard", "1.0", files))

    assert (ended.state, ended.step) == ("failed", "prepare")
    assert said in ended.error
    assert names(site) == {}


def test_only_one_change_is_made_at_a_time(site: Site, tmp_path: Path) -> None:
    slow = "import time; time.sleep(1)\n"
    file = orchard(tmp_path, "1.0", slow)
    sent = site.client.plugins.send(file.name, file.read_bytes())
    begun = site.client.plugins.begin("install", [sent])

    with pytest.raises(Refused, match=r"install orchard-1.0-.*whl is under way") as refused:
        site.client.plugins.begin("install", ["pear"])

    *_, ended = site.client.plugins.follow(begun.id)
    assert refused.value.status == 409
    assert ended.state == "done"


def test_a_wheel_brings_nothing_that_every_node_has(site: Site, tmp_path: Path) -> None:
    for module in ("flowdapt/__init__.py", "pydantic/main.py", "colorsys.py"):
        made = wheel(tmp_path, "orchard", "1.0", {"orchard/__init__.py": "", module: "1 / 0\n"})

        ended = site.change("install", made)

        assert f"would replace {module}, which every node has already" in ended.error


def test_what_an_older_set_had_does_not_hide_that_something_is_missing(
    tmp_path: Path, shelf: Path
) -> None:
    wheel(shelf, "press", "1.5", entry=None)
    needs = {"cider/__init__.py": "import press.stages\n"}
    first = wheel(tmp_path / "1", "cider", "1.0", needs, requires=["press"])
    second = wheel(tmp_path / "2", "cider", "2.0", needs)
    port = f"rpc.api.port={free_port()}"
    with serving(None, tmp_path / "app", port, environment=only_from(shelf)) as site:
        site.install(first, restart=True)
        site.process.line("serves at")

        ended = site.change("install", second)

    assert "cider cannot be imported: ModuleNotFoundError: No module named 'press'" in ended.error


def test_what_was_meddled_with_is_made_anew_by_the_same_install(
    tmp_path: Path,
) -> None:
    with serving(None, tmp_path / "app") as site:
        made = orchard(tmp_path, "1.0")
        active = site.install(made).active
        place = tmp_path / "app" / "plugins" / "sets" / active / "orchard" / "late.py"
        place.write_text("VERSION = 'of somebody else'\n")
        found = [one.problem for one in site.client.plugins.nodes()]

        site.install(made)

        assert found == ["orchard/late.py is not what its wheel brought"]
        assert [one.problem for one in site.client.plugins.nodes()] == [""]


def test_what_others_may_read_has_no_passwords(site: Site) -> None:
    source = "git+file://gardener:sekret@127.0.0.1/nowhere"

    site.change("install", source)

    told = str(site.client.request("GET", "/plugin_changes", kind="plugin_set"))
    assert "sekret" not in told.replace(site.client.plugins.changes()[-1].error, "")
    assert "git+file://127.0.0.1/nowhere" in told


def test_other_plugins_stay_as_they_are_where_one_has_to_move(site: Site, shelf: Path) -> None:
    for version in ("1.0", "2.0"):
        for name in ("pear", "plum", "press"):
            wheel(shelf, name, version)
    wheel(shelf, "zed", "1.0", requires=["press>=2"])
    site.install("pear<2", "plum<2", "press<2")
    site.install("pear", "plum>=1", "press")

    site.install("pear<2", "plum<2", "press==1.0")
    site.install("plum>=1", "press>=1")
    site.install("pear==1.0", "press==1.0", "plum==1.0")
    site.install("press>=1")
    before = names(site)
    site.install("zed")

    assert before["pear"] == before["plum"] == "1.0"
    assert names(site) == {"pear": "1.0", "plum": "1.0", "press": "2.0", "zed": "1.0"}


@pytest.mark.parametrize(
    ("what", "name", "said"),
    [
        ("upgrade", "plum", "no plugin 'plum' was installed by name"),
        ("remove", "plum", "no plugin 'plum' was installed by name"),
        ("rollback", "ffff", "no plugin set named 'ffff'"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_begins(
    site: Site, what: str, name: str, said: str
) -> None:
    count = len(site.client.plugins.changes())

    with pytest.raises((Refused, ResourceNotFound), match=said):
        site.change(what, name)

    assert len(site.client.plugins.changes()) == count


def test_threads_of_a_server_never_mix_two_versions_in_one_stage(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with serving(None, tmp_path / "app", "services.compute.executor.target=threads") as site:
        site.install(orchard(tmp_path, "1.0"))
        begun = site.client.runs.start("versions", {"items": [str(gate)]})
        while not gate.with_name("gate.begun").exists():
            site.client.status()
        site.install(orchard(tmp_path, "2.0"))
        after = site.client.runs.start("versions", {"items": [1]})
        gate.touch()

        first, then = site.client.runs.wait(begun), site.client.runs.wait(after)

    assert first.value() == ["1.0"]
    assert [version for version, _ in then.value()] == ["2.0"]


def test_a_command_of_a_plugin_is_there_at_once(tmp_path: Path) -> None:
    files = {
        "bakery/__init__.py": """
            from flowdapt.hooks import Provider, hookimpl

            @hookimpl
            def flowdapt_commands():
                return [Provider("bake", "bakery.commands:bake", "Bakes.")]
            """,
        "bakery/commands.py": "def bake() -> None:\n    print('warm bread')\n",
    }
    app_dir = tmp_path / "app"
    made = wheel(tmp_path, "bakery", "1.0", files)
    installing = Process("-d", app_dir, "plugins", "install", made)
    installing.line("is active for new runs")
    installing.kill()

    baking = Process("-d", app_dir, "bake")

    assert baking.line("bread") == "warm bread"
    baking.kill()


# What the settings allow


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["policy=hashed"], "'pear' has no hash"),
        (["policy=allowlist", "allow=plum,press"], "pear is not among"),
    ],
)
def test_policies_say_what_may_be_installed(
    tmp_path: Path, shelf: Path, settings: list[str], said: str
) -> None:
    wheel(shelf, "pear", "1.0")
    wheel(shelf, "press", "1.5", entry=None)
    plum = wheel(shelf, "plum", "1.0", requires=["press"])
    given = [f"services.plugin_sets.{setting}" for setting in settings]

    with serving(None, tmp_path / "app", *given, environment=only_from(shelf)) as site:
        error = refused(site, "install", "pear")
        allowed = site.change("install", plum)

    assert said in error
    assert allowed.state == "done"


def test_only_administrators_change_plugins_and_that_is_on_record(tmp_path: Path) -> None:
    app_dir = tmp_path / "app"
    tokens = {}
    for role in ("read", "operate", "admin"):
        made = Process("-d", app_dir, "tokens", "create", role, "--role", role)
        tokens[role] = made.line("fd_")
        made.kill()
    with serving(None, app_dir, "rpc.api.require_token=true", token=tokens["admin"]) as site:
        for role in ("read", "operate"):
            with Client(site.client.address, token=tokens[role]) as client:
                with pytest.raises(Refused) as refused:
                    client.plugins.begin("install", ["pear"])
                assert refused.value.status == 403
                assert client.plugins.sets() == []

        change = site.change("install", "nowhere-to-be-found", dry_run=True)
        entries = [entry.operation for entry in site.client.audit.list(actor="admin")]

    assert (change.by, change.state) == ("admin", "failed")
    assert "change_plugins" in entries


# With the server itself


def test_a_plugin_that_brings_a_part_of_the_server_is_there_after_a_restart(
    tmp_path: Path,
) -> None:
    files = {
        "bakery/__init__.py": """
            from flowdapt.hooks import Provider, hookimpl

            @hookimpl(optionalhook=True)
            def flowdapt_routes():
                return [Provider("bakery", "bakery.routes:routes")]
            """,
        "bakery/routes.py": """
            from starlette.responses import JSONResponse
            from starlette.routing import Route

            async def bread(request):
                return JSONResponse({"bread": "warm"})

            def routes(server):
                return [Route("/bread", bread)]
            """,
    }
    port = f"rpc.api.port={free_port()}"
    with serving(None, tmp_path / "app", port) as site:
        ended = site.install(wheel(tmp_path, "bakery", "1.0", files), restart=True)
        site.process.line("serves at")

        answer = site.client.request("GET", "/bread")
        history = site.client.plugins.changes()

    assert answer == {"bread": "warm"}
    assert any("has hooks, which a server calls once it is restarted" in n for n in ended.notes)
    assert [change.state for change in history] == ["done"]


def test_what_a_killed_server_was_at_is_told_by_the_next_change(tmp_path: Path) -> None:
    slow = orchard(tmp_path, "1.0", "import time; time.sleep(30)\n")
    with serving(None, tmp_path / "app") as site:
        sent = site.client.plugins.send(slow.name, slow.read_bytes())
        begun = site.client.plugins.begin("install", [sent])
        for change in site.client.plugins.follow(begun.id):
            if change.step == "prepare":
                break
        site.process.signal(signal.SIGKILL)

    with serving(None, tmp_path / "app") as site:
        ended = site.install(orchard(tmp_path, "2.0"))
        before, _ = site.client.plugins.changes()
        met, _ = site.versions(2)

    assert (before.state, before.step) == ("interrupted", "prepare")
    assert "install orchard-1.0-py3-none-any.whl was interrupted at prepare" in ended.notes[0]
    assert met == {"2.0"}


def test_faults_at_random_steps_leave_no_mixed_cluster(tmp_path: Path) -> None:
    made = campaign(tmp_path, times=6, seed=3)

    assert made.wrong == []


def test_a_service_that_cannot_be_made_is_left_out_after_a_restart(tmp_path: Path) -> None:
    files = {
        "bakery/__init__.py": """
            from flowdapt.hooks import Provider, hookimpl

            @hookimpl
            def flowdapt_services():
                return [Provider("oven", "bakery.oven:Oven", "Lacks a method.")]
            """,
        "bakery/oven.py": """
            from flowdapt.services import Service

            class Oven(Service):
                async def start(self):
                    pass
            """,
    }
    port = f"rpc.api.port={free_port()}"
    with serving(None, tmp_path / "app", port) as site:
        site.install(wheel(tmp_path, "bakery", "1.0", files), restart=True)

        said = site.process.line("plugin bakery keeps the server from starting")
        site.process.line("serves at")

        assert said
        assert site.client.status()
