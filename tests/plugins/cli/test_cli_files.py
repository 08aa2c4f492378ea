"""What is read before anything is sent: resource files, and the input of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowdapt_cli.documents import BadFiles, read
from flowdapt_cli.inputs import values_of
from flowdapt_cli.reading.errors import UnreadableFile

from flowdapt.errors import InvalidInput
from flowdapt.resources import KINDS

WORKFLOW = """\
kind: workflow
metadata:
  name: tea
spec:
  stages:
    - name: boil
      target: kitchen.boil
"""


def faults(*paths: Path) -> list[str]:
    with pytest.raises(BadFiles) as refused:
        read(paths, KINDS)
    return list(refused.value.faults)


def test_a_misspelt_field_is_named_with_its_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "tea.yaml"
    file.write_text(WORKFLOW.replace("target", "targt"))

    found = faults(file)

    assert f"{file}:7: spec.stages.0.targt: unknown field" in found


def test_all_faults_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    one, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    one.write_text(WORKFLOW + "speck: 1\n")
    other.write_text(
        WORKFLOW.replace("boil\n      target", "boil\n      priority: soon\n      target")
    )

    found = faults(tmp_path)

    assert found[0] == f"{one}:8: speck: unknown field"
    assert found[1].startswith(f"{other}:7: spec.stages.0.priority: ")


def test_an_unknown_kind_is_named_with_those_that_are_near(tmp_path: Path) -> None:
    file = tmp_path / "tea.yaml"
    file.write_text(WORKFLOW.replace("workflow", "worklfow"))

    assert faults(file) == [
        f"{file}:1: kind: 'worklfow' is no kind of resource (did you mean 'workflow'?)"
    ]


def test_two_resources_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "tea.yaml"
    file.write_text(f"{WORKFLOW}---\n{WORKFLOW}")

    assert faults(file) == [f"{file}:9: workflow tea is also in {file}"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert faults(tmp_path / "none.yaml") == [
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    ]


def test_a_later_document_of_a_file_is_named_by_its_own_line(tmp_path: Path) -> None:
    file = tmp_path / "tea.yaml"
    file.write_text(f"{WORKFLOW}---\nkind: config\nmetadata: {{name: cups}}\nspec: {{}}\n")

    assert faults(file) == [f"{file}:11: spec.data: Field required"]


# Inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1e3", 1000.0),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ('"3"', "3"),
        ("Berlin", "Berlin"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("True", "True"),
        ("", ""),
    ],
)
def test_a_value_is_json_where_it_looks_like_it(text: str, value: object) -> None:
    assert values_of(None, ["--key", text]) == {"key": value}


def test_a_value_may_follow_an_equals_sign_and_a_key_may_have_dashes() -> None:
    assert values_of(None, ["--hold-out=5", "--name=a=b"]) == {"hold_out": 5, "name": "a=b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flag"], "--flag needs a value, such as --flag true"),
        (["--flag", "--n", "3"], "--flag needs a value, such as --flag true"),
        (["3"], "inputs are given as --key value, not as '3'"),
        (["-n3"], "inputs are given as --key value, not as '-n3'"),
        (["--n", "3", "--n", "4"], "--n is given twice; for a list write --n '[1, 2]'"),
    ],
)
def test_malformed_arguments_are_explained(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        values_of(None, arguments)

    assert str(refused.value) == message


def test_broken_json_is_not_taken_for_a_text() -> None:
    with pytest.raises(InvalidInput) as refused:
        values_of(None, ["--hours", "[1, 2"])

    assert str(refused.value).startswith("--hours begins like JSON and is none: ")
    assert str(refused.value).endswith("""for a text write --hours '"[1, 2"'""")


def test_arguments_win_over_an_input_file(tmp_path: Path) -> None:
    file = tmp_path / "input.yaml"
    file.write_text("n: 1\ncity: Oslo\n")

    assert values_of(str(file), ["--n", "2"]) == {"n": 2, "city": "Oslo"}


def test_an_input_file_has_to_hold_named_values(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text("[1, 2]")

    with pytest.raises(UnreadableFile, match="should hold"):
        values_of(str(file), [])
