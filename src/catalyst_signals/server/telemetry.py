"""Errors to Sentry, traces and numbers to OpenTelemetry: each switched on by one setting.

Owns: both libraries, which are loaded only then, and that no secret goes out through them. Law: neither may delay or
fail anything; what they cannot deliver they drop.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from catalyst_signals.about import about
from catalyst_signals.errors import MissingDriver
from catalyst_signals.events import Batch
from catalyst_signals.histograms import INFINITE, SUM
from catalyst_signals.metrics import METRICS, Metric, Numbers
from catalyst_signals.publish import Appends, Result
from catalyst_signals.server.logs import blanked
from catalyst_signals.server.readiness import version
from catalyst_signals.server.settings import Settings

log = logging.getLogger("catalyst.telemetry")

EVERY_S = 15.0  # Between two exports of the numbers.
EXPORT_S = 3.0
FLUSH_S = 2.0
NAME = "catalyst"
# FastAPI's own switches would send a webhook's path as it is.
NO_TRACES: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


# -- Sentry -----------------------------------------------------------------------------------------------------------


def tell_sentry(settings: Settings) -> None:
    """Every ERROR and CRITICAL line goes to Sentry from here on, with its traceback, if `sentry_dsn` is set.

    No variables, bodies, addresses or arguments go along: they hold what is nobody's business.

    Raises:
        MissingDriver: the extra `sentry` is not installed.
    """
    if not settings.sentry_dsn:
        return
    sentry = _load("sentry_sdk", "sentry_dsn", "sentry")
    from sentry_sdk.integrations.logging import LoggingIntegration

    sentry.init(
        dsn=settings.sentry_dsn, release=f"{NAME}@{version()}", server_name=settings.node,
        default_integrations=False, auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=logging.WARNING, event_level=logging.ERROR)],
        send_default_pii=False, include_local_variables=False, max_request_body_size="never", before_send=_seen,
    )  # fmt: skip


def flush() -> None:
    """What Sentry was told is out, as far as that takes two seconds; before the process ends."""
    sentry = _loaded("sentry_sdk")
    if sentry is not None:
        sentry.flush(timeout=FLUSH_S)


def _seen(event: Any, hint: Any) -> Any:
    """The event without secrets, and with the ids of whoever was dealt with."""
    return _clean(event | {"tags": {**(event.get("tags") or {}), **about()}})


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return blanked(value)
    if isinstance(value, dict):
        return {name: _clean(each) for name, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list | tuple) else value


# -- OpenTelemetry ----------------------------------------------------------------------------------------------------


class Telemetry:
    """Traces of requests and commits, and every metric, to `otlp_endpoint` over HTTP.

    Credentials (`OTEL_EXPORTER_OTLP_HEADERS`), sampling (`OTEL_TRACES_SAMPLER`) and `OTEL_RESOURCE_ATTRIBUTES` are read
    from the environment by the library, as everywhere.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is sent before `run` and the first request.

        Raises:
            MissingDriver: the extra `otel` is not installed.
        """
        for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
            _load(name, "otlp_endpoint", "otel")
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        base = settings.otlp_endpoint.rstrip("/")
        who = {"service.name": NAME, "service.version": version(), "service.instance.id": settings.node}
        self._resource = Resource.create(who)
        self._metrics = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=EXPORT_S)
        self._provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._provider.add_span_processor(_blanker())
        traces = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=EXPORT_S)
        self._provider.add_span_processor(BatchSpanProcessor(traces))
        self._tracer = self._provider.get_tracer(NAME)
        self._began_ns = time.time_ns()

    @property
    def of_http(self) -> Any:
        """How FastAPI traces its requests: a span each, under the route's template."""
        return {
            "tracer_provider": self._provider, "metrics": False, "logs": False, "operation_spans": False,
            "auto_configure": False,
        }  # fmt: skip

    def traced(self, appends: Appends) -> Appends:
        """The same, with a span for each commit."""
        return _TracedAppends(appends, self._tracer)

    async def run(self, numbers: Callable[[], Numbers]) -> None:
        """Send the numbers for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.send(numbers())

    async def send(self, numbers: Numbers) -> None:
        """Send the numbers now. The library says in the log when they do not arrive."""
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        now_ns = time.time_ns()
        found = [_otlp(METRICS[name], values, self._began_ns, now_ns) for name, values in numbers.items() if values]
        scope = ScopeMetrics(InstrumentationScope(NAME, version()), found, "")
        await asyncio.to_thread(self._metrics.export, MetricsData([ResourceMetrics(self._resource, [scope], "")]))

    async def close(self, numbers: Numbers) -> None:
        """What there is goes out, as far as that takes two seconds."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self.send(numbers)
                await asyncio.to_thread(self._provider.force_flush, int(FLUSH_S * 1000))
        except TimeoutError:
            log.warning("the last traces and numbers could not be sent")


class _TracedAppends:
    """A commit is of many requests and so has a trace of its own."""

    def __init__(self, appends: Appends, tracer: Any) -> None:
        self._appends = appends
        self._tracer = tracer

    async def append(self, batches: Sequence[Batch]) -> Result:
        """Appends.append"""
        from opentelemetry.context import Context

        said = {"catalyst.batches": len(batches), "catalyst.drafts": sum(len(batch.drafts) for batch in batches)}
        with self._tracer.start_as_current_span("store.append", Context(), attributes=said):
            return await self._appends.append(batches)


def _blanker() -> Any:
    """What takes secrets out of a span before it goes anywhere: the path of a webhook holds one."""
    from opentelemetry.sdk.trace import SpanProcessor

    class Blanker(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            """FastAPI gives a request's path and query here, and nothing of them later."""
            for name, value in (span.attributes or {}).items():
                if isinstance(value, str) and blanked(value) != value:
                    span.set_attribute(name, blanked(value))
            for name, value in about().items():
                span.set_attribute(f"catalyst.{name}", value)

    return Blanker()


def _otlp(metric: Metric, values: dict[str, float], began_ns: int, now_ns: int) -> Any:
    """A metric in the library's own form. Counters and histograms count from the start of the process."""
    from opentelemetry.sdk.metrics import export as otlp

    unit = "s" if metric.name.endswith("_seconds") else "By" if metric.name.endswith("_bytes") else "1"
    cumulative = otlp.AggregationTemporality.CUMULATIVE
    if metric.kind == "histogram":
        return otlp.Metric(
            metric.name, metric.text, unit, otlp.Histogram([_histogram(values, began_ns, now_ns)], cumulative)
        )
    points = [
        otlp.NumberDataPoint({metric.label: label} if label else {}, began_ns, now_ns, value)
        for label, value in values.items()
    ]
    kept = otlp.Sum(points, cumulative, True) if metric.kind == "counter" else otlp.Gauge(points)
    return otlp.Metric(metric.name, metric.text, unit, kept)


def _histogram(values: dict[str, float], began_ns: int, now_ns: int) -> Any:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    up_to = [int(count) for bound, count in values.items() if bound != SUM]
    counts = [count - before for count, before in zip(up_to, [0, *up_to], strict=False)]
    bounds = [float(bound) for bound in values if bound not in (SUM, INFINITE)]
    unknown: Any = None  # The least and the most are not kept.
    return HistogramDataPoint({}, began_ns, now_ns, up_to[-1], values[SUM], counts, bounds, unknown, unknown)


# -- the libraries ----------------------------------------------------------------------------------------------------


def _load(module: str, setting: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise MissingDriver(f"{setting} needs a library: pip install 'catalyst-signals[{extra}]'") from missing


def _loaded(module: str) -> Any:
    return sys.modules.get(module)
