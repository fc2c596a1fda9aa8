"""Who got an event, when, how late by hop, and what they did: the ledger put beside the event and the channel `acks`.

Owns: what the ledger's rows say of one event. Laws: a moment that is not known is null, and one that is known is two
bounds; who did not ask for the event, by the filter of then, is not listed; what may have been held is not called sent;
of an erased event nobody knows any more whom it matched, so nothing is said of anybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from catalyst_signals.deeds import ACKS, deeds_of
from catalyst_signals.errors import InvalidFilter, PositionTooOld, RangeUntrusted
from catalyst_signals.events import Event, Frame, iso, parse_iso
from catalyst_signals.filters import Filter, parse
from catalyst_signals.ledger import NOTED_MAX, Noted, Span
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.pages import wants
from catalyst_signals.projections import key_is_good
from catalyst_signals.server.node import Node
from catalyst_signals.wire import frame_of

SKEW_US = 2_000_000  # Another process's clock may be so far behind that of who stored the event.
DEEDS_MAX = 1000  # In one answer, by id.


async def of_event(node: Node, event: Event, frame: Frame, id: str, subject: str | None) -> dict[str, Any]:
    """All of it; of one subject if one is given."""
    noted = await node.store.noted(event.channel, event.seq, event.ts_us - SKEW_US, subject)
    asked = [each for each in noted if _matched(each, frame)]
    deeds = await _deeds(node, event.channel, id, subject)
    did: dict[str, list[str]] = defaultdict(list)
    for deed in deeds:
        did[deed["who"]].append(deed["what"])
    got = [each for each in asked if each.sent >= event.seq]
    rows = sorted((_row(each, event, frame, did.get(each.who.subject, [])) for each in got), key=_when)
    frame.forget()
    return {
        **_hops(event, frame, id), "deliveries": rows, "waiting": _waiting(node, _still(noted, asked), got),
        "deeds": deeds,
        "complete": len(noted) < NOTED_MAX and len(deeds) < DEEDS_MAX and not frame.erased,
    }  # fmt: skip


def receipt_of(noted: Iterable[Noted], session: str, event: Event) -> dict[str, Any]:
    """When a session was sent an event, and when it acknowledged it; null where the ledger does not say."""
    mine = [each for each in noted if each.who.session == session and each.sent >= event.seq]
    if not mine:
        return {"sent": None, "acknowledged": None}
    sent, acked = _spans(mine[0], event)
    return {"sent": _shown(sent), "acknowledged": _shown(acked)}


def _hops(event: Event, frame: Frame, id: str) -> dict[str, Any]:
    """The event's own moments, and how long each hop before the commit took."""
    data = frame.doc.get("data") or {}
    event_us, sent_us = (parse_iso(data[name]) if data.get(name) else None for name in ("event_at", "sent_at"))
    return {
        "channel": event.channel, "seq": event.seq, "id": id, "version": event.version, "type": event.type,
        "event_at": data.get("event_at"), "sent_at": data.get("sent_at"), "ts": iso(event.ts_us),
        "hops_ms": {"to_publisher": _ms(event_us, sent_us), "to_commit": _ms(sent_us or event_us, event.ts_us)},
    }  # fmt: skip


def _ms(from_us: int | None, to_us: int | None) -> float | None:
    return None if from_us is None or to_us is None else round((to_us - from_us) / 1000, 1)


def _row(noted: Noted, event: Event, frame: Frame, did: list[str]) -> dict[str, Any]:
    who = noted.who
    sent, acked = _spans(noted, event)
    state, reason = _state(noted, event, frame, sent)
    if state == "held":  # It was passed then, and what was acknowledged is what came after it.
        sent = acked = None
    hops = {"to_subscriber": _late(sent, (event.ts_us, event.ts_us)), "to_acknowledgement": _late(acked, sent)}
    return {
        "who": who.subject, "key": who.key_id, "session": who.session, "filter": who.filter, "state": state,
        **({"reason": reason} if reason else {}), "sent": _shown(sent), "acknowledged": _shown(acked),
        "hops_ms": hops, "did": did,
    }  # fmt: skip


def _when(row: dict[str, Any]) -> tuple[str, str]:
    return (row["sent"] or {"by": "~"})["by"], row["who"]


def _spans(noted: Noted, event: Event) -> tuple[Span | None, Span | None]:
    """When it was sent and acknowledged: neither before it was stored and asked for, nor in the other order."""
    least_us = max(event.ts_us, noted.who.at_us)
    sent = _behind(noted.sent_us, least_us)
    return sent, _behind(noted.acked_us, sent[0] if sent is not None else least_us)


def _behind(span: Span | None, least_us: int) -> Span | None:
    if span is None:
        return None
    from_us = max(span[0], least_us)
    return from_us, max(span[1], from_us)


def _late(span: Span | None, since: Span | None) -> list[float] | None:
    """The least and the most milliseconds from one moment to another."""
    if span is None or since is None:
        return None
    return [round(max(0, span[0] - since[1]) / 1000, 1), round((span[1] - since[0]) / 1000, 1)]


def _shown(span: Span | None) -> dict[str, str] | None:
    return None if span is None else {"after": iso(span[0]), "by": iso(span[1])}


def _state(noted: Noted, event: Event, frame: Frame, sent: Span | None) -> tuple[str, str | None]:
    """Whether what matched was sent, or held by a modifier; where the bounds do not tell, both."""
    modifiers = Modifiers(**msgspec.json.decode(noted.who.modifiers)) if noted.who.modifiers else Modifiers()
    from_us, by_us = sent or (max(event.ts_us, noted.who.at_us), noted.at_us)
    reason = modifiers.age.holds(frame, from_us)
    if reason is not None:
        return "held", reason
    catching_up = modifiers.looks_around and event.seq <= noted.who.head
    if catching_up or modifiers.age.holds(frame, by_us) is not None:
        return "sent_or_held", None
    return "sent", None


def _still(noted: Iterable[Noted], asked: Iterable[Noted]) -> list[Noted]:
    """Those that their session did not replace by another filter; the newest comes first."""
    newest: dict[str, int] = {}
    for each in noted:
        newest.setdefault(each.who.session, each.who.number)
    return [each for each in asked if newest[each.who.session] == each.who.number]


def _waiting(node: Node, asked: Sequence[Noted], got: Sequence[Noted]) -> list[dict[str, Any]]:
    """Who should get it and has not, as far as is known: of several sessions of one key and filter the newest."""
    done = {(each.who.subject, each.who.filter) for each in got}
    waiting: dict[tuple[str, str, str], Noted] = {}
    for each in asked:  # The newest first.
        who = each.who
        if (who.subject, who.filter) not in done and key_is_good(node.state.keys.get(who.key_id)):
            waiting.setdefault((who.subject, who.key_id, who.filter), each)
    return [
        {
            "who": each.who.subject, "key": each.who.key_id, "session": each.who.session, "filter": each.who.filter,
            "stands_at": each.sent, "acknowledged_through": each.acked or None, "at": iso(each.at_us),
        }
        for each in sorted(waiting.values(), key=lambda each: each.who.subject)
    ]  # fmt: skip


def _matched(noted: Noted, frame: Frame) -> bool:
    filter = _filter(noted.who.filter)
    return filter is not None and wants(filter, frame)


@lru_cache(maxsize=4096)
def _filter(text: str) -> Filter | None:
    """The filter of then; None for one that this version does not understand any more."""
    try:
        return parse(text or None)
    except InvalidFilter:
        return None


async def _deeds(node: Node, channel: str, id: str, subject: str | None) -> list[dict[str, Any]]:
    """What was reported about a signal, oldest first."""
    mark = deeds_of(channel, id, subject)
    known = [each for each in await node.store.ids(ACKS, mark, DEEDS_MAX) if each[0].startswith(mark)]
    events = [await _event(node, seq) for seq in sorted(each.seq for _, each in known)]
    return [_deed(event) for event in events if event is not None and event.body]


async def _event(node: Node, seq: int) -> Event | None:
    try:
        found = await node.follower.reader.read(ACKS, seq - 1, 1)
    except (PositionTooOld, RangeUntrusted):
        return None
    return found[0] if found else None


def _deed(event: Event) -> dict[str, Any]:
    data = frame_of(event).doc["data"]
    said = {name: data[name] for name in ("reason", "fills", "outcome") if name in data}
    return {"what": data["what"], "who": data["who"], "id": data["id"], "version": data["signal"]["version"],
            "seq": event.seq, "ts": iso(event.ts_us), **said}  # fmt: skip
