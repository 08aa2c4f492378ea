"""A stage's function: how it is found."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from flowdapt_workers.targets import Parameterized, Simple, resolve

from flowdapt.errors import TargetNotFound

WriteModule = Callable[[str, str], None]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Write modules that can be imported until the test ends; dots in a name make packages."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, source: str) -> None:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))

    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def refusal(target: str) -> TargetNotFound:
    """Return what is raised for a target that cannot be found."""
    with pytest.raises(TargetNotFound) as caught:
        resolve(target)
    assert caught.value.target == target
    return caught.value


# How the function is found


def test_a_target_is_found_by_its_import_path() -> None:
    assert resolve("os.path.join") is __import__("os").path.join


def test_a_target_that_is_a_function_is_itself() -> None:
    assert resolve(math.sqrt) is math.sqrt


def test_both_kernel_types_call_the_target_and_one_maps() -> None:
    assert Simple().function("math.sqrt", {}) is math.sqrt
    assert Parameterized().function("math.sqrt", {}) is math.sqrt
    assert (Simple.mapped, Parameterized.mapped) == (False, True)


def test_a_missing_module_is_named_and_may_come_later() -> None:
    error = refusal("no_such_farm.load")

    assert str(error) == (
        "target 'no_such_farm.load' cannot be imported: there is no module 'no_such_farm'"
    )
    assert not error.mistyped


def test_a_missing_part_of_a_package_is_named(write_module: WriteModule) -> None:
    write_module("farm_p.__init__", "")

    assert refusal("farm_p.stages.load").reason == "there is no module 'farm_p.stages'"


def test_a_module_that_lacks_what_it_imports_is_told_from_a_missing_one(
    write_module: WriteModule,
) -> None:
    write_module("farm_q", "import no_such_library")

    assert refusal("farm_q.load").reason == "its module needs 'no_such_library'"


def test_a_mistyped_name_is_refused_with_the_nearest_ones(write_module: WriteModule) -> None:
    write_module("farm_n", "NUMBER = 5\ndef load(): ...\ndef loads(): ...\ndef train(): ...")

    error = refusal("farm_n.laod")

    assert error.reason == "module 'farm_n' has no 'laod' (did you mean 'load' or 'loads'?)"
    assert error.mistyped


def test_what_is_no_function_is_refused_with_what_it_is(write_module: WriteModule) -> None:
    write_module("farm_c", "load = 5")

    error = refusal("farm_c.load")

    assert error.reason == "it is a int, not a function"
    assert error.mistyped


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "importing farm_x raised ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('bye')", "importing farm_x raised SystemExit: bye"),
        ("def load(:", "importing farm_x raised SyntaxError: "),
        ("raise ModuleNotFoundError('mine')", "importing farm_x raised ModuleNotFoundError: mine"),
        ("class Odd(BaseException): ...\nraise Odd(5)", "importing farm_x raised Odd: 5"),
        (
            "class Mute(Exception):\n    def __str__(self): 1 / 0\nraise Mute",
            "importing farm_x raised Mute: <Mute that cannot be shown>",
        ),
        (
            "def __getattr__(name): raise ImportError(f'no {name}')",
            "importing farm_x raised ImportError: no load",
        ),
    ],
)
def test_whatever_a_module_does_while_it_is_imported_is_reported(
    write_module: WriteModule, source: str, reason: str
) -> None:
    write_module("farm_x", source)

    error = refusal("farm_x.load")

    assert error.reason.startswith(reason)
    assert not error.mistyped


def test_an_interrupt_while_a_module_is_imported_is_passed_on(write_module: WriteModule) -> None:
    write_module("farm_i", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        resolve("farm_i.load")
