"""Families of metrics in the Prometheus format, made of plain numbers when they are read."""

from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the histograms, in seconds."""

Labels = tuple[str, ...]


class Durations:
    """A histogram over BUCKETS."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Each bound with the number of durations up to it, and the sum of all durations."""
        total, buckets = 0, []
        for bound, count in zip((*BUCKETS, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return buckets, self._sum


def counter(name: str, help_text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    """`name` without the prefix that all of ours bear."""
    family = CounterMetricFamily(f"relaypost_{name}", help_text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def gauge(name: str, help_text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(f"relaypost_{name}", help_text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def histogram(name: str, help_text: str, labels: Labels, values: Iterable[tuple[Labels, Durations]]) -> Metric:
    family = HistogramMetricFamily(f"relaypost_{name}", help_text, labels=labels)
    for key, durations in values:
        buckets, total = durations.cumulative()
        family.add_metric(key, buckets, total)
    return family
