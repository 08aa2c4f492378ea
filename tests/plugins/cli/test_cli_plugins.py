"""What is known of plugins, what is done about sick ones, and how they are left out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowdapt_cli.diagnoses import advice

from flowdapt.plugins import Plugins
from tests.sites import GOOD, Site

from .conftest import Call, Done
from .processes import Served

WORKFLOW = "kind: workflow\nmetadata: {name: farm}\nspec: {stages: [{name: a, target: a.b}]}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path / "site-packages")
    site.folder.mkdir()
    monkeypatch.syspath_prepend(str(site.folder))
    monkeypatch.setenv("PYTHONPATH", str(site.folder))
    yield site
    site.forget()


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The settings file, with a comment and nothing about plugins."""
    (tmp_path / "app").mkdir()
    file = tmp_path / "app" / "flowdapt.yaml"
    file.write_text("name: mine  # and nobody else's\n")
    return file


def call(*arguments: object) -> Done:
    """Call the program as a process, which finds what is installed now."""
    command = [sys.executable, "-m", "flowdapt", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


# Info --------------------------------------------------------------------------------------------


@pytest.fixture
def orchard(site: Site) -> Site:
    """Install a package that offers an executor, reacts to events, and has resources and data."""
    about = site.install("orchard", GOOD + "\n    @hookimpl\n    def flowdapt_event(event): ...\n")
    (site.folder / "orchard").mkdir()
    (site.folder / "orchard.py").rename(site.folder / "orchard" / "__init__.py")
    for name, text in {
        "resources/farm.yaml": WORKFLOW,
        "resources/bad.yaml": "kind: [",
        "table.yml": "apples: 3\n",
        "seeds.csv": "1,2\n",
    }.items():
        file = site.folder / "orchard" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: orchard\nVersion: 1.0\nSummary: Grows fruit.\n"
        "Author: Ada\nLicense: MIT\nProject-URL: Source, https://fruit.example\n"
        "Requires-Dist: flowdapt>=1.0\n"
    )
    return site


def test_info_says_who_made_a_plugin_what_it_offers_and_what_it_holds(orchard: Site) -> None:
    found = call("plugins", "info", "Orchard", "-o", "json").json()

    assert (
        found.items()
        >= {
            "name": "orchard",
            "version": "1.0",
            "state": "healthy",
            "summary": "Grows fruit.",
            "author": "Ada",
            "license": "MIT",
            "home_page": "https://fruit.example",
            "requires": ["flowdapt>=1.0"],
            "reacts": ["flowdapt_event"],
            "files": ["orchard/seeds.csv", "orchard/table.yml"],
        }.items()
    )
    assert found["provides"] == [
        {
            "part": "executors",
            "name": "orchard",
            "help": "A good one.",
            "target": "orchard:Executor",
        }
    ]
    bad, farm = found["resources"]
    assert farm == {
        "kind": "workflow",
        "name": "farm",
        "file": "orchard/resources/farm.yaml",
        "problem": "",
    }
    assert bad["file"] == "orchard/resources/bad.yaml"
    assert "malformed YAML" in bad["problem"]


def test_info_leaves_out_of_the_table_what_there_is_none_of(flowdapt: Call) -> None:
    done = flowdapt("plugins", "info", "flowdapt_sqlite")

    lines = [line.split() for line in done.out.splitlines()]
    assert ["state", "healthy"] in lines
    assert next(line for line in lines if "storages" in line)[:2] == ["storages", "sqlite"]
    assert not any(word in done.out for word in ("traceback", "resources", "author"))


def test_info_shows_why_a_plugin_is_quarantined_and_what_helps(site: Site) -> None:
    site.install("sick", "import no_such_module")

    done = call("plugins", "info", "sick")

    assert done.status == 0
    assert "install what brings 'no_such_module'" in done.out
    assert f'File "{site.folder / "sick.py"}", line 2' in done.out


def test_an_unknown_plugin_is_answered_with_names_that_are_near(flowdapt: Call) -> None:
    done = flowdapt("plugins", "info", "flowdapt_sqlit")

    assert done.status == 2
    assert done.err.startswith("Error: no plugin named 'flowdapt_sqlit' (did you mean 'flowdapt_sq")


def test_a_name_that_two_plugins_share_has_to_be_said_in_full(site: Site) -> None:
    about = site.install("first", GOOD, distribution="both")
    (site.folder / "second.py").write_text("")
    (about / "entry_points.txt").write_text("[flowdapt.plugins]\nfirst=first\nsecond=second\n")

    found = call("plugins", "info", "second", "-o", "json").json()

    assert found["name"] == "both:second"


# Disable and enable ------------------------------------------------------------------------------


def test_a_disabled_plugin_is_not_imported_and_comments_stay(site: Site, settings: Path) -> None:
    site.install("marked", "open(__file__ + '.mark', 'w').close()")
    call("plugins", "list")
    mark = site.folder / "marked.py.mark"
    mark.unlink()

    done = call("plugins", "disable", "Marked", "flowdapt_rest")
    mark.unlink()  # the command itself has loaded it for the last time
    states = {p["name"]: p["state"] for p in call("plugins", "list", "-o", "json").json()}

    assert (done.status, done.out) == (0, "marked disabled\nflowdapt_rest disabled\n")
    assert settings.read_text() == (
        "name: mine  # and nobody else's\nplugins:\n  disabled: [marked, flowdapt_rest]\n"
    )
    assert (states["marked"], states["flowdapt_rest"]) == ("disabled", "disabled")
    assert not mark.exists()


def test_an_enabled_plugin_is_loaded_again(site: Site, settings: Path) -> None:
    site.install("good", GOOD)
    call("plugins", "disable", "good", "flowdapt_rest")

    done = call("plugins", "enable", "good")

    assert (done.status, done.out) == (0, "good enabled\n")
    assert "disabled: [flowdapt_rest]" in settings.read_text()
    assert call("plugins", "info", "good", "-o", "json").json()["state"] == "healthy"


def test_disabling_and_enabling_twice_changes_nothing(flowdapt: Call, settings: Path) -> None:
    flowdapt("plugins", "disable", "flowdapt_rest")
    before = settings.read_text()

    disabled = flowdapt("plugins", "disable", "flowdapt-rest", "flowdapt_rest")
    after = settings.read_text()
    flowdapt("plugins", "enable", "flowdapt_rest")
    enabled = flowdapt("plugins", "enable", "flowdapt_rest")

    assert (disabled.status, disabled.out) == (0, "flowdapt_rest is disabled already\n")
    assert (enabled.status, enabled.out) == (0, "flowdapt_rest is enabled already\n")
    assert before == after


def test_of_several_names_all_are_disabled_or_none(flowdapt: Call, settings: Path) -> None:
    before = settings.read_text()

    done = flowdapt("plugins", "disable", "flowdapt_rest", "flowdapt_nosuch")

    assert done.status == 2
    assert "no plugin named 'flowdapt_nosuch'" in done.err
    assert settings.read_text() == before


def test_the_command_line_cannot_be_disabled(flowdapt: Call) -> None:
    done = flowdapt("plugins", "disable", "flowdapt_cli")

    assert done.status == 2
    assert done.err == (
        "Error: flowdapt_cli cannot be disabled: it is the command line, and without it nothing "
        "could enable it again\n"
    )


def test_what_is_no_longer_installed_can_be_enabled(flowdapt: Call, settings: Path) -> None:
    settings.write_text("plugins: {disabled: 'gone, flowdapt_rest'}  # so\n")

    done = flowdapt("plugins", "enable", "gone")

    assert (done.status, done.out) == (0, "gone enabled\n")
    assert settings.read_text() == "plugins: {disabled: [flowdapt_rest]}  # so\n"


def test_who_disables_what_the_settings_name_is_told(flowdapt: Call) -> None:
    done = flowdapt("plugins", "disable", "flowdapt_sqlite")

    assert done.err == (
        "flowdapt_sqlite offers what database names, 'sqlite': no server starts without\n"
    )


def test_who_disables_beside_a_variable_is_told_that_it_goes_before(
    flowdapt: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWDAPT__PLUGINS__DISABLED", "flowdapt_ray")

    done = flowdapt("plugins", "disable", "flowdapt_rest")

    assert "FLOWDAPT__PLUGINS__DISABLED goes before the settings file" in done.err


def test_who_disables_beside_a_running_server_is_told_to_restart_it(
    flowdapt: Call, served: Served
) -> None:
    disabled = flowdapt("-d", served.app_dir, "plugins", "disable", "flowdapt_ray")
    enabled = flowdapt("-d", served.app_dir, "plugins", "enable", "flowdapt_ray")

    server = f"the running server ({served.address}) goes on"
    assert disabled.err == f"{server} with what it has loaded until it is restarted\n"
    assert enabled.err == f"{server} without until it is restarted\n"


def test_without_a_settings_file_nothing_can_be_disabled(flowdapt: Call) -> None:
    done = flowdapt("-c", "-", "plugins", "disable", "flowdapt_rest")

    assert done.status == 2
    assert done.err == "Error: there is no settings file to change: --config is '-'\n"


# Before the settings are read --------------------------------------------------------------------

MARKED = "open(__file__ + '.mark', 'a').write(__name__)"


def imported(site: Site, *arguments: object, **variables: str) -> bool:
    """Tell whether the program imports the plugin ``marked`` in its own process."""
    command = [sys.executable, "-m", "flowdapt", *map(str, arguments), "contexts", "list"]
    mark = site.folder / "marked.py.mark"
    mark.unlink(missing_ok=True)
    subprocess.run(command, env=os.environ | variables, capture_output=True, check=True)
    return mark.exists()


@pytest.fixture
def marked(site: Site, settings: Path) -> Site:
    """Install a plugin that says when it is imported, and has passed its trial already."""
    site.install("marked", MARKED)
    assert imported(site)
    return site


@pytest.mark.parametrize(
    "text",
    [
        "plugins: {disabled: [Marked]}",
        "plugins: {disabled: 'x, marked'}",
        "plugins: {safe_mode: true}",
    ],
)
def test_what_the_settings_file_leaves_out_is_never_imported(
    marked: Site, settings: Path, text: str
) -> None:
    settings.write_text(text)

    assert not imported(marked)


def test_the_file_of_the_command_line_is_asked(marked: Site, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.json").write_text('{"plugins": {"disabled": ["marked"]}}')

    assert not imported(marked, "-d", tmp_path / "other", "--dev", "--config=mine.json")
    assert imported(marked, "-d", tmp_path / "other")


def test_what_goes_before_the_file_may_take_a_plugin_in_again(marked: Site, settings: Path) -> None:
    settings.write_text("plugins: {disabled: [marked]}")

    assert imported(marked, "-o", "plugins.disabled=flowdapt_rest")
    assert imported(marked, FLOWDAPT__PLUGINS__DISABLED="flowdapt_rest")


@pytest.mark.parametrize(
    "text", ["plugins: [disabled", "plugins: disabled", "plugins: {disabled: 3}"]
)
def test_a_settings_file_that_is_wrong_leaves_nothing_out(
    marked: Site, settings: Path, text: str
) -> None:
    settings.write_text(text)

    assert imported(marked)


# Doctor ------------------------------------------------------------------------------------------


def test_doctor_says_for_scripts_what_helps(site: Site) -> None:
    site.install("sick", "import no_such_module")

    done = call("plugins", "doctor", "-o", "json")

    (found,) = done.json()
    assert done.status == 1
    assert found["name"] == "sick"
    assert found["advice"].startswith("install what brings 'no_such_module'")
    assert "sick.py" in found["traceback"]


def test_doctor_names_a_distribution_that_cannot_be_read(site: Site) -> None:
    about = site.install("broken", GOOD)
    (about / "METADATA").write_text("")

    done = call("plugins", "doctor")

    assert done.status == 1
    assert done.out.startswith("broken-1.0.dist-info is quarantined: its metadata cannot be read")
    assert "what helps: install it again, or remove the folder" in done.out


def test_doctor_tries_again_what_was_refused(site: Site, tmp_path: Path) -> None:
    site.install(
        "wavers",
        f"import os, pathlib\nif pathlib.Path({str(tmp_path / 'ill')!r}).exists(): os._exit(3)",
    )
    (tmp_path / "ill").touch()
    before = call("plugins", "doctor")
    (tmp_path / "ill").unlink()

    kept = call("plugins", "doctor")
    again = call("-d", tmp_path / "other", "plugins", "doctor", "--again")
    after = call("plugins", "doctor")

    assert [done.status for done in (before, kept, again, after)] == [1, 1, 0, 0]


def test_doctor_knows_names_in_the_settings_that_mean_nothing(
    flowdapt: Call, settings: Path
) -> None:
    settings.write_text("plugins: {disabled: [flowdapt_rst, flowdapt_ray]}")

    done = flowdapt("plugins", "doctor")

    assert done.status == 0
    assert done.out.endswith(" plugins, of which 1 is disabled\n")
    assert done.err.startswith(
        "plugins.disabled names 'flowdapt_rst', which is not installed (did you mean 'flowdapt_re"
    )


ILLS = {
    "raises": ("1 / 0", "its own code fails, where the traceback ends"),
    "misspells": (
        "@hookimpl\ndef flowdapt_executers(): return []",
        "its author has to mend the hook",
    ),
    "needs_more": (
        "flowdapt_hooks_version = 99",
        "upgrade flowdapt, or install an earlier release",
    ),
    "ends": ("import os; os._exit(3)", "the import ends the whole process"),
    "copies_a": (GOOD.replace('"{name}",', '"same",'), ""),
    "copies_b": (
        GOOD.replace('"{name}",', '"same",'),
        "two plugins offer one name: flowdapt plugins disable copies_a, or copies_b",
    ),
}


def test_there_is_advice_for_every_ill(site: Site) -> None:
    for name, (source, _) in ILLS.items():
        site.install(name, source)
    site.install("older", GOOD, requires=("flowdapt<1",))

    plugins = Plugins.load()

    told = {plugin.name: advice(plugin) for plugin in plugins.list()}
    assert {name for name, (_, words) in ILLS.items() if not told[name].startswith(words)} == set()
    assert told["older"] == "install a release of older that goes with flowdapt 1.0.0"
    assert told["flowdapt_rest"] == ""
