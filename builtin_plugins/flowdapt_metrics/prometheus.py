"""Metrics as the text that Prometheus scrapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate

from flowdapt_metrics.instruments import Attributes, Counter, Histogram, Instrument

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNITS = {"s": "_seconds", "ms": "_milliseconds", "By": "_bytes", "1": ""}
GENERAL = ("process.", "system.")  #: metrics that other programs have too; ours have our name

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def text(instruments: Iterable[Instrument]) -> str:
    """Return what the instruments show at present."""
    return "".join(f"{line}\n" for instrument in instruments for line in _lines(instrument))


def _lines(instrument: Instrument) -> Iterator[str]:
    name = _name(instrument)
    yield f"# HELP {name} {instrument.about}"
    if isinstance(instrument, Histogram):
        yield f"# TYPE {name} histogram"
        for attributes, row in instrument.rows.items():
            yield from _histogram(instrument, name, attributes, row)
        return
    yield f"# TYPE {name} {instrument.kind}"
    for attributes, (value,) in instrument.rows.items():
        yield f"{name}{_labels(attributes)} {value!r}"


def _histogram(
    instrument: Histogram, name: str, attributes: Attributes, row: list[float]
) -> Iterator[str]:
    bounds = [*map(str, instrument.bounds), "+Inf"]
    for bound, count in zip(bounds, accumulate(row[Histogram.BUCKETS :]), strict=True):
        yield f"{name}_bucket{_labels((*attributes, ('le', bound)))} {count!r}"
    yield f"{name}_sum{_labels(attributes)} {row[Histogram.SUM]!r}"
    yield f"{name}_count{_labels(attributes)} {row[Histogram.COUNT]!r}"


def _name(instrument: Instrument) -> str:
    ours = "" if instrument.name.startswith(GENERAL) else "flowdapt_"
    total = "_total" if isinstance(instrument, Counter) else ""
    return f"{ours}{_word(instrument.name)}{UNITS[instrument.unit]}{total}"


def _labels(attributes: Attributes) -> str:
    pairs = [f'{_word(name)}="{value.translate(_ESCAPES)}"' for name, value in attributes]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)
