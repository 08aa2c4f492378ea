"""Holds what ``hooks.py`` says of its hooks."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pluggy
import pytest

from flowdapt import hooks

SPECS = {
    name: spec
    for name, spec in vars(hooks).items()
    if inspect.isfunction(spec) and hasattr(spec, f"{hooks.NAMESPACE}_spec")
}


def test_every_function_named_like_a_hook_is_a_specification() -> None:
    tree = ast.parse(Path(hooks.__file__).read_text())

    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}

    assert {name for name in named if name.startswith("flowdapt")} == set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_carries_the_prefix_of_our_namespace(name: str) -> None:
    prefix, _, subject = name.partition("_")

    assert prefix == hooks.NAMESPACE
    assert subject.isidentifier()
    assert subject.islower()


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_says_when_it_is_called_and_what_it_takes_and_returns(name: str) -> None:
    text = inspect.getdoc(SPECS[name]) or ""
    parameters = inspect.signature(SPECS[name]).parameters

    assert "\nCalled " in text
    assert all(f":param {parameter}:" in text for parameter in parameters)
    assert (":return:" in text) == (SPECS[name].__annotations__["return"] != "None")


@pytest.mark.parametrize("name", SPECS)
def test_a_hook_that_offers_parts_has_a_plural_name_and_one_that_reacts_takes_something(
    name: str,
) -> None:
    offers = SPECS[name].__annotations__["return"] == "Iterable[Provider]"

    assert offers == name.endswith("s")
    assert offers == (not inspect.signature(SPECS[name]).parameters)


def test_pluggy_accepts_all_specifications() -> None:
    manager = pluggy.PluginManager(hooks.NAMESPACE)

    manager.add_hookspecs(hooks)

    assert {name for name, hook in vars(manager.hook).items() if hook.has_spec()} == set(SPECS)
