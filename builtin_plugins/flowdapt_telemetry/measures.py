"""The server's metrics, as OpenTelemetry has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from flowdapt_telemetry.spans import SCOPE

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

#: Where the numbers of a histogram stand in a row; those of its buckets follow.
COUNT, SUM, LEAST, MOST, BUCKETS = range(5)


class Instrument(Protocol):
    """A named measure of the service ``metrics``, whatever plugin brings that."""

    name: str
    unit: str
    about: str
    kind: str  #: ``gauge``, ``counter`` or ``histogram``
    bounds: Sequence[float]  #: of a histogram
    rows: Mapping[tuple[tuple[str, str], ...], Sequence[float]]  #: numbers by their attributes


class Measuring(Protocol):
    """The service ``metrics``, as far as it is needed here."""

    begun: int  #: since when it counts, in nanoseconds since 1970
    instruments: Iterable[Instrument]


def metrics_data(measuring: Measuring, resource: Resource, now: int) -> MetricsData:
    """Return what the instruments show at present.

    :param now: in nanoseconds since 1970
    """
    found = [_metric(one, measuring.begun, now) for one in measuring.instruments]
    scope = ScopeMetrics(SCOPE, [metric for metric in found if metric.data.data_points], "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(instrument: Instrument, begun: int, now: int) -> Metric:
    make = _DATA[instrument.kind]
    return Metric(instrument.name, instrument.about, instrument.unit, make(instrument, begun, now))


def _gauge(instrument: Instrument, begun: int, now: int) -> Gauge:
    return Gauge(_numbers(instrument, begun, now))


def _counter(instrument: Instrument, begun: int, now: int) -> Sum:
    points = _numbers(instrument, begun, now)
    return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)


def _histogram(instrument: Instrument, begun: int, now: int) -> Histogram:
    points = [
        HistogramDataPoint(
            attributes=dict(attributes),
            start_time_unix_nano=begun,
            time_unix_nano=now,
            count=int(row[COUNT]),
            sum=row[SUM],
            bucket_counts=[int(number) for number in row[BUCKETS:]],
            explicit_bounds=[*instrument.bounds],
            min=row[LEAST],
            max=row[MOST],
        )
        for attributes, row in instrument.rows.items()
        if row[COUNT]  # before the first value there is no least and no most
    ]
    return Histogram(points, AggregationTemporality.CUMULATIVE)


def _numbers(instrument: Instrument, begun: int, now: int) -> list[NumberDataPoint]:
    return [
        NumberDataPoint(dict(attributes), begun, now, row[0])
        for attributes, row in instrument.rows.items()
    ]


_DATA: dict[str, Any] = {"gauge": _gauge, "counter": _counter, "histogram": _histogram}
