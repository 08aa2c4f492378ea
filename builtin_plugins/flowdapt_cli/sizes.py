"""Sizes as people read them."""

from __future__ import annotations

STEP = 1024
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
PRECISE = 10  #: below which a tenth is shown


def size(count: int | None) -> str:
    """Return how many bytes there are, such as ``512 B``, ``1.5 KiB`` or ``12 MiB``.

    :param count: where it is not known, nothing is returned
    """
    if count is None:
        return ""
    amount, unit = float(count), 0
    # Not at 1024: what would be rounded up to that is 1.0 of the next unit.
    while amount >= STEP - 0.5 and unit < len(UNITS) - 1:
        amount, unit = amount / STEP, unit + 1
    return f"{amount:,.{1 if unit and amount < PRECISE else 0}f} {UNITS[unit]}"
