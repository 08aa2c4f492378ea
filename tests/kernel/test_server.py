"""A server put together from settings and plugins: all of it up, or nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowdapt.errors import ProviderNotFound, ServerError, SettingsError
from flowdapt.plugins import Plugins
from flowdapt.resources import Workflow
from flowdapt.server import Server, kinds
from flowdapt.settings import Settings
from flowdapt.snapshots import Root
from tests.sites import Site

pytestmark = pytest.mark.anyio

PLUGIN = """
from flowdapt_workers.inline import InlineExecutor
from flowdapt_embedded.memory import MemoryStorage
from flowdapt.services import Service

steps, heard = [], []


@hookimpl
def flowdapt_storages():
    return [Provider("attic", "small:Attic")]


@hookimpl
def flowdapt_executors():
    return [
        Provider("inline", "small:Inline"),
        Provider("never_up", "small:NeverUp"),
    ]


@hookimpl
def flowdapt_services():
    names = {"beta": "Second", "gamma": "First", "alpha": "Second", "weak": "Weak"}
    return [Provider(name, f"small:{kind}") for name, kind in names.items()]


@hookimpl
def flowdapt_stages():
    return [Provider("simple", "flowdapt_workers.targets:Simple")]

@hookimpl
def flowdapt_event(event):
    heard.append(event.type)


class Attic(MemoryStorage):
    async def start(self):
        steps.append("storage up")

    async def stop(self):
        steps.append("storage down")


class Inline(InlineExecutor):
    async def start(self, host):
        await super().start(host)
        steps.append("executor up")

    async def stop(self):
        await super().stop()
        steps.append("executor down")


class NeverUp(Inline):
    async def start(self, host):
        raise OSError("no workers to be had")


class Plain(Service):
    async def start(self):
        self.name = next(n for n, s in self.server.services.items() if s is self)
        self.lock = (self.server.settings.app_dir / "server.lock").read_text()
        self.server.addresses[self.name] = f"http://{self.name}:1"
        steps.append(f"{self.name} up")

    async def stop(self):
        steps.append(f"{self.name} down")


class First(Plain):
    order = 10


class Second(Plain):
    order = 20


class Weak(Plain):
    order = 15

    async def start(self):
        raise OSError("the port is taken")
"""

BROKEN = """
@hookimpl
def flowdapt_services():
    return [Provider("lame", "broken:Missing")]

@hookimpl
def flowdapt_kinds():
    return [Provider("gizmo", "no_such_module:Gizmo")]

@hookimpl
def flowdapt_stages():
    return [Provider("odd", "broken:Odd")]
"""

STRONG = frozenset({"alpha", "beta", "gamma"})

Serve = Callable[..., Server]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder with a plugin that brings all that a small server needs."""
    site = Site(tmp_path / "site-packages")
    site.folder.mkdir()
    monkeypatch.syspath_prepend(str(site.folder))
    site.install("small", PLUGIN)
    yield site
    site.forget()


@pytest.fixture
def app_dir(tmp_path: Path) -> Path:
    """An application directory."""
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


@pytest.fixture
def plugins(site: Site) -> Plugins:
    """The small plugin, and none that comes with flowdapt."""
    return site.load()


def settings(app_dir: Path, executor: Any = "inline", **sections: Any) -> Settings:
    """Return settings that need the small plugin only."""
    compute = {"executor": executor, **sections.pop("compute", {})}
    services = {"compute": compute, "weak": "disabled", **sections.pop("services", {})}
    services = {k: {"enabled": False} if v == "disabled" else v for k, v in services.items()}
    data = {"app_dir": app_dir, "database": "attic", "services": services, **sections}
    return Settings.model_validate(data)


@pytest.fixture
def serve(plugins: Plugins, app_dir: Path) -> Serve:
    """Make servers over one application directory."""

    def serve(*, only: frozenset[str] | None = None, roots: Any = (), **sections: Any) -> Server:
        return Server(settings(app_dir, **sections), plugins, only=only, roots=roots)

    return serve


def steps() -> list[str]:
    """Return what the parts of the small plugin did, in order."""
    noted: list[str] = sys.modules["small"].steps
    return noted


def a_workflow(target: str) -> dict[str, Any]:
    """Return a workflow of one stage."""
    stages = [{"name": "only", "target": target}]
    return {"metadata": {"name": "farm"}, "spec": {"stages": stages}}


# Up and down


async def test_parts_start_from_the_ground_up_and_stop_in_reverse(serve: Serve) -> None:
    async with serve() as server:
        assert not server.stopping.is_set()
        steps().append("serve")

    assert server.stopping.is_set()
    assert steps() == [
        *("storage up", "executor up", "gamma up", "alpha up", "beta up"),
        "serve",
        *("beta down", "alpha down", "gamma down", "executor down", "storage down"),
    ]


async def test_a_service_that_fails_to_start_takes_all_down_and_lets_go(serve: Serve) -> None:
    with pytest.raises(OSError, match="the port is taken"):
        async with serve(services={"weak": {}}):
            raise AssertionError("is not reached")

    assert steps() == [
        *("storage up", "executor up", "gamma up"),
        *("gamma down", "executor down", "storage down"),
    ]
    async with serve():
        pass


async def test_an_executor_that_fails_to_start_is_told_to_stop(serve: Serve) -> None:
    with pytest.raises(OSError, match="no workers to be had"):
        async with serve(executor="never_up"):
            raise AssertionError("is not reached")

    assert steps() == ["storage up", "executor down", "storage down"]


async def test_runs_in_progress_are_cancelled_and_plugins_are_told_of_it(serve: Serve) -> None:
    reached = asyncio.Event()

    async def stage() -> None:
        reached.set()
        await asyncio.Event().wait()

    async with serve() as server:
        data = a_workflow("farm.work")
        data["spec"]["stages"][0]["target"] = stage
        await server.engine.begin(Workflow.parse(data, where="test"))
        await reached.wait()

    heard = sys.modules["small"].heard
    assert heard[0] == "com.event.workflow.workflow_started"
    assert heard[-1] == "com.event.workflow.workflow_finished"


async def test_a_run_is_computed_from_the_user_modules_of_the_application(
    serve: Serve, app_dir: Path
) -> None:
    async with serve() as server:
        (app_dir / "user_modules" / "barn.py").write_text("def load(): return [1, 2]")
        await server.engine.create(Workflow, a_workflow("user_modules.barn.load"))
        run = await server.engine.submit("farm")
        ended = await server.engine.wait(run.uid)

    assert (ended.run.failure, ended.result) == (None, b"[1,2]")


async def test_further_folders_with_user_modules_may_be_named(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "shed_of_server.py").write_text("def load(): return 5")

    async with serve(roots=(Root(tmp_path),)) as server:
        await server.engine.create(Workflow, a_workflow("shed_of_server.load"))
        run = await server.engine.submit("farm")
        ended = await server.engine.wait(run.uid)

    assert (ended.run.failure, ended.result) == (None, b"5")


# Which services


async def test_only_the_services_that_are_asked_for_are_started(serve: Serve) -> None:
    async with serve(only=frozenset({"beta"})) as server:
        assert set(server.services) == {"beta"}


async def test_services_that_are_disabled_are_not_started(serve: Serve) -> None:
    async with serve(services={"alpha": "disabled"}) as server:
        assert set(server.services) == {"beta", "gamma"}


async def test_a_service_that_nobody_offers_is_refused_with_those_there_are(serve: Serve) -> None:
    with pytest.raises(ProviderNotFound, match=r"no service named 'alfa' \(did you mean 'alpha'"):
        async with serve(only=frozenset({"alfa", "beta"})):
            raise AssertionError("is not reached")

    assert steps()[-1] == "storage down"


async def test_a_service_is_made_with_its_own_section_of_the_settings(serve: Serve) -> None:
    async with serve(services={"alpha": {"colour": "red"}}) as server:
        assert server.services["alpha"].options == {"colour": "red"}


async def test_parts_of_plugins_that_cannot_be_imported_are_left_out(
    site: Site, app_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("broken", BROKEN)

    async with Server(settings(app_dir), site.load()) as server:
        assert set(server.services) == STRONG
        assert set(server.engine.kinds) == {"workflow", "config"}
        assert set(server.engine.types) == {"simple"}

    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "kind 'gizmo' is left out",
        "stage type 'odd' is left out",
        "service 'lame' is left out",
    ]


KEEPER = """
@hookimpl
def flowdapt_secrets():
    return [Provider("{name}", "{name}:Keeper")]

class Keeper:
    def __init__(self, storage, app_dir):
        self.given = storage, app_dir

    async def seal(self, config):
        ...
"""


async def test_of_the_keepers_of_secrets_the_last_is_taken(site: Site, app_dir: Path) -> None:
    site.install("keeper_a", KEEPER)
    site.install("keeper_b", KEEPER)

    async with Server(settings(app_dir), site.load()) as server:
        keeper: Any = getattr(server.engine.seal, "__self__", None)

        assert type(keeper).__module__ == "keeper_b"
        assert keeper.given == (server.storage, app_dir)


def test_kinds_of_plugins_join_those_of_the_kernel(site: Site) -> None:
    site.install(
        "gardens",
        """
        from flowdapt.resources import Resource

        @hookimpl
        def flowdapt_kinds():
            return [Provider("garden", "gardens:Garden")]

        class Garden(Resource):
            kind: str = "garden"
        """,
    )

    assert list(kinds(site.load())) == ["workflow", "config", "garden"]


# Settings that cannot be used


async def test_an_option_that_the_executor_does_not_take_is_named(serve: Serve) -> None:
    with pytest.raises(SettingsError) as caught:
        async with serve(executor={"target": "inline", "thraeds": 2}):
            raise AssertionError("is not reached")

    assert str(caught.value) == (
        "the settings of executors 'inline': got an unexpected keyword argument 'thraeds'"
    )


async def test_options_beside_the_target_reach_the_executor(serve: Serve) -> None:
    async with serve(executor={"target": "inline", "threads": 2}) as server:
        assert server.executor.describe()["cpus"] == 2


async def test_an_executor_that_nobody_offers_is_refused_with_the_nearest(serve: Serve) -> None:
    with pytest.raises(ProviderNotFound, match=r"no executor named 'inlin' \(did you mean 'inline"):
        async with serve(executor="inlin"):
            raise AssertionError("is not reached")


# The application directory


async def test_user_modules_are_made_and_what_is_in_them_stays(serve: Serve, app_dir: Path) -> None:
    async with serve():
        init = app_dir / "user_modules" / "__init__.py"
        assert init.read_text() == ""
        init.write_text("x = 1")

    async with serve():
        assert init.read_text() == "x = 1"


async def test_a_second_server_is_refused_and_told_of_the_first(
    serve: Serve, app_dir: Path
) -> None:
    async with serve(only=frozenset({"alpha"})):
        with pytest.raises(ServerError) as caught:
            async with serve():
                raise AssertionError("is not reached")

    assert str(caught.value) == (
        f"the application directory {app_dir} belongs to a running server "
        f"(process {os.getpid()} at http://alpha:1); "
        "stop it, or choose another directory with --app-dir"
    )


async def test_nobody_else_reads_how_to_reach_the_artifacts(serve: Serve, app_dir: Path) -> None:
    async with serve():
        assert (app_dir / "server.lock").stat().st_mode & 0o777 == 0o600


async def test_a_server_that_is_only_starting_is_told_from_the_one_before_it(
    serve: Serve, app_dir: Path
) -> None:
    lock = {"pid": 1, "addresses": {"rest": "http://long-gone:1"}}
    (app_dir / "server.lock").write_text(json.dumps(lock))

    async with serve(only=frozenset({"alpha"})) as server:
        alpha: Any = server.services["alpha"]

    assert json.loads(alpha.lock) == {"pid": os.getpid(), "addresses": {}}


async def test_a_server_that_was_killed_holds_nothing(serve: Serve, app_dir: Path) -> None:
    code = (
        "import fcntl, sys, time\n"
        f"lock = open({str(app_dir / 'server.lock')!r}, 'a+')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "lock.write('no json'), lock.flush(), print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE)
    assert other.stdout is not None
    await other.stdout.readline()
    with pytest.raises(ServerError, match=r"belongs to a running server \(another process\)"):
        async with serve():
            raise AssertionError("is not reached")

    other.kill()
    await other.wait()

    async with serve():
        pass


async def test_a_directory_that_cannot_be_written_to_is_named_with_what_to_do(
    plugins: Plugins, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    app_dir = tmp_path / "file" / "app"

    with pytest.raises(ServerError) as caught:
        async with Server(settings(app_dir), plugins):
            raise AssertionError("is not reached")

    assert str(caught.value) == (
        f"the application directory {app_dir} cannot be written to (Not a directory); "
        "choose another with --app-dir or FLOWDAPT__APP_DIR"
    )
