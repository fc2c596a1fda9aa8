"""What a running process does now and then: tick its connections, drop what is no longer kept, look for damage.

Owns: the loops and when they run. What is dropped and what is damage is decided in retention.py and verify.py.
Law: a fault here is told and tried again; it ends nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time

from catalyst_signals.errors import CatalystError, StoreCorrupt
from catalyst_signals.events import now_us
from catalyst_signals.expiry import EXPIRY, Expirer
from catalyst_signals.projections import Channel
from catalyst_signals.retention import sweep
from catalyst_signals.server.node import Node
from catalyst_signals.trust import scrub
from catalyst_signals.verify import Fault
from catalyst_signals.wire import SYSTEM_CHANNEL

log = logging.getLogger("catalyst")

STATE = "system-state"  # The follower whose snapshot a process starts from.
SNAPSHOT_EVENTS = 500
SCRUB_AGAIN_S = 60  # After one that could not be ended.


async def tick_for_ever(node: Node) -> None:
    """Visit every connection that is due about once a second, a tenth of them at a time, so that no turn is long."""
    while True:
        everybody = node.every_connection()
        node.peak.note(len(everybody) + node.streams, time.monotonic())
        for part in range(10):
            await asyncio.sleep(0.1)
            now_s = asyncio.get_running_loop().time()
            node.hub.hold(not node.trusted)
            for connection in everybody[part::10]:
                if now_s < connection.look_s:
                    continue
                try:
                    connection.tick(now_s)
                except Exception as error:  # One dead socket must not end the care for all others.
                    connection.broken(error)


async def keep_for_ever(node: Node, expirer: Expirer) -> None:
    """Every `retention_s`: drop what channels no longer keep, keep snapshots of what is folded."""
    while True:
        await asyncio.sleep(node.settings.retention_s)
        for channel in list(node.state.channels.values()):
            try:
                await _sweep(node, channel)
                await expirer.keep(channel.name, every=SNAPSHOT_EVENTS)
            except CatalystError as error:
                log.warning("housekeeping will be tried again", extra={"channel": channel.name, "reason": str(error)})
        try:
            await keep_snapshot(node, every=SNAPSHOT_EVENTS)
            await node.store.forget(now_us() - int(node.settings.ledger_s * 1_000_000))
        except CatalystError as error:
            log.warning("a snapshot will be tried again", extra={"reason": str(error)})


async def _sweep(node: Node, channel: Channel) -> None:
    """Drop, say what is held back or lost when that changed, and let nobody be shown what went."""
    before = node.swept.get(channel.name)
    swept = await sweep(
        node.store, channel, now_us(), wait_s=node.settings.retention_wait_s, own=(STATE, EXPIRY)
    )  # fmt: skip
    node.swept[channel.name] = swept
    if before is None or before.extent.first != swept.extent.first:
        await node.follower.poll()
    for name in swept.waits_for.keys() - (before.waits_for.keys() if before else ()):
        log.warning("retention waits for a worker", extra={"channel": channel.name, "worker": name})
    for name in swept.lost.keys() - (before.lost.keys() if before else ()):
        log.error("a worker is lost, its next events are gone", extra={"channel": channel.name, "worker": name})


async def keep_snapshot(node: Node, every: int = 1) -> None:
    """The state of `system` as a later process starts from it, if at least `every` events came since the last."""
    kept = await node.store.kept(STATE, SYSTEM_CHANNEL)
    seq = node.state.place[1]
    if seq >= kept.seq + every:
        await node.store.keep(STATE, SYSTEM_CHANNEL, seq, node.state.to_bytes(), was=kept.seq)


async def scrub_for_ever(node: Node) -> None:
    """Walk the whole log at once and then every `scrub_s`, so that damage shows before anybody asks for it."""
    while node.settings.scrub_s:
        try:
            await scrub(node.store, node.follower.reader.note)
            node.follower.reader.note("", None)  # The store as a whole can be read.
            wait_s = node.settings.scrub_s
        except CatalystError as error:
            log.warning("the log could not be read to its end", extra={"reason": str(error)})
            if isinstance(error, StoreCorrupt):
                node.follower.reader.note("", Fault("the store", 0, error.message))
            wait_s = min(SCRUB_AGAIN_S, node.settings.scrub_s)
        await asyncio.sleep(wait_s)
