"""Installs hostile plugins, and tries them in child processes that some of them bring down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from flowdapt_probe import trials, verdicts

from flowdapt.errors import ProviderNotFound
from flowdapt.plugins import Plugins, State
from tests.sites import GOOD, Site, only

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path / "site-packages")
    site.folder.mkdir()
    monkeypatch.syspath_prepend(str(site.folder))
    yield site
    site.forget()


def load(site: Site, **options: Any) -> Plugins:
    """Load the built-in plugins, and those of ``site``."""
    return site.load(metadata.distribution("flowdapt"), **options)


# Hostile plugins, all at once -----------------------------------------------------------------

HOSTILE = {
    "exits": ("import os; os._exit(3)", "exited with status 3 while importing"),
    "pretends": ("import os; os._exit(0)", "exited with status 0 while importing"),
    "exits_late": (
        "import os\n@hookimpl\ndef flowdapt_executors(): os._exit(4)",
        "exited with status 4 while importing",
    ),
    "crashes": ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV while importing"),
    "loops": ("while True: pass", "import took longer than 8 s"),
    "loops_in_c": ("sum(iter(int, 1))", "import took longer than 8 s"),
    "never_ends": (
        "from itertools import repeat\n@hookimpl\n"
        "def flowdapt_executors(): return repeat(Provider('x', 'x:X'))",
        "import took longer than 8 s",
    ),
    "hogs_memory": ("hog = bytearray(6 << 30)", "MemoryError while importing"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt while importing"),
    "raises": ("import no_such_library", "import failed: ModuleNotFoundError"),
    "leaves": ("import sys; sys.exit(3)", "import failed: SystemExit: 3"),
}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugins]:
    site = Site(tmp_path_factory.mktemp("crowd"))
    for name, (source, _) in HOSTILE.items():
        site.install(name, source)
    site.install("decent", GOOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site.folder))
        patch.setattr(trials, "SECONDS", 8)
        plugins = load(site)
    yield plugins
    site.forget()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_plugin_whose_import_is_fatal_is_quarantined_with_its_reason(
    name: str, crowd: Plugins
) -> None:
    _, reason = HOSTILE[name]

    (plugin,) = [plugin for plugin in crowd.list() if plugin.name == name]

    assert plugin.state is State.QUARANTINED
    assert reason in plugin.reason


def test_a_good_plugin_works_amid_fatal_ones(crowd: Plugins) -> None:
    states = {plugin.name: plugin.state for plugin in crowd.list() if not plugin.built_in}

    executor = crowd.resolve("executors", "decent")

    assert {name for name, state in states.items() if state is State.HEALTHY} == {"decent"}
    assert executor.__name__ == "Executor"


@pytest.mark.parametrize("name", ["crashes", "loops"])
def test_the_record_says_where_a_child_process_ended(name: str, crowd: Plugins) -> None:
    (plugin,) = [plugin for plugin in crowd.list() if plugin.name == name]

    assert f"{name}.py" in plugin.traceback


@pytest.mark.parametrize("entry", ["not a module", "missing:attribute"])
def test_an_entry_point_that_leads_nowhere_is_no_fault_of_the_child(
    entry: str, site: Site, tmp_path: Path
) -> None:
    site.install("present", "", entry=entry)

    plugin = only(load(site, cache_dir=tmp_path))

    assert plugin.state is State.QUARANTINED
    assert plugin.reason.startswith("import failed: ")


def test_where_no_child_process_can_start_a_plugin_is_quarantined_until_one_can(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("good", GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "no-such-python"))
        untried = only(load(site, cache_dir=tmp_path))

    tried = only(load(site, cache_dir=tmp_path))

    assert (untried.state, untried.reason) == (State.QUARANTINED, verdicts.UNTRIED)
    assert tried.state is State.HEALTHY


def test_somebody_at_a_terminal_is_told_what_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.install("good", GOOD)
    monkeypatch.setattr(verdicts, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    load(site)

    assert capsys.readouterr().err == "trying plugins that are new here: 1 to go\n"


# Left alone -----------------------------------------------------------------------------------


def test_a_plugin_that_is_left_alone_is_not_tried_either(site: Site) -> None:
    site.install("marked", MARKED)

    load(site, disabled=["marked"])
    load(site, safe_mode=True)

    assert probes(site) == 0


def test_a_plugin_for_another_flowdapt_is_never_tried(site: Site, tmp_path: Path) -> None:
    site.install("marked", MARKED, requires=("flowdapt<1",))

    states = [only(load(site, cache_dir=tmp_path)).state for _ in range(2)]

    assert states == [State.INCOMPATIBLE, State.INCOMPATIBLE]
    assert probes(site) == 0


def test_without_this_plugin_others_are_loaded_untried(site: Site) -> None:
    site.install("marked", MARKED)

    plugin = only(load(site, disabled=["flowdapt_probe"]))

    assert plugin.state is State.HEALTHY
    assert probes(site) == 0


def test_without_this_plugin_the_program_lists_plugins(site: Site, tmp_path: Path) -> None:
    site.install("failing", "import no_such_library")
    variables = {
        "FLOWDAPT__PLUGINS__DISABLED": '["flowdapt_probe"]',
        "FLOWDAPT__APP_DIR": str(tmp_path),
        "PYTHONPATH": str(site.folder),
    }

    done = subprocess.run(
        [sys.executable, "-m", "flowdapt", "plugins", "list", "-o", "json"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )

    states = {plugin["name"]: plugin["state"] for plugin in json.loads(done.stdout)}
    assert (states["flowdapt_probe"], states["failing"]) == ("disabled", "quarantined")


def test_the_error_for_what_a_disabled_plugin_once_offered_says_so(
    site: Site, tmp_path: Path
) -> None:
    site.install("good", GOOD)
    load(site, cache_dir=tmp_path)

    plugins = load(site, cache_dir=tmp_path, safe_mode=True)

    with pytest.raises(ProviderNotFound, match=r"plugin good, which is disabled: start without"):
        plugins.resolve("executors", "good")


# Verdicts are kept ----------------------------------------------------------------------------

MARKED = """
    import os, pathlib
    with open(pathlib.Path(__file__).with_name("imports"), "a") as imports:
        print(os.getpid(), file=imports)
    """


def probes(site: Site) -> int:
    """Count the imports in child processes so far."""
    imports = site.folder.parent.glob("*/imports")
    return sum(pid != str(os.getpid()) for path in imports for pid in path.read_text().split())


def test_a_plugin_is_tried_once_and_the_verdict_is_kept(site: Site, tmp_path: Path) -> None:
    site.install("marked", MARKED)

    states = [only(load(site, cache_dir=tmp_path / "cache")).state for _ in range(2)]

    assert states == [State.HEALTHY, State.HEALTHY]
    assert probes(site) == 1


def test_without_a_cache_a_plugin_is_tried_every_time(site: Site) -> None:
    site.install("marked", MARKED)

    [load(site) for _ in range(2)]

    assert probes(site) == 2


def test_a_plugin_that_was_installed_again_is_tried_again(site: Site, tmp_path: Path) -> None:
    about = site.install("marked", MARKED)
    load(site, cache_dir=tmp_path)
    os.utime(about / "RECORD", (1, 1))

    load(site, cache_dir=tmp_path)

    assert probes(site) == 2


def test_an_editable_plugin_is_tried_again_when_its_code_was_edited(
    site: Site, tmp_path: Path
) -> None:
    about = site.install("marked", MARKED)
    (about / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    load(site, cache_dir=tmp_path)
    os.utime(site.folder / "marked.py", (2**32, 2**32))

    load(site, cache_dir=tmp_path)

    assert probes(site) == 2


def test_a_fault_is_kept_until_something_is_installed_beside_it(site: Site, tmp_path: Path) -> None:
    site.install("marked", MARKED + "os._exit(3)\n")

    reasons = [only(load(site, cache_dir=tmp_path)).reason for _ in range(2)]
    tried = probes(site)
    os.utime(site.folder, (1, 1))
    load(site, cache_dir=tmp_path)

    assert reasons == ["exited with status 3 while importing"] * 2
    assert (tried, probes(site)) == (1, 2)


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"a": 3}', '{"a": {}}', '{"a": {"provides": 3}}']
)
def test_a_broken_file_of_verdicts_is_ignored_and_replaced(
    content: str, site: Site, tmp_path: Path
) -> None:
    site.install("good", GOOD)
    (tmp_path / "plugins.json").write_text(content)

    plugin = only(load(site, cache_dir=tmp_path))

    assert plugin.state is State.HEALTHY
    assert len(json.loads((tmp_path / "plugins.json").read_text())) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["plugins.json"]


def test_a_cache_that_cannot_be_written_harms_nobody(site: Site, tmp_path: Path) -> None:
    site.install("good", GOOD)
    (tmp_path / "cache").write_text("a file where the folder should be")

    assert only(load(site, cache_dir=tmp_path / "cache")).state is State.HEALTHY


def test_what_an_import_started_ends_with_it(site: Site) -> None:
    source = """
        import os, subprocess, sys
        subprocess.Popen([sys.executable, "-c", "while True: pass", __file__])
        os._exit(1)
        """
    site.install("starts", source)

    plugin = only(load(site))

    processes = psutil.process_iter(["cmdline"])
    started = [
        one for one in processes if str(site.folder / "starts.py") in (one.info["cmdline"] or ())
    ]
    _, alive = psutil.wait_procs(started, timeout=5)
    assert plugin.state is State.QUARANTINED
    assert not alive
