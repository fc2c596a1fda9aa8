"""The numbers as Prometheus scrapes them.

Owns: the driver `prometheus_client`. Law: a metric that a process has no number for is declared all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from catalyst_signals.histograms import SUM
from catalyst_signals.metrics import METRICS, Metric, Numbers

CONTENT_TYPE = CONTENT_TYPE_LATEST
_FAMILIES = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}


def exposition(of_each: Mapping[str, Numbers]) -> bytes:
    """All of it as text: of each process under its number, or of the only one under ""."""
    registry = CollectorRegistry()
    registry.register(_Collector(of_each))
    return generate_latest(registry)


class _Collector:
    """Every metric, once."""

    def __init__(self, of_each: Mapping[str, Numbers]) -> None:
        self._of_each = of_each

    def collect(self) -> Iterator[Family]:
        """One family a metric, with the numbers of all processes."""
        for metric in METRICS.values():
            yield (_histogram if metric.kind == "histogram" else _plain)(metric, self._of_each)


def _plain(metric: Metric, of_each: Mapping[str, Numbers]) -> Any:
    labelled = any(label for numbers in of_each.values() for label in numbers.get(metric.name, ()))
    labels = [*([metric.label] if labelled else []), *_process(of_each)]
    family: Any = _FAMILIES[metric.kind](metric.name, metric.text, labels=labels)
    for process, numbers in of_each.items():
        for label, value in numbers.get(metric.name, {}).items():
            family.add_metric([each for each in (label, process) if each], value)
    return family


def _histogram(metric: Metric, of_each: Mapping[str, Numbers]) -> Any:
    family = HistogramMetricFamily(metric.name, metric.text, labels=_process(of_each))
    for process, numbers in of_each.items():
        if values := numbers.get(metric.name):
            buckets = [(bound, count) for bound, count in values.items() if bound != SUM]
            family.add_metric([process] if process else [], buckets, values[SUM])
    return family


def _process(of_each: Mapping[str, Numbers]) -> list[str]:
    return [] if "" in of_each else ["process"]
