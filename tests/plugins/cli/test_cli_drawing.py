"""What people see: results as tables, durations, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flowdapt_cli.output import harmless, note, say, yaml_of
from flowdapt_cli.progress import Stages
from flowdapt_cli.render import LONGEST, result
from flowdapt_cli.sizes import size
from flowdapt_cli.times import age, duration

Draw = Callable[[object], list[str]]


@pytest.fixture
def drawn(capsys: pytest.CaptureFixture[str]) -> Draw:
    """Draw a result, and return its lines."""

    def draw(value: object) -> list[str]:
        result(value)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return draw


def test_a_list_of_objects_is_a_table(drawn: Draw) -> None:
    lines = drawn([{"city": "Oslo", "t": 1.5}, {"city": "Rome", "t": 21.25}])

    assert lines == ["city      t", "Oslo   1.50", "Rome  21.25"]


def test_lists_of_objects_under_names_are_tables_with_titles(drawn: Draw) -> None:
    lines = drawn({"skill": [{"hour": 1}], "models": 3})

    assert lines == ["skill", "hour", "   1", "", "models: 3"]


def test_rows_need_not_have_the_same_keys(drawn: Draw) -> None:
    assert drawn([{"a": 1}, {"b": True}]) == ["a  b", "1", "   true"]


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ([0.123, 0.5], ["0.123", "0.500"]),
        ([1012.34, 2.0], ["1012.3", "2.0"]),
        ([0.00012345], ["0.000123"]),
        ([1.0, 2.0], ["1.0", "2.0"]),
        ([float("nan"), 1.25], ["nan", "1.25"]),
    ],
)
def test_the_numbers_of_a_column_have_the_digits_that_count(
    drawn: Draw, numbers: list[float], texts: list[str]
) -> None:
    lines = drawn([{"x": number} for number in numbers])

    assert [line.strip() for line in lines[1:]] == texts


def test_other_results_are_yaml_and_texts_are_themselves(drawn: Draw) -> None:
    assert drawn({"a": [1, 2]}) == ["a:", "- 1", "- 2"]
    assert drawn("two\nlines") == ["two", "lines"]
    assert drawn(3) == ["3"]
    assert drawn(None) == []


def test_markup_in_a_result_is_text_and_control_codes_are_not_obeyed(drawn: Draw) -> None:
    assert drawn([{"x": "[red]no[/red]\x1b[2J"}]) == ["x", "[red]no[/red]�[2J"]


@pytest.mark.parametrize(
    "control", ["\0", "\a", "\b", "\r", "\x1b[2J", "\x7f", "\x9b2J", "\x9d0;x"]
)
def test_a_terminal_obeys_nothing_that_stands_in_a_text(control: str) -> None:
    assert harmless(f"a\tb\n{control}c é") == f"a\tb\n�{control[1:]}c é"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_said_is_harmless_on_a_terminal_and_else_as_it_is(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)

    say("\x9b2J")
    note("\x9b2J")

    shown = "�2J\n" if terminal else "\x9b2J\n"
    assert capsys.readouterr() == (shown, shown)


def test_yaml_has_words_for_control_characters() -> None:
    assert yaml_of({"a": "\x1b[2J\x9b"}).isprintable()


def test_of_a_long_table_only_the_beginning_is_drawn(drawn: Draw) -> None:
    lines = drawn([{"i": i} for i in range(LONGEST + 7)])

    assert lines[-1] == "... and 7 more; -o json prints all"
    assert len(lines) == LONGEST + 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.012, "0.01 s"), (12.34, "12.3 s"), (185, "3m 05s"), (7260, "2h 01m")],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (90, "1m"), (7300, "2h"), (10**6, "11d")])
def test_an_age_is_rough(seconds: int, text: str) -> None:
    time = datetime.now(UTC) - timedelta(seconds=seconds)

    assert age(time.replace(tzinfo=None).isoformat()) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1.0 KiB"),
        (12_345, "12 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**53, "8,192 TiB"),
        (None, ""),
    ],
)
def test_a_size_has_the_unit_that_suits_it(count: int | None, text: str) -> None:
    assert size(count) == text


def test_without_a_terminal_each_stage_is_a_line_once_it_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = {"stage": "train", "state": "running", "items": 4, "items_done": 1}
    ended = running | {"state": "finished", "items_done": 4, "items_failed": 1}
    ended["result_bytes"] = 2_500_000

    with Stages(["load", "train"]) as stages:
        stages.show([running])
        stages.show([ended])
        stages.show([ended])

    assert capsys.readouterr().err == "train: finished, 4 items, 1 failed, 2.4 MiB\n"
