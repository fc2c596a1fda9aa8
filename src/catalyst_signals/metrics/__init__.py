"""Every number a process tells of itself, declared once: its name, what it is, what it is told by, where it is shown.

Owns: the declarations. Knows nothing of where the numbers are kept (server/measuring.py) or how they are written
(prometheus.py beside this, telemetry.py in server/). Law: names are added, never renamed; a label has few values.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["gauge", "counter", "histogram"]
Label = Literal["", "channel", "reason", "error", "component", "level", "version"]
Row = Literal["Is it well?", "Publishing", "Delivering", "Channels", "Targets", "Parts", "This process"]

# By the metric's name, then by its label, or under "" without one. A histogram is one by its bounds: histograms.py.
Numbers = dict[str, dict[str, float]]
NUMBER_OF_ALL = ""


class Metric(NamedTuple):
    """`name` is as Prometheus has it but for `_total`; `of_all` is how the values of many labels become one."""

    name: str
    kind: Kind
    text: str
    row: Row
    label: Label = ""
    of_all: Literal["sum", "max"] = "sum"

    @property
    def exposed(self) -> str:
        """The name that is scraped, and that an alert is written against; of a histogram `_bucket` and so on follow."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


_DECLARED = (
    Metric("catalyst_ready", "gauge", "1: signals are taken and delivered here. 0: /readyz says why not.",
           "Is it well?"),
    Metric("catalyst_up_seconds", "gauge", "How long this process has been up.", "Is it well?"),
    Metric("catalyst_version", "gauge", "1, with the version that runs.", "Is it well?", "version"),
    Metric("catalyst_refusals", "counter", "Requests and messages that were refused, by the error's name.",
           "Is it well?", "error"),
    Metric("catalyst_connections_closed", "counter", "WebSockets that were closed from here, by reason.",
           "Is it well?", "reason"),
    Metric("catalyst_log_lines_lost", "counter", "Log lines that the central store did not take.", "Is it well?"),
    Metric("catalyst_publish_seconds", "histogram", "From taking a publish to its answer.", "Publishing"),
    Metric("catalyst_commit_seconds", "histogram", "One commit of the store; many publishers share one.", "Publishing"),
    Metric("catalyst_events_stored", "counter", "Events this process stored.", "Publishing"),
    Metric("catalyst_commits", "counter", "Commits this process made; many publishers share one.", "Publishing"),
    Metric("catalyst_drafts_queued", "gauge", "Drafts accepted and not yet stored.", "Publishing"),
    Metric("catalyst_publisher_clock_skew_seconds", "gauge",
           "How far the clock is off of the publisher whose is off most.", "Publishing", of_all="max"),
    Metric("catalyst_halts", "gauge", "Halts in force.", "Publishing", of_all="max"),
    Metric("catalyst_sources_silent", "gauge", "Sources that promised to be heard and are not.", "Publishing",
           of_all="max"),
    Metric("catalyst_delivery_seconds", "histogram",
           "From an event's commit until it is written to all who are live; the oldest event of each turn.",
           "Delivering"),
    Metric("catalyst_match_seconds", "histogram", "Finding whose filters an event matches.", "Delivering"),
    Metric("catalyst_deliveries", "counter", "Events written to subscribers.", "Delivering"),
    Metric("catalyst_events_held", "counter", "Events held back from subscribers who asked for that, by reason.",
           "Delivering", "reason"),
    Metric("catalyst_connections", "gauge", "WebSockets that are open.", "Delivering"),
    Metric("catalyst_streams", "gauge", "Server-sent event streams that are open.", "Delivering"),
    Metric("catalyst_connections_peak", "gauge",
           "The most WebSockets and streams that were open at once within a day.", "Delivering"),
    Metric("catalyst_store_reads", "counter", "Pages read from the store; all who ask for one meanwhile share it.",
           "Delivering"),
    Metric("catalyst_longest_turn_seconds", "gauge",
           "The longest that deliveries held the event loop since the last scrape.", "Delivering", of_all="max"),
    Metric("catalyst_acks", "counter", "Acknowledgements that came from subscribers.", "Delivering"),
    Metric("catalyst_receipts_waiting", "gauge", "Receipts that are not in the ledger yet.", "Delivering"),
    Metric("catalyst_channel_head", "gauge", "The newest seq of a channel.", "Channels", "channel"),
    Metric("catalyst_channel_lag", "gauge", "Events of a channel that the store has and live subscribers do not.",
           "Channels", "channel"),
    Metric("catalyst_channel_subscribers", "gauge", "WebSocket subscriptions of a channel.", "Channels", "channel"),
    Metric("catalyst_channel_behind", "gauge", "Subscriptions of a channel that are catching up.",
           "Channels", "channel"),
    Metric("catalyst_channel_filters", "gauge", "Distinct filters of a channel.", "Channels", "channel"),
    Metric("catalyst_untrusted_channels", "gauge", "Channels with an event that is not what was written.", "Channels"),
    Metric("catalyst_retention_held_seconds", "gauge",
           "How long events that are due to go have waited for a worker.", "Channels", "channel", "max"),
    Metric("catalyst_workers_lost", "gauge", "Workers whose next events are gone.", "Channels", "channel"),
    Metric("catalyst_targets", "gauge", "Targets outside that this process sends to.", "Targets"),
    Metric("catalyst_targets_failing", "gauge", "Targets that do not answer.", "Targets"),
    Metric("catalyst_targets_behind", "gauge", "Events that the target furthest behind was not told yet.", "Targets",
           of_all="max"),
    Metric("catalyst_target_messages", "counter", "Messages that targets took.", "Targets"),
    Metric("catalyst_target_held", "counter", "Events that a target's rules held for a digest, by reason.",
           "Targets", "reason"),
    Metric("catalyst_target_dead_letters", "counter", "Events that a target did not take and that are not tried again.",
           "Targets"),
    Metric("catalyst_target_lost", "counter", "Events that were gone before a target could be told.", "Targets"),
    Metric("catalyst_pulls", "gauge", "Feeds and bots that this process fetches.", "Publishing"),
    Metric("catalyst_pulls_failing", "gauge", "Feeds and bots that do not answer.", "Publishing"),
    Metric("catalyst_pull_requests", "counter", "Times that a feed or a bot was asked.", "Publishing"),
    Metric("catalyst_pull_items", "counter", "What was new in it: items, or a bot's signals.", "Publishing"),
    Metric("catalyst_breaker_state", "gauge", "Calls to a part of the system: 0 pass, 1 are tried, 2 are refused.",
           "Parts", "component", "max"),
    Metric("catalyst_component_lag_seconds", "gauge", "How far a part of the system is behind.",
           "Parts", "component", "max"),
    Metric("catalyst_confirmed_seconds", "gauge", "How long ago the store last confirmed where the log ends.", "Parts",
           of_all="max"),
    Metric("catalyst_store_lock_held_seconds", "gauge",
           "The longest that one of the newest commits held its channels locked.", "Parts", of_all="max"),
    Metric("catalyst_store_replica_lag_seconds", "gauge",
           "For how long the store's read replica has lacked something of the log.", "Parts", of_all="max"),
    Metric("catalyst_durability", "gauge", "1 for the level at which signals are acknowledged now.", "Parts", "level"),
    Metric("catalyst_disk_free_ratio", "gauge", "What is free of the disk that a log in a file is on.", "Parts"),
    Metric("catalyst_disk_free_bytes", "gauge", "The same in bytes.", "Parts", of_all="max"),
    Metric("catalyst_store_bytes", "gauge", "How large a log in a file is.", "Parts", of_all="max"),
    Metric("catalyst_ring_bytes", "gauge", "Memory that recent events of all channels take.", "This process"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _DECLARED}


def totals(numbers: Numbers) -> Numbers:
    """The same without the names of channels: what a stranger may know. Other labels are words of our own."""
    return {
        name: {NUMBER_OF_ALL: _one(METRICS[name], values)} if METRICS[name].label == "channel" and values else values
        for name, values in numbers.items()
    }


def _one(metric: Metric, values: dict[str, float]) -> float:
    return max(values.values()) if metric.of_all == "max" else sum(values.values())
