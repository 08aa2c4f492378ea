from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from flowdapt_cli.reading import files
from flowdapt_cli.reading.errors import UnreadableFile

from flowdapt.errors import InvalidResource, ResourceError

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW = """\
# a forecast
version: v1alpha1
kind: workflow
metadata:
  name: forecast
spec:
  stages:
    - name: load
      target: work.load
    - name: train
      depends_on: [load]
"""


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(path: Path, text: str | None = None, **environ: str) -> str:
    if text is not None:
        written(path, text)
    with pytest.raises(ResourceError) as caught:
        files.read(path, environ=environ)
    return str(caught.value).replace(f"{path.parent}{os.sep}", "")


def parsed(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    return [document.data for document in files.parse(text, tmp_path / "some.yaml")]


# What is read --------------------------------------------------------------------------------


def test_a_file_holds_a_resource_without_its_version(tmp_path: Path) -> None:
    path = written(tmp_path / "workflow.yaml", WORKFLOW)

    [document] = files.read(path)

    assert list(document.data) == ["kind", "metadata", "spec"]
    assert document.where == str(path)


def test_a_file_holds_several_documents_and_empty_ones_are_passed_over(tmp_path: Path) -> None:
    path = written(
        tmp_path / "all.yaml", f"---\n{WORKFLOW}---\n---\n# nothing\n---\nkind: config\n"
    )

    first, second = files.read(path)

    assert first.where == str(path)
    assert second.where == f"{path}:17"
    assert second.data == {"kind": "config"}
    assert second.line(("kind",)) == 17


def test_a_json_file_is_read_and_knows_its_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "w.json", json.dumps({"kind": "config", "a": {"b": 1}}, indent="\t"))

    [document] = files.read(path)

    assert document.data == {"kind": "config", "a": {"b": 1}}
    assert document.line(("a", "b")) == 4


def test_a_json_file_that_is_no_yaml_is_read_without_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "w.json", json.dumps({"kind": "config", "a": "\N{OWL}"}))

    [document] = files.read(path)

    assert document.data["a"] == "\N{OWL}"
    assert document.line(("a",)) is None
    assert document.at(("a",)) == str(path)


def test_a_line_is_that_of_the_field_or_of_what_should_hold_it(tmp_path: Path) -> None:
    [document] = files.parse(WORKFLOW, tmp_path / "w.yaml")

    assert document.line(("spec", "stages", 1, "depends_on")) == 11
    assert document.line(("spec", "stages", 1, "target")) == 10
    assert document.line(("spec", "stages", "1", "depends_on", 0)) == 11
    assert document.line(("metadata", "annotations")) == 4
    assert document.line(()) == 1


def test_a_folder_is_read_by_name_with_the_folders_in_it(tmp_path: Path) -> None:
    for name in ("b.yml", "a/z.yaml", "a/c.json"):
        written(tmp_path / name, json.dumps({"kind": "config", "name": name}))

    found = files.read(tmp_path)

    assert [document.data["name"] for document in found] == ["a/c.json", "a/z.yaml", "b.yml"]


def test_a_folder_may_hold_other_files(tmp_path: Path) -> None:
    written(tmp_path / "w.yaml", WORKFLOW)
    for name in (".git/a.yaml", "node_modules/a.yaml", "__pycache__/a.yaml", "venv/lib/a.yaml"):
        written(tmp_path / name, WORKFLOW)
    written(tmp_path / "venv/pyvenv.cfg", "")
    written(tmp_path / "notes.txt", "kind: none")
    written(tmp_path / "mkdocs.yaml", "plugin: !!python/name:material.x\n")
    written(tmp_path / "package.json", '{"a": "kind"}')
    written(tmp_path / "list.yaml", "- 1\n")

    found = files.read(tmp_path)

    assert [document.path.name for document in found] == ["w.yaml"]


def test_an_alias_and_a_merge_give_plain_data(tmp_path: Path) -> None:
    text = "base: &base {cpus: 1, gpus: 0}\nbig:\n  <<: *base\n  cpus: 4\n"

    [document] = files.parse(text, tmp_path / "w.yaml")

    assert document.data["big"] == {"cpus": 4, "gpus": 0}
    assert document.line(("big", "cpus")) == 4
    assert document.line(("big", "gpus")) == 1


def test_dates_operators_and_keys_are_text_as_written(tmp_path: Path) -> None:
    [data] = parsed(tmp_path, "day: 2024-01-01\nop: =\non: yes\n1: one\n")

    assert data == {"day": "2024-01-01", "op": "=", "on": True, "1": "one"}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(WORKFLOW, "utf-8-sig")

    assert files.read(path)[0].data["kind"] == "workflow"


# Expressions ---------------------------------------------------------------------------------


def test_expressions_look_into_the_environment_the_document_and_files_beside_it(
    tmp_path: Path,
) -> None:
    written(tmp_path / "lib/shared.toml", "[sizes]\nsmall = 2\n")
    text = (
        "kind: config\nhost: $env{HOST}\na: ['$ref{host}', '$ref{lib/shared.toml|sizes.small}']\n"
    )
    path = written(tmp_path / "w.yaml", text)

    [document] = files.read(path, environ={"HOST": "example.org"})

    assert document.data == {"kind": "config", "host": "example.org", "a": ["example.org", 2]}


def test_an_expression_that_cannot_be_resolved_names_file_line_and_field(tmp_path: Path) -> None:
    path = written(tmp_path / "w.yaml", "kind: config\nspec:\n  host: $env{HOST}\n")

    with pytest.raises(InvalidResource) as caught:
        files.read(path, environ={})

    assert str(caught.value) == (
        f"{path}:3: spec.host: $env{{HOST}}: no variable named 'HOST' is set; "
        "set it, or write $env{HOST,default}"
    )
    assert caught.value.errors[0]["loc"] == ("spec", "host")


def test_files_that_refer_to_one_another_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "b.yaml", "a: $ref{a.yaml|b}\n")

    message = refusal(tmp_path / "a.yaml", "kind: config\nb: $ref{b.yaml|a}\n")

    assert message.startswith("a.yaml:2: b: $ref{b.yaml|a}: b.yaml:1: a: $ref{a.yaml|b}: a.yaml")
    assert message.endswith("refers to itself by way of other files")


# What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "kind: a: b\n",
            "w.yaml:1:8: malformed YAML: no key may stand here; check the indentation, "
            "quote texts with ': '; found 'kind: a: b'",
        ),
        (
            "kind: config\nspec:\n\ta: 1\n",
            "w.yaml:3:1: malformed YAML: indent with spaces, and quote a text that begins like "
            "this; found 'a: 1'",
        ),
        (
            "kind: config\nspec: 'never\nclosed: 1\n",
            'w.yaml:2:7: malformed YAML: a quote is never closed; found "spec: \'never"',
        ),
        (
            "kind: [1, 2\nspec: 3\n",
            "w.yaml:2:5: malformed YAML: a bracket is never closed, or a text inside it needs "
            "quotes; found 'spec: 3'",
        ),
        (
            "kind: config\nspec: [1\n",
            "w.yaml:3:1: malformed YAML: a bracket is never closed, or a text inside it needs "
            "quotes; found the end of the file",
        ),
        (
            "kind: config\nspec: a\x00\n",
            "w.yaml:2:8: malformed YAML: control characters are not allowed; found 'spec: a\\x00'",
        ),
        (
            "kind: config\nspec: *base\n",
            "w.yaml:2:7: malformed YAML: found undefined alias; found 'spec: *base'",
        ),
        (
            "kind: config\nspec:\n  a: 1\n  b: 2\n  a: 3\n",
            "w.yaml:5: key 'a' appears twice, first on line 3",
        ),
        ("? [a]\n: 1\n", "w.yaml:1: a key should be a text, not a list or a mapping"),
        (
            "kind: config\na: !!python/name:os.system\n",
            "w.yaml:2: the tag !!python/name:os.system is not plain data; write a text instead",
        ),
        (
            "kind: config\na: !!bool maybe\n",
            "w.yaml: holds a malformed value: 'maybe'",
        ),
        ("kind: &a\n  b: *a\n", "w.yaml:1: a value that holds itself"),
        (
            "name: x\n",
            "w.yaml: is no resource; it needs a `kind`, such as `kind: workflow`",
        ),
        (
            "kind: config\n---\nname: x\n",
            "w.yaml:3: is no resource; it needs a `kind`, such as `kind: workflow`",
        ),
        ("- 1\n", "w.yaml: should hold `name: value`, not only a list"),
        ("# nothing\n", "w.yaml: is empty; it should hold a resource"),
    ],
)
def test_a_yaml_file_is_refused_with_place_and_reason(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert refusal(tmp_path / "w.yaml", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"kind": "config",\n "a": }',
            "w.json:2:7: malformed JSON: expecting value; found '\"a\": }'",
        ),
        ('{"kind": 1,\n "kind": 2}', "w.json:2: key 'kind' appears twice, first on line 1"),
        ("[1]", "w.json: should hold `name: value`, not only a list"),
        ("", "w.json: is empty; it should hold a resource"),
    ],
)
def test_a_json_file_is_refused_with_place_and_reason(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert refusal(tmp_path / "w.json", text) == expected


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"kind: caf\xe9\n")

    assert refusal(tmp_path / "gone.yaml") == "gone.yaml: cannot be read: No such file or directory"
    assert refusal(tmp_path / "latin.yaml") == "latin.yaml: not UTF-8 text (byte 9)"
    assert refusal(tmp_path / "w.txt", WORKFLOW) == "w.txt: should end in one of .yaml, .yml, .json"


def test_aliases_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    lines = ["kind: config", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    message = refusal(tmp_path / "w.yaml", "\n".join(lines))

    assert message == "w.yaml:7: more than 1,000,000 values, where each use of an alias counts"


@pytest.mark.parametrize("name", ["w.yaml", "w.json"])
def test_a_text_nested_too_deeply_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path / name, '{"kind": ' + "[" * 100_000)

    assert message == f"{name}: nested too deeply"


# Editing -------------------------------------------------------------------------------------


def test_a_single_value_is_exchanged_with_all_else_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path / "s.yaml", "# top\na:\n  b: 1  # why\nc: 'x'  # so\n")

    with files.editing(path) as data:
        data["a"]["b"] = "two: three"

    assert path.read_text() == "# top\na:\n  b: 'two: three'  # why\nc: 'x'  # so\n"


def test_an_empty_value_is_exchanged_too(tmp_path: Path) -> None:
    path = written(tmp_path / "s.yaml", "a:\nb: 1 # so\n")

    with files.editing(path) as data:
        data["a"] = 5

    assert path.read_text() == "a: 5\nb: 1 # so\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1  # one\n", "a: 1  # one\np:\n  d: [x, y]\n"),
        ("a: 1  # one", "a: 1  # one\np:\n  d: [x, y]\n"),
        ("p:  # ours\n  e: 1\n  # why\nb: 2\n", "p:  # ours\n  e: 1\n  d: [x, y]\n  # why\nb: 2\n"),
        ("p: {e: 1}  # ours\n", "p: {d: [x, y], e: 1}  # ours\n"),
        ("p: {}  # ours\n", "p: {d: [x, y]}  # ours\n"),
        (
            "p:\n  d:  # ours\n  - z\n  # why\nb: 2\n",
            "p:\n  d:  # ours\n  - x\n  - y\n  # why\nb: 2\n",
        ),
        ("p:\n  d: [z]  # ours\n", "p:\n  d: [x, y]  # ours\n"),
        ("p:\n  d: z  # ours\n", "p:\n  d: [x, y]  # ours\n"),
        ("# ours\n", "# ours\np:\n  d:\n  - x\n  - y\n"),
    ],
)
def test_a_list_is_put_into_yaml_and_comments_stay(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = written(tmp_path / "s.yaml", text)

    with files.editing(path) as data:
        data["p"] = {**data.get("p", {}), "d": ["x", "y"]}

    assert path.read_text() == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s.yaml", "# top\na: {b: 1}\nc: [x, y]\n"),
        ("s.json", '{\n  "a": {\n    "b": 1\n  },\n  "c": [\n    "x",\n    "y"\n  ]\n}\n'),
        ("s.toml", '# top\na.b = 1\nc = ["x", "y"]\n'),
    ],
)
def test_a_file_is_written_in_its_own_format(tmp_path: Path, name: str, expected: str) -> None:
    old = {"s.yaml": "# top\na: {b: 1}\n", "s.json": '{"a":{"b":1}}', "s.toml": "# top\n[a]\nb=1\n"}
    path = written(tmp_path / name, old[name])

    with files.editing(path) as data:
        data["c"] = ["x", "y"]

    assert path.read_text() == expected


def test_a_file_is_made_where_it_is_missing_and_a_link_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(tmp_path / "real.yaml")

    with files.editing(link) as data:
        data["a"] = 1

    assert link.is_symlink()
    assert (tmp_path / "real.yaml").read_text() == "a: 1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_an_edit_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path / "s.toml", "a = 1\n")

    with pytest.raises(UnreadableFile) as caught, files.editing(path) as data:
        data["b"] = None

    assert str(caught.value) == f"{path}: cannot be edited without loss; change it by hand"
    assert path.read_text() == "a = 1\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as caught:
        files.write(tmp_path / "gone" / "s.yaml", "a: 1")

    assert str(caught.value).endswith("s.yaml: cannot be written: No such file or directory")
