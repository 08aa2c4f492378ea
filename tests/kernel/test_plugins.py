"""Installs small plugins on disk, good and hostile ones, and looks at what becomes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from flowdapt import plugins as kernel
from flowdapt.errors import ProviderFailed, ProviderNotFound
from flowdapt.events import Event
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


# Hostile plugins, all at once -----------------------------------------------------------------

HOSTILE = {
    "import_error": ("import no_such_library", "No module named 'no_such_library'"),
    "syntax_error": ("def (", "import failed: SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "import failed: SystemExit: 3"),
    "stops_generators": ("raise GeneratorExit", "import failed: GeneratorExit"),
    "has_no_words": (
        """
        class Mute(Exception):
            def __str__(self):
                raise ValueError
        raise Mute
        """,
        "import failed: Mute",
    ),
    "takes_too_much": (
        "@hookimpl\ndef flowdapt_executors(settings): return []",
        "its hooks are refused: PluginValidationError",
    ),
    "misspells": (
        "@hookimpl\ndef flowdapt_executers(): return []",
        "no hook is named 'flowdapt_executers' (did you mean 'flowdapt_executors'",
    ),
    "raises": (
        "@hookimpl\ndef flowdapt_executors(): raise OSError('gone')",
        "its hooks are refused: OSError: gone",
    ),
    "returns_a_number": (
        "@hookimpl\ndef flowdapt_executors(): return 42",
        "flowdapt_executors returned 42, not providers",
    ),
    "returns_text": (
        "@hookimpl\ndef flowdapt_executors(): return 'ray'",
        "flowdapt_executors returned 'r', not providers",
    ),
    "returns_nothing": (
        "@hookimpl\ndef flowdapt_executors(): pass",
        "flowdapt_executors returned None, not providers",
    ),
    "returns_a_subclass": (
        """
        class Moody(Provider):
            def __hash__(self): raise OSError
        @hookimpl
        def flowdapt_executors(): return [Moody("x", "x:X")]
        """,
        "not providers",
    ),
    "returns_an_object": (
        "@hookimpl\ndef flowdapt_executors(): return [Provider('x', print)]",
        "a target is 'package.module:attribute'",
    ),
    "awaits": (
        "@hookimpl\nasync def flowdapt_event(event): pass",
        "flowdapt_event is asynchronous",
    ),
    "wraps": (
        "@hookimpl(wrapper=True)\ndef flowdapt_executors(): return (yield)",
        "flowdapt_executors returned None, not providers",
    ),
    "zz_copies": (
        GOOD.replace('"{name}",', '"decent",'),
        "executor 'decent' is offered by decent and zz_copies",
    ),
}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugins]:
    site = Site(tmp_path_factory.mktemp("crowd"))
    for name, (source, _) in HOSTILE.items():
        site.install(name, source)
    site.install("decent", GOOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site.folder))
        plugins = site.load()
    yield plugins
    site.forget()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_plugin_is_quarantined_with_its_reason(name: str, crowd: Plugins) -> None:
    _, reason = HOSTILE[name]

    (plugin,) = [plugin for plugin in crowd.list() if plugin.name == name]

    assert plugin.state is State.QUARANTINED
    assert reason in plugin.reason
    assert len(plugin.reason.splitlines()) == 1


def test_a_good_plugin_works_amid_hostile_ones(crowd: Plugins) -> None:
    healthy = [plugin.name for plugin in crowd.list() if plugin.state is State.HEALTHY]

    executor = crowd.resolve("executors", "decent")

    assert healthy == ["decent"]
    assert executor.__name__ == "Executor"
    assert list(crowd.providers("executors")) == ["decent"]


def test_a_refused_plugin_has_no_hook_left_that_could_be_called(crowd: Plugins) -> None:
    refused = [plugin for plugin in crowd.list() if plugin.state is not State.HEALTHY]

    hooks = vars(crowd._manager.hook).values()
    callers = {
        implementation.plugin_name for hook in hooks for implementation in hook.get_hookimpls()
    }

    assert refused
    assert callers == {"decent"}


@pytest.mark.parametrize("name", ["exits", "import_error", "raises"])
def test_the_record_says_where_a_plugin_failed(name: str, crowd: Plugins) -> None:
    (plugin,) = [plugin for plugin in crowd.list() if plugin.name == name]

    assert f"{name}.py" in plugin.traceback


# The ladder -----------------------------------------------------------------------------------


def test_a_plugin_is_named_like_its_distribution(site: Site) -> None:
    site.install("orchard_plugin", GOOD, distribution="Orchard.Tools", version="2.1.0")

    plugin = only(site.load())

    assert plugin.to_dict() == {
        "name": "Orchard.Tools",
        "version": "2.1.0",
        "state": "healthy",
        "reason": "",
        "provides": ["executors:orchard_plugin"],
    }
    assert plugin.entry.module == "orchard_plugin"


def test_installed_plugins_are_found_beside_the_built_in_ones(site: Site) -> None:
    site.install("beside", GOOD)

    names = [plugin.name for plugin in Plugins.load().list()]

    assert names[-1] == "beside"
    assert "flowdapt_local" in names[:-1]


def test_nobody_takes_the_name_of_a_built_in_plugin(site: Site) -> None:
    site.install("hijacker", GOOD, distribution="flowdapt_local")

    plugins = Plugins.load()

    (stranger,) = [plugin for plugin in plugins.list() if not plugin.built_in]
    assert stranger.name == "flowdapt_local:hijacker"
    assert plugins.loaded("flowdapt_local").__name__ == "flowdapt_local"


def test_a_package_without_hooks_is_a_healthy_plugin(site: Site) -> None:
    site.install("plain", "def stage(): return 1")

    plugins = site.load()

    assert only(plugins).state is State.HEALTHY
    assert plugins.loaded("plain").stage() == 1


def test_an_entry_point_may_lead_to_an_object_within_a_module(site: Site) -> None:
    source = """
        class Hooks:
            @hookimpl
            def flowdapt_storages(self):
                return iter([Provider("inside", "{name}:Hooks")])
        hooks = Hooks()
        """
    site.install("inside", source, entry="inside:hooks")

    assert [*site.load().providers("storages")] == ["inside"]


def test_a_second_plugin_of_a_distribution_is_named_after_both(site: Site) -> None:
    about = site.install("first", GOOD)
    site.install("second", GOOD, distribution="other")
    (about / "entry_points.txt").write_text(f"[{kernel.GROUP}]\nfirst=first\nsecond=second\n")

    names = [plugin.name for plugin in site.load(disabled=["other"]).list()]

    assert names == ["first", "first:second", "other"]


@pytest.mark.parametrize("entry", ["not a module", "missing:attribute", "present:missing"])
def test_an_entry_point_that_leads_nowhere_is_quarantined(entry: str, site: Site) -> None:
    site.install("present", "", entry=entry)

    assert only(site.load()).state is State.QUARANTINED


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("entry_points.txt", f"[{kernel.GROUP}]\n\xff\n", "UnicodeDecodeError"),
        ("entry_points.txt", f"[{kernel.GROUP}]\nno equals sign\n", "TypeError"),
        ("METADATA", "Name: \xff", "UnicodeDecodeError"),
        ("METADATA", "Metadata-Version: 2.1\n", "ValueError: it says no name"),
        ("METADATA", "", "metadata cannot be read: "),
    ],
)
def test_a_distribution_that_cannot_be_read_is_quarantined_under_its_folders_name(
    file: str, content: str, reason: str, site: Site
) -> None:
    about = site.install("broken", GOOD)
    (about / file).write_bytes(content.encode("latin-1"))
    site.install("sound", GOOD)

    broken, sound = site.load().list()

    assert (broken.name, broken.state) == (about.name, State.QUARANTINED)
    assert "its metadata cannot be read: " in broken.reason
    assert reason in broken.reason
    assert sound.state is State.HEALTHY


def test_what_cannot_be_read_can_be_disabled(site: Site) -> None:
    about = site.install("broken", GOOD)
    (about / "METADATA").write_text("")

    plugin = only(site.load(disabled=[about.name]))

    assert plugin.state is State.DISABLED


def test_a_plugin_without_a_version_is_healthy(site: Site) -> None:
    about = site.install("ageless", GOOD)
    (about / "METADATA").write_text("Name: ageless\n")

    plugin = only(site.load())

    assert (plugin.state, plugin.version) == (State.HEALTHY, "")


def test_what_comes_first_on_the_path_hides_another_version(site: Site) -> None:
    site.install("twice", GOOD)
    site.install("twice", "import os; os._exit(1)", version="0.9", entry="no_such_module")
    found = sorted(metadata.distributions(path=[str(site.folder)]), key=lambda one: one.version)

    plugins = Plugins.load(distributions=reversed(found), disabled=["twice"])

    assert only(plugins).version == "1.0"


@pytest.mark.parametrize("line", ["flowdapt<1", "Flowdapt [ray] ==0.1.*", "flowdapt (>=99)"])
def test_a_plugin_for_another_flowdapt_is_incompatible_and_never_imported(
    line: str, site: Site
) -> None:
    site.install("elsewhere", "import os; os._exit(1)", requires=("pandas", line))

    plugin = only(site.load())

    assert plugin.state is State.INCOMPATIBLE
    assert "and this is" in plugin.reason


@pytest.mark.parametrize("line", ["flowdapt>=1.0", "flowdapt-sdk<1", "flowdapt<1; extra == 'old'"])
def test_a_plugin_whose_requirements_are_met_is_healthy(line: str, site: Site) -> None:
    site.install("here", GOOD, requires=(line,))

    assert only(site.load()).state is State.HEALTHY


def test_a_plugin_that_needs_newer_hooks_is_incompatible(site: Site) -> None:
    site.install("newer", "flowdapt_hooks_version = 99")

    plugin = only(site.load())

    assert plugin.state is State.INCOMPATIBLE
    assert "needs hooks of version 99" in plugin.reason


def test_a_plugin_may_specify_hooks_that_another_implements(site: Site) -> None:
    site.install("a_user", "@hookimpl\ndef flowdapt_pages(): return [Provider('p', 'a_user:P')]")
    source = """
        import pluggy
        @pluggy.HookspecMarker("flowdapt")
        def flowdapt_pages(): ...
        """
    site.install("opener", source)

    assert [*site.load().providers("pages")] == ["p"]


def test_a_hook_of_a_plugin_that_is_not_there_may_be_marked_optional(site: Site) -> None:
    site.install("asker", "@hookimpl(optionalhook=True)\ndef flowdapt_pages(): return []")

    assert only(site.load()).state is State.HEALTHY


def test_an_interrupt_is_not_taken_for_a_failure(site: Site) -> None:
    site.install("interrupted", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        site.load()


def test_what_plugins_print_stays_out_of_the_output(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.install("chatty", "print('hello')")

    site.load()

    assert capsys.readouterr() == ("", "hello\n")


# Left alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Left-Alone", "left_alone"])
def test_a_disabled_plugin_is_not_imported(name: str, site: Site) -> None:
    site.install("left_alone", "import os; os._exit(1)")

    plugin = only(site.load(disabled=[name]))

    assert plugin.state is State.DISABLED
    assert "plugins.disabled" in plugin.reason


def test_safe_mode_loads_built_in_plugins_only(site: Site) -> None:
    site.install("stranger", "import os; os._exit(1)")

    states = {plugin.name: plugin.state for plugin in Plugins.load(safe_mode=True).list()}

    assert states.pop("stranger") is State.DISABLED
    assert states["flowdapt_local"] is not State.DISABLED


# Judged before they are imported ----------------------------------------------------------------

JUDGE = """
    from flowdapt.hooks import Verdict
    asked = []
    @hookimpl
    def flowdapt_judge(plugins, folder):
        asked.append((folder, [(plugin.name, plugin.state.value) for plugin in plugins]))
        return {verdicts}
    """


def test_strangers_are_judged_after_built_in_plugins_were_loaded(
    site: Site, tmp_path: Path
) -> None:
    site.install("judge", JUDGE.format(verdicts="{}"), distribution="flowdapt")
    site.install("a_stranger", GOOD)
    site.install("b_stranger", GOOD)

    plugins = site.load(disabled=["b-stranger"], cache_dir=tmp_path)

    asked = [("a_stranger", "discovered"), ("b_stranger", "disabled")]
    assert plugins.loaded("judge").asked == [(tmp_path, asked)]
    assert [*plugins.providers("executors")] == ["a_stranger"]


@pytest.mark.parametrize(
    ("verdict", "state"), [("fault", State.QUARANTINED), ("unfit", State.INCOMPATIBLE)]
)
def test_a_plugin_with_a_bad_verdict_is_not_imported(
    verdict: str, state: State, site: Site
) -> None:
    verdicts = f"{{'stranger': Verdict({verdict}='no good', provides=('executors:x',))}}"
    site.install("judge", JUDGE.format(verdicts=verdicts), distribution="flowdapt")
    site.install("stranger", "import os; os._exit(1)")

    plugins = site.load()

    assert (only(plugins).state, only(plugins).reason) == (state, "no good")
    with pytest.raises(ProviderNotFound, match=f"plugin stranger, which is {state.value}: no good"):
        plugins.resolve("executors", "x")


def test_a_judge_that_fails_is_logged_and_condemns_nobody(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("judge", JUDGE.format(verdicts="1 / 0"), distribution="flowdapt")
    site.install("stranger", GOOD)

    plugins = site.load()

    assert only(plugins).state is State.HEALTHY
    assert "ZeroDivisionError" in caplog.text


def test_strangers_do_not_judge(site: Site) -> None:
    site.install("judge", JUDGE.format(verdicts="1 / 0"))

    plugins = site.load()

    assert plugins.loaded("judge").asked == []


# Names and addresses --------------------------------------------------------------------------


def test_a_name_and_its_aliases_resolve_to_what_stands_at_the_address(site: Site) -> None:
    site.install("good", GOOD)

    plugins = site.load()

    assert plugins.resolve("executors", "old.good") is plugins.resolve("executors", "good")


def test_an_unknown_name_is_answered_with_near_ones(site: Site) -> None:
    site.install("slurm", GOOD)

    with pytest.raises(ProviderNotFound, match=r"no executor named 'slrum' \(did you mean 'slurm'"):
        site.load().resolve("executors", "slrum")


@pytest.mark.parametrize(("name", "builder"), kernel.BUILT_IN.items())
def test_the_error_for_what_a_removed_built_in_plugin_offered_says_how_to_get_it_back(
    name: str, builder: str
) -> None:
    plugins = Plugins.load(distributions=())

    advice = f"built-in plugin {builder}, which is not installed here: reinstall flowdapt"
    with pytest.raises(ProviderNotFound, match=advice):
        plugins.resolve("executors", name)


def test_the_error_for_what_a_disabled_built_in_plugin_offers_says_so() -> None:
    plugins = Plugins.load(disabled=["flowdapt_local"], safe_mode=True)

    with pytest.raises(ProviderNotFound, match=r"disabled: remove it from plugins.disabled"):
        plugins.resolve("executors", "local")


def test_the_error_for_what_a_quarantined_plugin_would_offer_says_where_to_look(
    site: Site,
) -> None:
    site.install("good", GOOD)
    site.install(
        "late",
        GOOD.replace("return [", "return [Provider('more', 'late:X'), ", 1).replace(
            '"{name}",', '"good",'
        ),
    )

    with pytest.raises(ProviderNotFound, match=r"late, which is quarantined.*plugins doctor"):
        site.load().resolve("executors", "more")


def test_a_missing_library_is_answered_with_the_extra_that_installs_it(site: Site) -> None:
    source = """
        @hookimpl
        def flowdapt_executors():
            return [Provider("cluster", "no_such_library.executor:Executor", extra="ray")]
        """
    site.install("cluster", source)

    with pytest.raises(ProviderFailed, match=r"pip install 'flowdapt\[ray\]'"):
        site.load().resolve("executors", "cluster")


def test_an_address_that_fails_names_plugin_address_and_cause(site: Site) -> None:
    source = """
        @hookimpl
        def flowdapt_services():
            return [Provider("web", "web_part:Web")]
        """
    site.install("web", source)
    (site.folder / "web_part.py").write_text("raise SystemExit('enough')")

    with pytest.raises(ProviderFailed, match=r"plugin web .* web_part:Web: SystemExit: enough"):
        site.load().resolve("services", "web")


# Events ---------------------------------------------------------------------------------------

LISTENER = """
    seen = []
    @hookimpl
    def flowdapt_event(event):
        seen.append(event)
        if event.data == "bad":
            raise SystemExit("no")
    """


def events(*data: str) -> list[Event]:
    return [Event(type="test", data=one) for one in data]


def test_every_plugin_is_told_of_an_event_whatever_others_raise(site: Site) -> None:
    for name in ("early", "failing", "late"):
        site.install(name, LISTENER.replace('"bad"', f'"bad for {name}"'))
    plugins = site.load()

    (event,) = events("bad for failing")
    plugins.notify(event)

    assert [plugins.loaded(name).seen for name in ("early", "failing", "late")] == [[event]] * 3


def test_a_plugin_that_fails_on_every_event_is_quarantined(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("failing", LISTENER + GOOD)
    plugins = site.load()
    seen = plugins.loaded("failing").seen

    for event in events(*["bad"] * 5):
        plugins.notify(event)

    assert len(seen) == kernel.MOST_FAILURES
    assert only(plugins).state is State.QUARANTINED
    assert "plugin failing is quarantined" in caplog.text
    assert plugins.resolve("executors", "failing").__name__ == "Executor"


def test_failures_are_forgiven_once_an_event_was_taken_well(site: Site) -> None:
    site.install("wavering", LISTENER)
    plugins = site.load()

    for event in events("bad", "bad", "good", "bad", "bad"):
        plugins.notify(event)

    assert only(plugins).state is State.HEALTHY


# The program ----------------------------------------------------------------------------------


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_its_command_line_the_program_says_what_is_missing(tmp_path: Path) -> None:
    variables = {
        "FLOWDAPT__PLUGINS__DISABLED": '["flowdapt_cli"]',
        "FLOWDAPT__APP_DIR": str(tmp_path),
    }

    done = run("-m", "flowdapt", "--help", **variables)

    assert done.returncode == 1
    assert "the command line is the plugin flowdapt_cli, which is disabled" in done.stderr


def test_finding_plugins_imports_nothing_heavy() -> None:
    heavy = {"asyncio", "packaging", "pydantic", "ray", "rich", "starlette", "typer"}
    code = "import sys; from flowdapt.plugins import Plugins; Plugins.load(); print(*sys.modules)"

    done = run("-c", code)

    assert done.returncode == 0
    assert not heavy & set(done.stdout.split())
