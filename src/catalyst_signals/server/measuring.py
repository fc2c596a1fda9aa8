"""Every number of this process, read where it is kept.

Owns: from which part each metric of metrics/ comes. Knows nothing of how they are written or who asks. Law: reading
costs nothing that grows with events or subscriptions; a part that is not there has no number.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from catalyst_signals.metrics import Numbers
from catalyst_signals.modifiers import REASONS
from catalyst_signals.server import logs
from catalyst_signals.server.components import components
from catalyst_signals.server.node import Node
from catalyst_signals.server.readiness import version, wrong_with
from catalyst_signals.tape import Tape
from catalyst_signals.workers.pacing import REASONS as HELD_FOR

LEVELS = ("memory", "disk", "disk+standby")  # Of durability, as an answer to a publish names it.
BREAKER = {"closed": 0.0, "half_open": 1.0, "open": 2.0}


def numbers(node: Node) -> Numbers:
    """Every metric of this process, under "" or by its label."""
    hub, publisher = node.hub, node.publisher
    plain: dict[str, float] = {
        "catalyst_ready": float(not wrong_with(node)), "catalyst_up_seconds": time.monotonic() - node.started_s,
        "catalyst_log_lines_lost": logs.lines_lost(),
        "catalyst_events_stored": publisher.stored, "catalyst_commits": publisher.commits,
        "catalyst_drafts_queued": publisher.queued, "catalyst_publisher_clock_skew_seconds": node.skews.worst_s,
        "catalyst_halts": len(node.state.halts), "catalyst_sources_silent": node.silences.silent,
        "catalyst_deliveries": hub.deliveries, "catalyst_connections": len(node.every_connection()),
        "catalyst_streams": node.streams, "catalyst_connections_peak": node.peak.highest(time.monotonic()),
        "catalyst_store_reads": hub.pager.store_reads,
        "catalyst_acks": node.receipts.acks, "catalyst_receipts_waiting": node.receipts.waiting,
        "catalyst_longest_turn_seconds": hub.longest_turn_s,
        "catalyst_untrusted_channels": len(node.follower.reader.faults), "catalyst_ring_bytes": hub.ring_bytes,
    }  # fmt: skip
    return {
        **{name: {"": value} for name, value in plain.items()}, **_histograms(node), **_of_channels(node),
        "catalyst_refusals": dict(node.refusals), "catalyst_connections_closed": dict(node.closed),
        "catalyst_events_held": {reason: hub.held[reason] for reason in REASONS},
        "catalyst_version": {version(): 1.0}, **_of_targets(node), **_of_pulls(node), **_of_parts(node),
    }  # fmt: skip


def _histograms(node: Node) -> Numbers:
    return {
        "catalyst_publish_seconds": node.publisher.answer_s.cumulative(),
        "catalyst_commit_seconds": node.publisher.commit_s.cumulative(),
        "catalyst_delivery_seconds": node.hub.delivery_s.cumulative(),
        "catalyst_match_seconds": node.hub.match_s.cumulative(),
    }


def _of_channels(node: Node) -> Numbers:
    tapes, swept = node.hub.tapes, node.swept
    return {
        "catalyst_channel_head": {name: tape.done for name, tape in tapes.items()},
        "catalyst_channel_lag": {name: _lag(node, tape) for name, tape in tapes.items()},
        "catalyst_channel_subscribers": {name: len(tape.subscribers) for name, tape in tapes.items()},
        "catalyst_channel_behind": {name: _behind(tape) for name, tape in tapes.items()},
        "catalyst_channel_filters": {name: len(tape.groups) for name, tape in tapes.items()},
        "catalyst_retention_held_seconds": {name: each.held_s for name, each in swept.items()},
        "catalyst_workers_lost": {name: len(each.lost) for name, each in swept.items()},
    }


def _lag(node: Node, tape: Tape) -> int:
    """A new epoch begins a million above; what lies between was never given out."""
    extent = node.follower.extents.get(tape.channel)
    last = max(tape.tip, extent.last) if extent is not None and extent.epoch == tape.epoch else tape.tip
    return last - tape.done if tape.epoch == tape.done_epoch else len(tape.pending)


def _behind(tape: Tape) -> int:
    return sum(group.members - (len(group.live) - group.holes) for group in tape.groups.values())


def _of_targets(node: Node) -> Numbers:
    out = node.out
    if out is None:
        return {}
    plain: dict[str, float] = {
        "catalyst_targets": len(out.runners), "catalyst_targets_failing": len(out.failing),
        "catalyst_targets_behind": out.lag, "catalyst_target_messages": out.counts.sent,
        "catalyst_target_dead_letters": out.counts.dead, "catalyst_target_lost": out.counts.lost,
    }  # fmt: skip
    held = {reason: float(out.counts.held[reason]) for reason in HELD_FOR}
    return {**{name: {"": value} for name, value in plain.items()}, "catalyst_target_held": held}


def _of_pulls(node: Node) -> Numbers:
    feeds = node.feeds
    if feeds is None:
        return {}
    return {
        "catalyst_pulls": {"": len(feeds.workers)}, "catalyst_pulls_failing": {"": feeds.failing},
        "catalyst_pull_requests": {"": feeds.requests}, "catalyst_pull_items": {"": feeds.items},
    }  # fmt: skip


def _of_parts(node: Node) -> Numbers:
    found: Numbers = {}
    confirmed_s = node.follower.confirmed_s
    if confirmed_s is not None:
        found["catalyst_confirmed_seconds"] = {"": asyncio.get_running_loop().time() - confirmed_s}
    parts = components(node)
    found["catalyst_breaker_state"] = {each.name: BREAKER[each.state] for each in parts}
    found["catalyst_component_lag_seconds"] = {each.name: each.lag_s for each in parts if each.lag_s}
    if held_s := getattr(node.store, "lock_held_s", ()):
        found["catalyst_store_lock_held_seconds"] = {"": max(held_s)}
    if (lag_s := getattr(node.store, "replica_lag_s", None)) is not None:
        found["catalyst_store_replica_lag_seconds"] = {"": lag_s}
    store_url = getattr(node.store, "url", node.settings.store_url)
    if (disk := _disk_of(store_url)) is not None:
        free = disk.f_bavail * disk.f_frsize  # As whoever is not root can use it.
        found["catalyst_disk_free_ratio"] = {"": free / (disk.f_blocks * disk.f_frsize)}
        found["catalyst_disk_free_bytes"] = {"": free}
    if (size := _store_bytes(store_url)) is not None:
        found["catalyst_store_bytes"] = {"": size}
    durability = getattr(node.store, "durability", "")
    if durability in LEVELS:
        found["catalyst_durability"] = {level: float(level == durability) for level in LEVELS}
    return found


def _disk_of(store_url: str) -> os.statvfs_result | None:
    """The disk of a log in a file."""
    file = _file_of(store_url)
    try:
        disk = os.statvfs(file.parent) if file is not None else None
    except (OSError, AttributeError):  # Moved away, or a system without it.
        return None
    return disk if disk is not None and disk.f_blocks else None


def _store_bytes(store_url: str) -> int | None:
    """Of a log in a file; what is in the write-ahead log beside it is soon in the file."""
    file = _file_of(store_url)
    try:
        return file.stat().st_size if file is not None else None
    except OSError:
        return None


def _file_of(store_url: str) -> Path | None:
    url = urlsplit(store_url)
    return Path(unquote(url.path.removeprefix("/"))) if url.scheme == "sqlite" else None
