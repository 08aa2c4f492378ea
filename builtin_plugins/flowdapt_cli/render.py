"""Draws tables on the terminal."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowdapt_cli.output import dump, harmless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PIPE_COLUMNS = 1000  #: so that nothing is cut off where no terminal has a width
DIGITS, MOST_DIGITS = 4, 6  #: of numbers in tables: that count, and behind the point
LONGEST = 50  #: rows of a result; of more, only the first are shown

_STYLES = {
    **dict.fromkeys(("finished", "healthy", "OK", "created"), "green"),
    **dict.fromkeys(("failed", "quarantined", "NOT_OK"), "red"),
    **dict.fromkeys(("cancelled", "incompatible", "disabled", "deleted"), "yellow"),
    **dict.fromkeys(("running", "changed"), "cyan"),
    "skipped": "blue",
}


def console(*, stderr: bool = False) -> Console:
    """Return where to draw; in a pipe it is wide, and without colours."""
    drawn = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not drawn.is_terminal:
        drawn.width = PIPE_COLUMNS
    return drawn


def table(rows: Sequence[Mapping[str, Any]], *, title: str | None = None) -> None:
    """Draw rows under the names of their values; numbers stand to the right."""
    if title:
        console().print(Text(title, style="bold underline"))
    console().print(drawn_table(rows))


def drawn_table(rows: Sequence[Mapping[str, Any]], *, folded: bool = True) -> Table:
    """Return what :func:`table` draws.

    :param folded: whether what does not fit goes on in the next line; or else it is cut off
    """
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns: list[Any] = []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        numeric = all(value is None or _is_number(value) for value in values)
        justify: Any = "right" if numeric else "left"
        # What stands first is what people copy.
        first = not columns
        drawn.add_column(
            Text(_plain(name)),
            justify=justify,
            overflow="fold" if folded else "ellipsis",
            no_wrap=first or not folded,
        )
        columns.append(_column(values))
    for cells in zip(*columns, strict=True):
        drawn.add_row(*cells)
    return drawn


def facts(pairs: Mapping[str, Any]) -> None:
    """Draw names and values, one pair a line."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in pairs.items():
        drawn.add_row(Text(_plain(name)), _column([value])[0])
    console().print(drawn)


def result(value: Any) -> None:
    """Draw the result of a run: lists of objects as tables, everything else as YAML."""
    if _is_table(value):
        _part(value)
    elif isinstance(value, dict) and any(map(_is_table, value.values())):
        for name, part in value.items():
            if _is_table(part):
                _part(part, title=str(name))
            else:
                dump({name: part}, "yaml")
    elif isinstance(value, str):
        console().print(Text(_plain(value)), soft_wrap=True)
    elif value is not None:
        dump(value, "yaml")


def _part(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    table(rows[:LONGEST], title=title)
    if len(rows) > LONGEST:
        console().print(f"... and {len(rows) - LONGEST:,} more; -o json prints all")
    if title:
        console().print()


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _column(values: Sequence[Any]) -> list[Text]:
    """Return cells; the numbers of a column have the same digits behind the point."""
    digits = _digits([v for v in values if isinstance(v, float) and math.isfinite(v)])
    cells = []
    for value in values:
        text = f"{value:.{digits}f}" if isinstance(value, float) else _plain(value)
        cells.append(Text(text, style=_STYLES.get(text, "")))
    return cells


def _digits(numbers: Sequence[float]) -> int:
    """Return how many digits behind the point tell the largest number well, and no zeros more."""
    largest = max(map(abs, numbers), default=0.0)
    if not largest:
        return 1
    most = min(MOST_DIGITS, max(1, DIGITS - 1 - math.floor(math.log10(largest))))
    return next(
        (d for d in range(1, most) if all(round(n, d) == round(n, most) for n in numbers)), most
    )


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, list, dict)):
        value = json.dumps(value, ensure_ascii=False)
    return harmless(str(value))
