"""The overview of commands, options before the command, and what is said of mistakes."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Call, Done
from .processes import Served

HEAVY = {"asyncio", "httpx", "pydantic", "rich", "starlette", "uvicorn", "watchfiles", "yaml"}


STRANGER = """
    import typer
    from flowdapt.hooks import Provider, hookimpl

    def greet(name: str) -> None:
        typer.echo(f"hello {name}")

    def count(ctx: typer.Context) -> None:
        with ctx.obj.client() as client:
            typer.echo(len(client.request("GET", "/workflows/")))

    farm = typer.Typer()

    @farm.command()
    def milk() -> None:
        \"\"\"Milk the cow.\"\"\"
        typer.echo("a bucket of milk")

    @farm.command()
    def plough() -> None:
        \"\"\"Plough the field.\"\"\"

    @hookimpl
    def flowdapt_commands():
        return [
            Provider("greet", "stranger:greet", "Greet somebody."),
            Provider("count", "stranger:count", "Count the workflows."),
            Provider("farm", "stranger:farm", "Work on the farm."),
            Provider("farm greet", "stranger:greet", "Greet the farmer."),
            Provider("farm barn", "stranger:farm", "Work in the barn."),
            Provider("farm barn greet", "stranger:greet", "Greet the cow."),
            Provider("farm milk", "no_such_module:command", "Drink the milk."),
            Provider("farm broken", "no_such_module:command", "Fails when it is called, too."),
            Provider("plugins greet", "stranger:greet", "Greet the plugins."),
            Provider("broken", "no_such_module:command", "Fails when it is called."),
        ]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a plugin with one module."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def plugin(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[flowdapt.plugins]\n{name} = {name}\n")

    return plugin


@pytest.fixture
def with_stranger(install: Callable[[str, str], None]) -> Call:
    """Call the program where another plugin offers a few commands."""
    install("stranger", STRANGER)
    return call


def call(*arguments: str) -> Done:
    command = [sys.executable, "-m", "flowdapt", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_overview_names_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys; sys.argv = ['flowdapt', '--help']\n"
        "from flowdapt.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    modules = set(done.stderr.split())
    assert "Start a server here" in done.stdout
    assert re.search(r"\n  plugins +Show what is installed", done.stdout)
    assert not modules & HEAVY
    assert not [name for name in modules if name.startswith("flowdapt_cli.commands")]


def test_an_unknown_command_is_answered_with_names_that_are_near(flowdapt: Call) -> None:
    done = flowdapt("srve")

    assert done.status == 2
    assert done.err.endswith("Error: no command named 'srve' (did you mean 'serve'?).\n")


def test_commands_of_other_plugins_stand_in_the_overview(with_stranger: Call) -> None:
    done = with_stranger("--help")

    assert re.search(r"\n  greet +Greet somebody\.", done.out)
    assert re.search(r"\n  farm +Work on the farm\.", done.out)


def test_a_command_of_another_plugin_asks_the_server_that_is_meant(
    with_stranger: Call, served: Served
) -> None:
    done = with_stranger("--server", served.address, "count")

    assert done.out == "0\n"


def test_a_function_of_another_plugin_is_a_command(with_stranger: Call) -> None:
    done = with_stranger("greet", "Ada")

    assert (done.status, done.out) == (0, "hello Ada\n")


def test_a_typer_of_another_plugin_is_a_group_of_commands(with_stranger: Call) -> None:
    done = with_stranger("farm", "milk")

    assert done.out == "a bucket of milk\n"


def test_a_broken_command_names_its_plugin_in_one_line(with_stranger: Call) -> None:
    done = with_stranger("broken")

    assert done.status == 1
    assert done.err == (
        "Error: command 'broken' of the plugin stranger cannot be imported from "
        "no_such_module:command: ModuleNotFoundError: No module named 'no_such_module'\n"
    )


def test_a_command_within_another_stands_in_the_help_of_that_one_alone(
    with_stranger: Call,
) -> None:
    overview = with_stranger("--help")
    group = with_stranger("plugins", "--help")

    assert "Greet the plugins." not in overview.out
    assert re.search(r"\n  list +List all plugins", group.out)
    assert re.search(r"\n  greet +Greet the plugins\.", group.out)


def test_the_help_of_a_group_imports_no_command_of_others(with_stranger: Call) -> None:
    done = with_stranger("farm", "--help")

    assert done.status == 0
    assert re.search(r"\n  broken +Fails when it is called, too\.", done.out)


def test_a_command_within_another_is_called_by_both_words(with_stranger: Call) -> None:
    done = with_stranger("plugins", "greet", "Ada")

    assert (done.status, done.out) == (0, "hello Ada\n")


def test_a_command_within_another_explains_itself(with_stranger: Call) -> None:
    done = with_stranger("plugins", "greet", "--help")

    assert done.out.startswith("Usage: python -m flowdapt plugins greet [OPTIONS] {name}\n")


def test_a_group_within_a_group_takes_commands_of_others_too(with_stranger: Call) -> None:
    done = with_stranger("farm", "barn", "greet", "Elsie")

    assert done.out == "hello Elsie\n"


def test_a_command_that_a_group_has_itself_is_not_replaced(with_stranger: Call) -> None:
    done = with_stranger("farm", "milk")

    assert done.out == "a bucket of milk\n"


def test_a_broken_command_within_another_names_its_plugin_in_one_line(with_stranger: Call) -> None:
    done = with_stranger("farm", "broken")

    assert done.status == 1
    assert done.err.startswith(
        "Error: command 'farm broken' of the plugin stranger cannot be imported"
    )


def test_an_unknown_command_within_another_is_answered_with_names_that_are_near(
    with_stranger: Call,
) -> None:
    done = with_stranger("plugins", "gret")

    assert done.status == 2
    assert done.err.endswith("Error: No such command 'gret'. Did you mean 'greet'?\n")


def test_dev_shows_where_an_error_comes_from(with_stranger: Call) -> None:
    done = with_stranger("--dev", "broken")

    assert "Traceback (most recent call last):" in done.err
    assert done.err.endswith("No module named 'no_such_module'\n")


def test_the_version_is_printed(flowdapt: Call) -> None:
    done = flowdapt("--version")

    assert (done.status, done.out) == (0, "flowdapt 1.0.0\n")


@pytest.mark.parametrize(
    "command",
    ["serve", "dev", "run", "apply", "get", "inspect", "delete", "logs", "cancel", "status"],
)
def test_every_command_explains_itself(flowdapt: Call, command: str) -> None:
    done = flowdapt(command, "--help")

    assert done.status == 0
    assert done.out.startswith(f"Usage: flowdapt {command} ")


# Settings ------------------------------------------------------------------------------------


def test_config_set_changes_the_file_and_get_shows_it(flowdapt: Call, tmp_path: Path) -> None:
    changed = flowdapt("-d", tmp_path, "config", "set", "rpc.api.port", "9000")
    done = flowdapt("-d", tmp_path, "config", "get", "rpc.api.port")

    assert changed.status == 0
    assert done.out == "9000\n"
    assert "9000" in (tmp_path / "flowdapt.yaml").read_text()


def test_config_unset_brings_the_default_back(flowdapt: Call, tmp_path: Path) -> None:
    flowdapt("-d", tmp_path, "config", "set", "rpc.api.port", "9000")

    flowdapt("-d", tmp_path, "config", "unset", "rpc.api.port")

    assert flowdapt("-d", tmp_path, "config", "get", "rpc.api.port").out == "8080\n"


def test_config_show_prints_what_is_in_force_and_raw_what_the_file_says(
    flowdapt: Call, tmp_path: Path
) -> None:
    (tmp_path / "flowdapt.yaml").write_text("logging: {level: error}\n")

    shown = flowdapt("-d", tmp_path, "-o", "rpc.api.port=9001", "config", "show", "--json")
    raw = flowdapt("-d", tmp_path, "config", "show", "--raw", "--json")

    assert shown.json()["rpc"]["api"]["port"] == 9001
    assert shown.json()["logging"]["level"] == "error"
    assert raw.json() == {"logging": {"level": "error"}}


def test_an_absent_setting_is_none(flowdapt: Call) -> None:
    assert flowdapt("config", "get", "no.such.key").out == "None\n"


def test_a_setting_that_does_not_exist_cannot_be_set(flowdapt: Call, tmp_path: Path) -> None:
    done = flowdapt("-d", tmp_path, "config", "set", "rpc.api.prt", "9000")

    assert done.status == 2
    assert "did you mean" in done.err
    assert "port" in done.err


def test_a_wrong_override_is_wrong_usage(flowdapt: Call) -> None:
    done = flowdapt("-o", "rpc.api.port=abc", "config", "show")

    assert done.status == 2
    assert done.err == (
        "Error: --override 'rpc.api.port=abc': rpc.api.port should be a valid integer, not 'abc'\n"
    )


def test_a_dotenv_file_and_an_override_are_read_in_that_order(
    flowdapt: Call, tmp_path: Path
) -> None:
    dotenv = tmp_path / "env"
    dotenv.write_text("FLOWDAPT__RPC__API__PORT=9001\nFLOWDAPT__RPC__API__HOST=0.0.0.0\n")

    done = flowdapt("--env", dotenv, "-o", "rpc.api.port=9002", "config", "get", "rpc.api")

    assert "host: 0.0.0.0" in done.out
    assert "port: 9002" in done.out


def test_without_a_file_there_is_nothing_to_change(flowdapt: Call) -> None:
    done = flowdapt("-c", "-", "config", "set", "rpc.api.port", "9000")

    assert done.status == 2
    assert done.err == "Error: there is no settings file to change: --config is '-'\n"


# Plugins -------------------------------------------------------------------------------------


def test_plugins_list_says_what_each_offers(flowdapt: Call) -> None:
    found = {plugin["name"]: plugin for plugin in flowdapt("plugins", "list", "-o", "json").json()}

    assert found["flowdapt_sqlite"] == {
        "name": "flowdapt_sqlite",
        "version": "1.0.0",
        "state": "healthy",
        "reason": "",
        "provides": ["storages:sqlite"],
    }
    assert "commands:serve" in found["flowdapt_cli"]["provides"]


def test_plugins_list_is_a_table_for_people(flowdapt: Call) -> None:
    lines = flowdapt("plugins", "list").out.splitlines()

    assert lines[0].split() == ["name", "version", "state", "provides", "reason"]
    assert ["flowdapt_sqlite", "1.0.0", "healthy", "storages:", "sqlite"] in map(str.split, lines)


def test_plugins_list_knows_what_the_settings_leave_out(flowdapt: Call, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "flowdapt.yaml").write_text("plugins: {disabled: [flowdapt_rest]}")

    done = flowdapt("plugins", "list", "-o", "json")

    states = {plugin["name"]: plugin["state"] for plugin in done.json()}
    assert states["flowdapt_rest"] == "disabled"
    assert states["flowdapt_cli"] == "healthy"


def test_doctor_finds_nothing_where_all_is_well(flowdapt: Call) -> None:
    done = flowdapt("plugins", "doctor")

    assert done.status == 0
    assert done.out.startswith("all is well with ")


def test_doctor_says_what_is_wrong_and_fails(install: Callable[[str, str], None]) -> None:
    install("sick", "import no_such_module")

    done = call("plugins", "doctor")

    assert done.status == 1
    assert done.out.startswith("sick 1.0 is quarantined: ")
    assert "No module named 'no_such_module'" in done.out


def test_safe_mode_leaves_strangers_alone(with_stranger: Call) -> None:
    done = with_stranger("--safe-mode", "plugins", "list", "-o", "json")

    states = {plugin["name"]: plugin["state"] for plugin in done.json()}
    assert states["stranger"] == "disabled"
    assert states["flowdapt_cli"] == "healthy"
