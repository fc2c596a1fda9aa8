"""What a process sends outside: its part in that, and what a target may be sent at this moment.

Owns: the rights of a target, which are those of the key that it was made with, and how workers/ is put to work here.
Requests about targets are in targets.py.
"""

from __future__ import annotations

import os
import secrets
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

import msgspec

from catalyst_signals.auth import ADMIN_CHANNELS, Principal
from catalyst_signals.auth.api_keys import principal_of
from catalyst_signals.events import Batch, now_us
from catalyst_signals.filters import EVERYTHING, parse
from catalyst_signals.projections import Key, Target, system_draft
from catalyst_signals.server.node import Node, name_in
from catalyst_signals.wire import SYSTEM_CHANNEL
from catalyst_signals.workers import Lease
from catalyst_signals.workers.following import Tip
from catalyst_signals.workers.sending import Right
from catalyst_signals.workers.targets import OUT, Out


def open_out(node: Node) -> Out:
    """The targets of this process, which hear of every event from here on."""
    holder = f"{node.settings.node}.{os.getpid()}.{secrets.token_hex(4)}"  # Nobody else's, also after a restart.
    out = Out(
        node.store,
        Tip(node.store, node.follower.reader, lambda channel: _head(node, channel)),
        Lease(node.store, OUT, holder, ttl_s=node.settings.lease_s),
        targets=lambda: node.state.targets,
        channels=lambda: [name for name in node.state.channels if name not in ADMIN_CHANNELS],
        right=lambda target: right_of(node, target),
        trusted=lambda: node.trusted,
        switch_off=lambda target, why: switch_off(node, target, why),
        networks=[ip_network(each, strict=False) for each in node.settings.targets_allow],
    )
    node.follower.fold(None, out.fold)
    node.follower.watch(out.tip.jumped)
    return out


def _head(node: Node, channel: str) -> int:
    tape = node.hub.tapes.get(channel)  # A channel that another process made has none for a moment.
    return tape.tip if tape is not None else -1


def right_of(node: Node, target: Target) -> Right | str:
    """What a target is sent and all that its owner may see, at this moment; or why it is sent nothing."""
    key = node.state.keys.get(target.key_id)
    if key is None or key.id in node.turned_off:
        return "the key that it was made with was revoked; change the target with another key"
    if key.expired(now_us()):
        return "the key that it was made with has expired; change the target with another key"
    name = name_in(target.filter)
    text = target.filter if name is None else node.state.filters_of(target.user).get(name)
    if text is None:
        return f"its filter `{name}` was removed; save it again, or give the target another one"
    right = _right(key, text)
    principal = _principal(key)
    if "subscribe" not in principal.scopes or not principal.may_use(target.channel):
        return f"its key may not see the channel `{target.channel}`"
    return right


@lru_cache(4096)
def _principal(key: Key) -> Principal:
    return principal_of(key)


@lru_cache(4096)
def _right(key: Key, text: str) -> Right:
    within = _principal(key).filter or EVERYTHING
    return Right(within.both(parse(text)), within)


async def switch_off(node: Node, target: Target, why: str) -> None:
    """A target is off from now on, until its owner switches it on."""
    present = node.state.targets.get(target.id)
    if present is not None and not present.off:
        data = kept_form(msgspec.structs.replace(present, off=why))
        draft = system_draft("target.changed", data)
        await node.publisher.publish(Batch(channel=SYSTEM_CHANNEL, subject=SYSTEM_CHANNEL, drafts=[draft]))


def kept_form(target: Target) -> dict[str, Any]:
    """A target as its event says it."""
    data: dict[str, Any] = msgspec.to_builtins(target)
    del data["replays"]  # Events of their own.
    return data
