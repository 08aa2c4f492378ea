from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from flowdapt_cli.reading import settings as reading
from pydantic import ValidationError

from flowdapt.errors import SettingsError
from flowdapt.settings import Component, Settings, Text

LEGACY = "flowdapt.compute.executor.local.LocalExecutor"


@dataclass
class Home:
    """An application directory, and what is read there."""

    folder: Path

    def write(self, text: str, name: str = "flowdapt.yaml") -> Path:
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)
        return self.folder / name

    def load(self, text: str | None = None, **given: Any) -> Settings:
        if text is not None:
            self.write(text, given.get("config_file", "flowdapt.yaml"))
        return reading.load(self.folder, **{"environ": {}, **given})

    def refusal(self, text: str | None = None, **given: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            self.load(text, **given)
        return str(caught.value).replace(f"{self.folder}{os.sep}", "")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "app")


# Defaults ------------------------------------------------------------------------------------


def test_without_anything_the_defaults_are_in_force(home: Home) -> None:
    found = home.load()

    assert found.rpc.api.host == "127.0.0.1"
    assert found.rpc.api.port == 8080
    assert found.rpc.api.max_body == 64 * 2**20
    assert found.database == Component(target="sqlite")
    assert found.services.compute.executor == Component(target="local")
    assert found.services.compute.default_namespace == "default"
    assert found.services.compute.default_os_strategy == "fallback"
    assert found.services.compute.run_retention_duration == -1
    assert found.storage.base_path == str(home.folder)
    assert found.logging.run_limit == 16 * 2**20
    assert found.drain_timeout_seconds == 300
    assert found.plugins.disabled == ()
    assert not found.unknown
    assert not found.dev


def test_the_application_directory_is_made_and_private(home: Home) -> None:
    found = home.load()

    assert found.app_dir == home.folder
    assert home.folder.stat().st_mode & 0o777 == 0o700


def test_the_application_directory_may_come_from_the_environment(tmp_path: Path) -> None:
    found = reading.load(environ={"FLOWDAPT__APP_DIR": str(tmp_path / "a"), "HOME": str(tmp_path)})

    assert found.app_dir == tmp_path / "a"


def test_the_name_is_two_words_that_stay_the_same_for_a_directory(home: Home) -> None:
    name = home.load().name

    assert name.startswith("flowdapt.")
    assert len(name.removeprefix("flowdapt.").split("-")) == 2
    assert home.load().name == name
    assert home.load("name: null").name == name


def test_settings_cannot_be_changed(home: Home) -> None:
    found = home.load()

    with pytest.raises(ValidationError, match="frozen"):
        found.rpc.api.port = 1  # type: ignore[misc]  # being read-only is what is tested


# Sources -------------------------------------------------------------------------------------


def test_the_later_source_wins(home: Home) -> None:
    ports = {"file": 1, "dotenv": 2, "environment": 3, "override": 4}
    dotenv = home.write(f"FLOWDAPT__RPC__API__PORT={ports['dotenv']}\n", "some.env")
    text = f"rpc: {{api: {{port: {ports['file']}, host: example.org}}}}"
    environ = {"FLOWDAPT__RPC__API__PORT": str(ports["environment"])}
    overrides = [f"rpc.api.port={ports['override']}"]

    file = home.load(text)
    with_dotenv = home.load(env_files=[dotenv])
    with_environ = home.load(env_files=[dotenv], environ=environ)
    with_all = home.load(env_files=[dotenv], environ=environ, overrides=overrides)

    assert [f.rpc.api.port for f in (file, with_dotenv, with_environ, with_all)] == [1, 2, 3, 4]
    assert with_all.rpc.api.host == "example.org"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", "rpc:\n  api:\n    port: 9000\n"),
        ("s.json", '{"rpc": {"api": {"port": 9000}}}'),
        ("s.toml", "[rpc.api]\nport = 9000\n"),
    ],
)
def test_the_suffix_tells_the_format_of_the_file(home: Home, name: str, text: str) -> None:
    assert home.load(text, config_file=name).rpc.api.port == 9000


def test_a_dash_means_no_file(home: Home) -> None:
    home.write("rpc: {api: {port: 9000}}")

    found = home.load(environ={"FLOWDAPT__CONFIG_FILE": "-"}, write_missing=True)

    assert found.config_file is None
    assert found.rpc.api.port == 8080


def test_the_file_may_hold_expressions(home: Home) -> None:
    text = "rpc:\n  api:\n    port: $env{PORT}\nname: flowdapt.$env{NODE}\n"

    found = home.load(text, environ={"PORT": "9000", "NODE": "a"})

    assert found.rpc.api.port == 9000
    assert found.name == "flowdapt.a"


def test_variables_and_overrides_are_numbers_booleans_and_nothing_where_they_look_so(
    home: Home,
) -> None:
    overrides = [
        f"database.{key}={text}"
        for key, text in {
            "a": "4", "b": "-1.5", "c": "True", "d": "null", "e": "none", "f": "1e3",
            "g": "007", "h": "0x10", "i": "1.2.3", "j": "", "k": "nan", "l": "a=b",
        }.items()
    ]  # fmt: skip

    options = home.load(overrides=overrides).database.options

    assert options == {
        "a": 4, "b": -1.5, "c": True, "d": None, "e": None, "f": 1000.0,
        "g": "007", "h": "0x10", "i": "1.2.3", "j": "", "k": "nan", "l": "a=b",
    }  # fmt: skip
    assert all(type(value) is not Text for value in options.values())


def test_a_text_setting_stays_the_text_it_was_given_as(home: Home) -> None:
    assert home.load(overrides=["name=1.10"]).name == "1.10"


def test_a_list_may_come_from_a_variable(home: Home) -> None:
    found = home.load(environ={"FLOWDAPT__PLUGINS__DISABLED": "ray, dask"})

    assert found.plugins.disabled == ("ray", "dask")


def test_development_may_come_from_the_environment(home: Home) -> None:
    assert home.load(environ={"FLOWDAPT_DEV_MODE": "true"}).dev
    assert home.load(dev=True).dev


@pytest.mark.parametrize(
    ("text", "folder"),
    [("storage:\n", True), ("storage: {protocol: null}", True), ("storage: {protocol: s3}", False)],
)
def test_artifacts_are_kept_in_the_application_directory_if_in_files(
    home: Home, text: str, folder: bool
) -> None:
    expected = str(home.folder) if folder else None

    assert home.load(text).storage.base_path == expected


def test_a_key_set_to_nothing_has_its_default(home: Home) -> None:
    found = home.load("rpc:\ntelemetry: {timeout: null}\n", overrides=["rpc.api.port=null"])

    assert found.rpc.api.port == 8080
    assert found.telemetry.timeout == 10


# Components and services ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "executor: {target: ray, cpus: 4}",
        "services: {compute: {executor: {target: ray, cpus: 4}}}",
        "services: {compute: {executor: {__target__: ray, cpus: 4}}}",
        f"services: {{compute: {{executor: {{__target__: {LEGACY}, cpus: 4, target: ray}}}}}}",
    ],
)
def test_a_component_is_a_target_with_options_beside_it(home: Home, text: str) -> None:
    executor = home.load(text).services.compute.executor

    assert executor == Component(target="ray", options={"cpus": 4})


def test_a_component_may_be_only_a_name(home: Home) -> None:
    found = home.load(f"executor: {LEGACY}\ndatabase: memory\n")

    assert found.services.compute.executor == Component(target=LEGACY)
    assert found.database == Component(target="memory")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"environ": {"FLOWDAPT__EXECUTOR": "ray"}}, Component(target="ray")),
        (
            {"environ": {"FLOWDAPT__SERVICES__COMPUTE__EXECUTOR__TARGET": "ray"}},
            Component(target="ray"),
        ),
        (
            {"environ": {"FLOWDAPT__EXECUTOR": "dask", "FLOWDAPT__EXECUTOR__CPUS": "8"}},
            Component(target="dask", options={"cpus": 8, "threads": 2}),
        ),
        ({"overrides": ["executor=ray"]}, Component(target="ray")),
        (
            {"overrides": ["executor.cpus=8", "executor=ray"]},
            Component(target="ray", options={"cpus": 8}),
        ),
        ({"overrides": ["executor=null"]}, Component(target="local")),
    ],
)
def test_another_target_voids_the_options_of_the_one_before(
    home: Home, given: dict[str, Any], expected: Component
) -> None:
    found = home.load("executor: {target: dask, cpus: 4, threads: 2}", **given)

    assert found.services.compute.executor == expected


def test_options_without_a_target_are_for_the_default(home: Home) -> None:
    found = home.load("database: {path: runs.db}\n")

    assert found.database == Component(target="sqlite", options={"path": "runs.db"})


def test_a_service_may_be_disabled_or_have_options(home: Home) -> None:
    found = home.load("services: {rest: disabled, triggers: {poll: 5}, compute: disabled}")

    assert not found.service_enabled("rest")
    assert not found.service_enabled("compute")
    assert found.service_enabled("triggers")
    assert found.service_options("triggers") == {"poll": 5}


def test_a_service_that_nobody_mentions_is_enabled_without_options(home: Home) -> None:
    found = home.load()

    assert found.service_enabled("rest")
    assert found.service_options("rest") == {}
    assert found.service_options("compute") == {}


def test_a_disabled_service_keeps_its_options_for_a_later_source(home: Home) -> None:
    text = "services: {triggers: {poll: 5}}"

    disabled = home.load(text, overrides=["services.triggers=disabled"])
    enabled = home.load(text, overrides=["services.triggers=disabled", "services.triggers=enabled"])

    assert not disabled.service_enabled("triggers")
    assert enabled.service_enabled("triggers")
    assert enabled.service_options("triggers") == {"poll": 5}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("-1", -1), ("0", 0), ("90", 90), ("10s", 10), ("30m", 1800), ("2h", 7200), ("7d", 604800),
     ("1h30m", 5400), ("1.5h", 5400)],
)  # fmt: skip
def test_a_retention_is_seconds_or_a_text(home: Home, text: str, seconds: float) -> None:
    found = home.load(overrides=[f"services.compute.run_retention_duration={text}"])

    assert found.services.compute.run_retention_duration == seconds


# What is refused or noted --------------------------------------------------------------------


def test_an_unknown_key_is_noted_with_its_source_and_the_nearest_name(home: Home) -> None:
    text = "rpc:\n  api:\n    prot: 1\ndev: true\nzoo:\n  a: 1\n  b: 2\n"

    found = home.load(text, environ={"FLOWDAPT__LOGGING__LEVLE": "info"})

    file = home.folder / "flowdapt.yaml"
    assert found.unknown == (
        f"rpc.api.prot (did you mean 'port'?), in {file}:3",
        f"dev, in {file}:4",
        f"zoo, in {file}:6",
        "logging.levle (did you mean 'level'?), in FLOWDAPT__LOGGING__LEVLE",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rpc:\n  api:\n    port: high", "3: rpc.api.port should be a valid integer, not 'high'"),
        (
            "rpc: {api: {port: 99999}}",
            "1: rpc.api.port should be less than or equal to 65535, not 99999",
        ),
        ("rpc: 5", "1: rpc should be an object, not 5"),
        ("rpc:\n  api: []", "2: rpc.api should be an object, not []"),
        (
            "logging: {level: loud}",
            "1: logging.level should be 'debug', 'info', 'warning', 'error' or 'critical', "
            "not 'loud'",
        ),
        (
            "executor: [ray]",
            "1: services.compute.executor should be a name, or an object with `target`, "
            "not ['ray']",
        ),
        (
            "services:\n  rest: 5",
            "2: services.rest should be an object, or the word disabled, not 5",
        ),
        (
            "services:\n  rest: off-ish",
            "2: services.rest.enabled should be a valid boolean, not 'off-ish'",
        ),
        ("plugins: {disabled: 5}", "1: plugins.disabled should be a list, not 5"),
        (
            "services: {compute: {run_retention_duration: 2x}}",
            "1: services.compute.run_retention_duration should be a number of seconds, or a text "
            "such as 30m, 2h or 7d, not '2x'",
        ),
        (
            "services: {compute: {run_retention_duration: -5}}",
            "1: services.compute.run_retention_duration should be greater than or equal to -1, "
            "not -5",
        ),
        (
            "name: $env{NODE}",
            "1: name: $env{NODE}: no variable named 'NODE' is set; set it, or write "
            "$env{NODE,default}",
        ),
        ("a: 1\n---\nb: 1", "3: settings are one document, not several"),
        (
            "rpc: a: b",
            "1:7: malformed YAML: no key may stand here; check the indentation, "
            "quote texts with ': '; found 'rpc: a: b'",
        ),
    ],
)
def test_a_file_is_refused_with_line_key_and_what_would_be_right(
    home: Home, text: str, expected: str
) -> None:
    assert home.refusal(text) == f"flowdapt.yaml:{expected}"


def test_all_faults_are_told_at_once(home: Home) -> None:
    message = home.refusal("rpc: {api: {port: a}}\ndrain_on_sigterm: maybe\n")

    assert message == (
        "flowdapt.yaml:1: rpc.api.port should be a valid integer, not 'a'; "
        "flowdapt.yaml:2: drain_on_sigterm should be a valid boolean, not 'maybe'"
    )


def test_a_toml_file_is_refused_by_name(home: Home) -> None:
    assert home.refusal("[rpc", config_file="s.toml").startswith("s.toml: malformed TOML: ")


def test_a_variable_an_override_and_a_dotenv_line_are_named_when_wrong(home: Home) -> None:
    dotenv = home.write("A=1\nFLOWDAPT__RPC__API__PORT=high\n", "some.env")
    fault = "rpc.api.port should be a valid integer, not 'high'"

    environ = home.refusal(environ={"FLOWDAPT__RPC__API__PORT": "high"})
    override = home.refusal(overrides=["rpc.api.port=high"])
    from_dotenv = home.refusal(env_files=[dotenv])

    assert environ == f"FLOWDAPT__RPC__API__PORT: {fault}"
    assert override == f"--override 'rpc.api.port=high': {fault}"
    assert from_dotenv == f"some.env:2: {fault}"


@pytest.mark.parametrize("text", ["rpc.api.port", "=1", "rpc..port=1"])
def test_an_override_without_a_key_and_a_value_is_refused(home: Home, text: str) -> None:
    message = home.refusal(overrides=[text])

    assert message == f"--override {text!r}: should be KEY=VALUE, such as rpc.api.port=9000"


def test_a_dotenv_file_that_is_missing_or_malformed_is_refused(home: Home) -> None:
    malformed = home.write("A=1\nnot a variable\n", "some.env")

    assert home.refusal(env_files=[malformed]) == (
        "some.env:2: should be NAME=value, not 'not a variable'"
    )
    assert home.refusal(env_files=[home.folder / "gone.env"]) == (
        "gone.env: cannot be read: No such file or directory"
    )


def test_an_application_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "app"

    with pytest.raises(SettingsError) as caught:
        reading.load(folder, environ={})

    assert str(caught.value) == (
        f"application directory {str(folder)!r} cannot be made: Not a directory; "
        "name a folder that you may write to with --app-dir or FLOWDAPT__APP_DIR"
    )


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be somebody who may not write anywhere, which root may."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    yield
    os.setresuid(0, 0, 0)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Return a folder that is not below one of root's own, as those of pytest are."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        yield Path(folder)
        Path(folder).chmod(0o755)


def test_an_application_directory_that_is_not_writable_is_refused(
    read_only: Path, nobody: None
) -> None:
    with pytest.raises(SettingsError, match="is not writable; name a folder"):
        reading.load(read_only, environ={})


# Showing and editing -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flowdapt.yaml", "flowdapt.json", "flowdapt.toml"])
def test_a_missing_file_is_written_when_asked_and_means_the_defaults(home: Home, name: str) -> None:
    default = home.load(config_file="-")

    written = home.load(config_file=name, write_missing=True)
    again = home.load(config_file=name)

    assert reading.show(written) == reading.show(again) == reading.show(default)
    assert not again.unknown
    assert len((home.folder / name).read_text().splitlines()) < 20


def test_a_missing_file_is_not_written_unless_asked(home: Home) -> None:
    found = home.load()

    assert found.config_file == home.folder / "flowdapt.yaml"
    assert not found.config_file.exists()


def test_what_is_shown_can_be_loaded_again(home: Home) -> None:
    text = "executor: {target: ray, cpus: 4}\nservices: {rest: disabled, triggers: {poll: 5}}\n"
    shown = reading.show(home.load(text, overrides=["services.compute.run_retention_duration=2h"]))

    again = home.load(yaml.safe_dump(shown))

    assert reading.show(again) == shown
    assert not again.unknown
    assert shown["services"]["compute"]["executor"] == {"target": "ray", "cpus": 4}
    assert shown["services"]["rest"] == {"enabled": False}
    assert not {"app_dir", "config_file", "dev", "unknown"} & set(shown)


def test_one_value_is_got_by_its_key(home: Home) -> None:
    found = home.load("executor: {target: ray, cpus: 4}")

    assert reading.get(found, "rpc.api.port") == 8080
    assert reading.get(found, "executor.cpus") == 4
    assert reading.get(found, "services.compute.executor.target") == "ray"
    assert reading.get(found, "rpc.api.prot") is None
    assert reading.get(found, "name.x") is None


def test_a_value_is_set_in_the_file_and_comments_stay(home: Home) -> None:
    file = home.load(write_missing=True).config_file
    assert file
    before = file.read_text()

    reading.set_value(file, "rpc.api.port", "9000")
    reading.set_value(file, "services.compute.executor", "ray")

    expected = before.replace(" 8080", " 9000").replace(": local", ": ray")
    assert file.read_text() == expected != before


def test_a_new_key_keeps_the_others_and_the_comments_at_the_top(home: Home) -> None:
    file = home.write("# mine\nexecutor: ray\nname: x  # so\n")

    reading.set_value(file, "executor.cpus", "4")
    reading.set_value(file, "services.rest", "disabled")
    reading.set_value(file, "storage.base_path", "007")

    assert file.read_text() == (
        "# mine\nexecutor:\n  target: ray\n  cpus: 4\nname: x\n"
        "services:\n  rest: disabled\nstorage:\n  base_path: '007'\n"
    )


def test_a_service_or_a_target_is_set_inside_the_mapping_that_the_file_has(home: Home) -> None:
    file = home.write("executor: {target: ray, cpus: 4}\nservices: {rest: {a: 1}}\nname: x\n")

    reading.set_value(file, "services.rest", "disabled")
    reading.set_value(file, "services.compute.executor", "dask")
    reading.set_value(file, "name", "null")

    found = home.load()
    assert not found.service_enabled("rest")
    assert found.service_options("rest") == {"a": 1}
    assert found.services.compute.executor == Component(target="dask", options={"cpus": 4})
    assert found.name.startswith("flowdapt.")


def test_expressions_in_the_file_stay_expressions(home: Home) -> None:
    file = home.write("name: $env{NODE}\n")

    reading.set_value(file, "rpc.api.port", "9000")

    assert "name: $env{NODE}\n" in file.read_text()


def test_a_key_or_value_that_would_be_refused_is_not_written(home: Home) -> None:
    file = home.write("rpc: {api: {port: 1}}\n")

    with pytest.raises(SettingsError) as unknown:
        reading.set_value(file, "rpc.api.prot", "1")
    with pytest.raises(SettingsError) as wrong:
        reading.set_value(file, "rpc.api.port", "high")

    assert str(unknown.value) == f"no setting rpc.api.prot (did you mean 'port'?), in {file}"
    assert str(wrong.value) == f"{file}: rpc.api.port should be a valid integer, not 'high'"
    assert file.read_text() == "rpc: {api: {port: 1}}\n"


def test_a_value_is_unset_in_the_file(home: Home) -> None:
    file = home.write("# mine\nservices:\n  compute:\n    executor: ray\nname: x\n")

    reading.unset_value(file, "name")
    reading.unset_value(file, "executor")

    assert file.read_text() == "# mine\nservices:\n  compute: {}\n"
    assert home.load().services.compute.executor.target == "local"


def test_a_value_that_is_not_set_cannot_be_unset(home: Home) -> None:
    file = home.write("name: x\n")

    with pytest.raises(SettingsError) as caught:
        reading.unset_value(file, "rpc.api.port")

    assert str(caught.value) == f"{file}: does not set 'rpc.api.port'"
