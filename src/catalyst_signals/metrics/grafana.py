"""A dashboard for Grafana, made of the declared metrics: `python -m catalyst_signals.metrics.grafana > FILE`.

Owns: how each kind of metric is asked for and drawn. Law: every metric has a panel in the row that it is declared in,
and a panel asks for nothing that is not declared.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from catalyst_signals.metrics import METRICS, Metric

SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, ACROSS = 8, 7, 3  # Of the 24 columns that Grafana has.
QUANTILES = (0.5, 0.99)
STATES = {"catalyst_ready": ("0", "NOT READY", "1", "ready")}
MATCHING = '{instance=~"$instance"}'


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; the same metrics make the same bytes."""
    return {
        "uid": "catalyst-signals", "title": "Catalyst", "tags": ["catalyst"], "timezone": "browser", "editable": True,
        "schemaVersion": 39, "version": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1, "annotations": {"list": []}, "links": [], "templating": {"list": _variables()},
        "panels": _panels(),
    }  # fmt: skip


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus", "current": {}},
        {
            "name": "instance", "type": "query", "label": "Server", "datasource": SOURCE, "includeAll": True,
            "multi": True, "current": {"text": "All", "value": "$__all"}, "refresh": 2,
            "definition": "label_values(catalyst_ready, instance)",
            "query": {"query": "label_values(catalyst_ready, instance)", "refId": "instance"},
        },
    ]  # fmt: skip


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in dict.fromkeys(metric.row for metric in METRICS.values()):
        metrics = [metric for metric in METRICS.values() if metric.row == row]
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row, "collapsed": False, "gridPos": place})
        for at, metric in enumerate(metrics):
            down, across = divmod(at, ACROSS)
            place = {"h": HEIGHT, "w": WIDTH, "x": across * WIDTH, "y": top + 1 + down * HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(metric)})
        top += 1 + HEIGHT * -(-len(metrics) // ACROSS)
    return panels


def _panel(metric: Metric) -> dict[str, Any]:
    return {
        "type": "stat" if metric.name in STATES else "timeseries", "title": _title(metric), "datasource": SOURCE,
        "description": f"{metric.exposed}: {metric.text}", "targets": _targets(metric),
        "fieldConfig": {"defaults": {"unit": _unit(metric), **_colours(metric)}, "overrides": []},
    }  # fmt: skip


def _title(metric: Metric) -> str:
    words = metric.name.removeprefix("catalyst_").removesuffix("_seconds").replace("_", " ")
    return words[0].upper() + words[1:] + (" a second" if metric.kind == "counter" else "")


def _unit(metric: Metric) -> str:
    if metric.kind == "counter":
        return "cps"
    endings = {"_seconds": "s", "_bytes": "bytes", "_ratio": "percentunit"}
    return next((unit for ending, unit in endings.items() if metric.name.endswith(ending)), "short")


def _colours(metric: Metric) -> dict[str, Any]:
    if metric.name not in STATES:
        return {}
    bad, bad_text, good, good_text = STATES[metric.name]
    options = {bad: {"text": bad_text, "color": "red"}, good: {"text": good_text, "color": "green"}}
    return {"mappings": [{"type": "value", "options": options}]}


def _targets(metric: Metric) -> list[dict[str, Any]]:
    """What Prometheus is asked: quantiles of a histogram, the rate of a counter, and a gauge as it is."""
    name, labels = metric.exposed + MATCHING, f"instance{', ' + metric.label if metric.label else ''}"
    legend = "{{instance}}" + (f" {{{{{metric.label}}}}}" if metric.label else "")
    if metric.kind == "histogram":
        bucket = f"rate({metric.name}_bucket{MATCHING}[$__rate_interval])"
        asked = [
            (f"histogram_quantile({each}, sum by (le, instance) ({bucket}))", f"p{each * 100:g} {{{{instance}}}}")
            for each in QUANTILES
        ]
    elif metric.kind == "counter":
        asked = [(f"sum by ({labels}) (rate({name}[$__rate_interval]))", legend)]
    else:
        asked = [(f"{_over_processes(metric)} by ({labels}) ({name})", legend)]
    return [
        {"refId": chr(65 + at), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
        for at, (expr, legend) in enumerate(asked)
    ]


def _over_processes(metric: Metric) -> str:
    """Several processes on one port share a log: what is of the log is told by each of them."""
    of_the_log = {"catalyst_channel_head", "catalyst_workers_lost", "catalyst_durability", "catalyst_version"}
    if metric.name == "catalyst_ready":
        return "min"
    return "max" if metric.of_all == "max" or metric.name in of_the_log or "_ratio" in metric.name else "sum"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
