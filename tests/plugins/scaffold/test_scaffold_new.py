"""``flowdapt plugins new``: what it asks, refuses and leaves behind."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from flowdapt_scaffold import rendering

from .conftest import Call

#: Runs the program, and fails as soon as anything asks for a network.
OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(refuse)
sys.argv = ["flowdapt", "plugins", "new", "orchard", "--defaults"]
from flowdapt.__main__ import main
main()
"""


def about(project: Path) -> Any:
    return tomllib.loads((project / "pyproject.toml").read_text())["project"]


def test_a_project_is_made_and_what_to_do_next_is_said(flowdapt: Call) -> None:
    done = flowdapt("new", "my-orchard")

    assert done.status == 0
    assert done.out.startswith("made my-orchard; what is there works already:\n")
    assert "\n  cd my-orchard\n" in done.out
    assert about(Path("my-orchard"))["dependencies"] == ["flowdapt>=1.0,<2"]
    assert about(Path("my-orchard"))["entry-points"] == {
        "flowdapt.plugins": {"my_orchard": "my_orchard"}
    }


def test_without_a_terminal_or_with_defaults_nothing_is_asked(flowdapt: Call) -> None:
    no_terminal = flowdapt("new", "first")
    defaults = flowdapt("new", "second", "--defaults", typed="")

    assert (no_terminal.status, defaults.status) == (0, 0)
    assert about(Path("second"))["description"] == "Says which words of a text are long."


def test_who_sits_there_is_asked_for_what_was_not_given(flowdapt: Call) -> None:
    done = flowdapt("new", "orchard", "-e", "author=Ada", typed="trigger\nRuns at dusk.\n\n")

    assert done.status == 0
    assert "What it brings beside stages (stages, executor" in done.out
    assert about(Path("orchard"))["description"] == "Runs at dusk."
    assert about(Path("orchard"))["authors"] == [{"name": "Ada"}]
    assert Path("orchard/orchard/workdays.py").exists()


def test_an_answer_that_is_refused_leaves_nothing_behind(flowdapt: Call, tmp_path: Path) -> None:
    done = flowdapt("new", "orchard", typed="orchestra\n")

    assert done.status == 2
    assert done.err.endswith("Error: 'orchestra' is no kind of plugin; there are 'stages', "
                             "'executor', 'storage', 'trigger', 'service'\n")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_answers_may_hold_what_files_need_quotes_for(flowdapt: Call) -> None:
    summary = 'Says "hello" \\ adiós; {it} is $HOME # not'

    flowdapt("new", "orchard", "-e", f"summary={summary}", "-e", "author=O'Neill = x")

    assert about(Path("orchard"))["description"] == summary
    assert about(Path("orchard"))["authors"] == [{"name": "O'Neill = x"}]


def test_another_folder_and_package_can_be_named(flowdapt: Call) -> None:
    done = flowdapt("new", "json", "-e", "module=my_json", "--output-dir", "deep/down")

    assert done.status == 0
    assert Path("deep/down/json/my_json/stages.py").exists()


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["-orchard"], "No such option"),
        (["orchard-"], "'orchard-' is no name of a distribution: it has letters"),
        (["or/chard"], "'or/chard' is no name of a distribution: it has letters"),
        (["../orchard"], "'../orchard' is no name of a distribution: it has letters"),
        (["o" * 51], "is too long: take at most 50 characters"),
        (["2cherries"], "'2cherries' cannot be an import package: it has small letters"),
        (["lambda"], "'lambda' cannot be an import package: it has small letters"),
        (["json"], "an import package 'json' would hide another of that name; choose one by -e"),
        (["flowdapt"], "an import package 'flowdapt' would hide another of that name"),
        (["flowdapt-cli"], "an import package 'flowdapt_cli' would hide another of that name"),
        (["a", "-e", "module=a b"], "'a b' cannot be an import package"),
        (["a", "--kind", "excutor"], "'excutor' is no kind of plugin (did you mean 'executor'?)"),
        (["a", "-e", "autor=Ada"], "the template has no key 'autor' (did you mean 'author'?)"),
        (["a", "-e", "colour=red"], "no key 'colour'; there are 'summary', 'author', 'module'"),
        (["a", "-e", "author"], "'author' should be KEY=VALUE, such as author=Ada"),
        (["a", "-e", "kind=storage"], "'kind' is given as --kind, and not by -e"),
        (["a", "-e", "distribution=b"], "'distribution' is given as the argument NAME"),
        (["a", "-e", "summary=a\nb"], "'summary' is one line of text"),
        (["a", "-e", "summary={{ 1 }}"], "'summary' is one line of text, without {{ and {%"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_would_be_right(
    flowdapt: Call, tmp_path: Path, arguments: list[str], fact: str
) -> None:
    done = flowdapt("new", *arguments)

    assert done.status == 2
    assert fact in done.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_left_alone(flowdapt: Call) -> None:
    Path("orchard").mkdir()
    Path("orchard/mine").write_text("precious")

    done = flowdapt("new", "orchard")

    assert done.status == 2
    assert done.err == "Error: orchard is there already: take another name, or --output-dir\n"
    assert [file.name for file in Path("orchard").iterdir()] == ["mine"]


def test_a_place_that_cannot_be_written_is_named(flowdapt: Call) -> None:
    Path("file").touch()

    done = flowdapt("new", "orchard", "--output-dir", "file")

    assert done.status == 1
    assert done.err == "Error: file/orchard cannot be written: File exists\n"


def test_nothing_but_the_project_is_written_and_no_network_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(home / "none.yaml"))

    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], cwd=here, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
    assert [path.name for path in here.iterdir()] == ["orchard"]


def test_the_help_does_not_import_cookiecutter() -> None:
    code = (
        "import sys; sys.argv = ['flowdapt', 'plugins', 'new', '--help']\n"
        "from flowdapt.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "Make a plugin of your own" in done.stdout
    assert "cookiecutter" not in done.stderr


def test_the_template_is_the_one_of_the_repository_or_of_this_package() -> None:
    assert (rendering.template() / "cookiecutter.json").is_file()


def test_the_template_is_in_the_wheel_where_it_is_looked_for() -> None:
    repository = Path(rendering.__file__).parents[2]
    settings = tomllib.loads((repository / "pyproject.toml").read_text())

    shipped = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert shipped == {"plugin_template": "flowdapt_scaffold/template"}
