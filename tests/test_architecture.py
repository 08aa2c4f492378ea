"""Holds the shape of the house: what imports what, how much there is, and that it is explained."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parents[1]
KERNEL = sorted((HOUSE / "flowdapt").glob("*.py"))
LIBRARIES = {
    "flowdapt_sets",
    "flowdapt_workers",
}  #: and no plugins
PACKAGES = sorted(path.name for path in (HOUSE / "builtin_plugins").iterdir() if path.is_dir())
PLUGINS = [name for name in PACKAGES if name not in LIBRARIES]
SOURCES = [*KERNEL, *sorted((HOUSE / "builtin_plugins").rglob("*.py"))]

MOST_CODE = 3_000  #: lines of code in the whole kernel
MOST_LINES = 500  #: lines in one of its files
HEAVY = {"dask", "distributed", "httpx", "ray", "rich", "starlette", "typer", "uvicorn"}
VAGUE = {"utils", "util", "misc", "helpers", "common", "base", "manager", "methods"}
SILENT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """Return what a test of a file is called."""
    return str(path.relative_to(HOUSE))


def code_lines(source: str) -> int:
    """Return how many lines hold code: no blank ones, no comments, no docstrings."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | Definition) and ast.get_docstring(node, clean=False)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - docstrings)


def public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Yield the public classes and functions among statements."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


# What imports what


def test_the_contracts_on_imports_are_kept() -> None:
    program = Path(sys.executable).with_name("lint-imports")

    told = subprocess.run(
        [program, "--no-cache", "--config", HOUSE / "pyproject.toml"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr


def test_the_contracts_know_every_plugin_that_comes_with_flowdapt() -> None:
    with (HOUSE / "pyproject.toml").open("rb") as stream:
        settings = tomllib.load(stream)["tool"]["importlinter"]
    contracts = {contract["name"]: contract for contract in settings["contracts"]}
    forbidden = contracts["The kernel imports no plugin and no heavy library"]["forbidden_modules"]

    assert set(settings["root_packages"]) == {"flowdapt", *PACKAGES}
    assert contracts["Plugins never import one another"]["modules"] == PLUGINS
    assert set(forbidden) == {*PACKAGES, *HEAVY}


def test_the_whole_kernel_can_be_imported_without_any_heavy_library() -> None:
    names = [
        f"flowdapt.{path.stem}" for path in KERNEL if path.stem not in ("__init__", "__main__")
    ]
    code = f"import sys, {', '.join(names)}\nprint(*sys.modules)"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert loaded & {*HEAVY, *PACKAGES} == set()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_private_is_imported_from_another_module(path: Path) -> None:
    imports = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
    ]

    private = [
        f"{node.module}.{alias.name}"
        for node in imports
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]

    assert private == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_is_named_for_its_subject(path: Path) -> None:
    assert path.stem not in VAGUE or "flowdapt_compat" in path.parts  # earlier releases named those


# How much there is


def test_lines_of_code_are_counted_without_what_explains_them() -> None:
    text = '"""Doc.\n\nMore."""\n\n# why\nx = """a\nb"""\n'
    function = 'def f():\n    """Doc."""\n\n    return 1  # so\n'

    assert code_lines(text + function) == 4


def test_the_kernel_is_small() -> None:
    assert sum(code_lines(path.read_text()) for path in KERNEL) < MOST_CODE


@pytest.mark.parametrize("path", KERNEL, ids=name_of)
def test_no_file_of_the_kernel_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


# That it is explained


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is_about(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", KERNEL, ids=name_of)
def test_every_public_class_and_function_of_the_kernel_is_explained(path: Path) -> None:
    definitions = public(ast.parse(path.read_text()).body)

    silent = [node.name for node in definitions if not ast.get_docstring(node)]

    assert silent == []


@pytest.mark.parametrize("path", KERNEL, ids=name_of)
def test_every_public_method_of_the_kernel_is_explained_there_or_where_it_comes_from(
    path: Path,
) -> None:
    classes = [
        node for node in public(ast.parse(path.read_text()).body) if isinstance(node, ast.ClassDef)
    ]
    module: Any = importlib.import_module(f"flowdapt.{path.stem}") if classes else None

    silent = [
        f"{owner.name}.{node.name}"
        for owner in classes
        for node in public(owner.body)
        if not inspect.getdoc(getattr(getattr(module, owner.name), node.name))
    ]

    assert silent == []
