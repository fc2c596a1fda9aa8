"""REST for filters: what one means, why an event matches it, what it would have sent, and filters saved by name.

Owns: the shapes of requests and answers. What a filter means is decided in filters.py, the sentences in explain.py, the
counting in rehearse.py; a saved filter is an event of `system`.
Law: what the entitlement of a key hides is not there: no answer differs from that for an event that never was.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import Principal
from catalyst_signals.errors import InvalidName, InvalidRequest, NotFound, PositionTooOld, TooLarge
from catalyst_signals.events import Frame
from catalyst_signals.explain import explain
from catalyst_signals.filters import EVERYTHING, Filter, parse
from catalyst_signals.pages import wants
from catalyst_signals.projections import FILTER_NAME, SAVED_FILTERS_MAX
from catalyst_signals.server.deliveries import SKEW_US, receipt_of
from catalyst_signals.server.node import Node, is_open
from catalyst_signals.server.requests import check_after, json_of, json_response, node_of, principal_of
from catalyst_signals.tape import HOLDS_MAX, Subscriber
from catalyst_signals.wire import SYSTEM_CHANNEL, frame_of

router = APIRouter(prefix="/v1/filters", tags=["filters"])

Source = str | dict[str, Any] | list[Any] | None


class FilterBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/filters/check` and `PUT /v1/filters/{name}` take."""

    filter: Source = None


@router.post("/check")
async def check_filter(request: Request) -> Response:
    """A filter in its canonical form, as a tree, and how it will be indexed."""
    principal = principal_of(request, "subscribe")
    asked = node_of(request).asked_for(principal, (await json_of(request, FilterBody)).filter)
    return json_response({"filter": asked.text, "filter_id": asked.id, "tree": asked.tree, "index": asked.index()})


# --- Why ---------------------------------------------------------------------------------------------------------


class ExplainBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/filters/explain` takes: a filter, or the `subscriber` that `subscribed` named."""

    seq: int
    filter: Source = None
    subscriber: str | None = None
    channel: str | None = None


@router.post("/explain")
async def explain_filter(request: Request) -> Response:
    """Why an event matches a filter or does not, clause by clause; of a subscriber also whether it was sent."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    body = await json_of(request, ExplainBody)
    if body.subscriber is None:
        channel = body.channel or "main"
        filter = node.filter_for(principal, body.filter)
        event = await _event(node, principal, channel, body.seq)
        return json_response(explain(filter, event.doc))
    if body.filter is not None:
        raise InvalidRequest("a subscriber has a filter already: send one of the two", field="filter")
    subscriber = _subscriber(node, principal, body.subscriber)
    if body.channel not in (None, subscriber.tape.channel):
        raise InvalidRequest("this subscriber is of another channel", field="channel", got=body.channel)
    event = await _event(node, principal, subscriber.tape.channel, body.seq)
    told = explain(subscriber.group.filter, event.doc)
    delivery = _delivery(node, subscriber, body.seq, told["matches"])
    if delivery["state"] in ("sent", "sent_or_held"):
        delivery |= await _receipt(node, subscriber, body.subscriber, body.seq, delivery["says"])
    return json_response(told | {"delivery": delivery})


async def _receipt(node: Node, subscriber: Subscriber, session: str, seq: int, says: str) -> dict[str, Any]:
    """When it was sent and when it was acknowledged, as far as the ledger says so."""
    (event,) = await node.store.read(subscriber.tape.channel, seq - 1, 1)
    noted = await node.store.noted(event.channel, seq, event.ts_us - SKEW_US)
    receipt = receipt_of(noted, session, event)
    sent, acked = receipt["sent"], receipt["acknowledged"]
    if sent is None:
        return receipt | {"says": f"{says}; the ledger does not say when (it is written once a second)"}
    when = f"acknowledged by {acked['by']}" if acked is not None else "not acknowledged yet"
    return receipt | {"says": f"{says} by {sent['by']}, {when}"}


async def _event(node: Node, principal: Principal, channel: str, seq: int) -> Frame:
    """The event at `seq`, if this key may see it.

    Raises:
        NotFound: it may not, or there is none. PositionTooOld: retention dropped it.
    """
    tape = node.tape(principal, channel)
    if seq < 1:
        raise InvalidRequest("`seq` is a whole number from 1", field="seq", got=seq, allowed=">= 1")
    if seq <= tape.done:
        try:
            found = await node.follower.reader.read(channel, seq - 1, 1)
        except PositionTooOld as gone:
            text = f"event {seq} was dropped by retention; the first that is kept is {gone.extra['first']}"
            raise PositionTooOld(text, field="seq", got=seq, first=gone.extra["first"]) from None
        frames = [frame_of(event) for event in found if event.seq == seq]
        if frames and (principal.filter is None or wants(principal.filter, frames[0])):
            return frames[0]
    raise NotFound("there is no event of that seq", field="seq", got=seq)


def _subscriber(node: Node, principal: Principal, name: str) -> Subscriber:
    """The subscription that `subscribed` called so, of this user or for an admin."""
    id, _, channel = name.partition(":")
    for connection in node.every_connection():
        if connection.id == id:
            found = connection.subscriber_for(principal, channel)
            if found is not None:
                return found
    raise NotFound(
        "there is no such subscriber on this node; its id is what `subscribed` said, and ends with the connection",
        field="subscriber",
        got=name,
    )


_HELD = {
    "expired": "it had expired when it was its turn; subscribe with stale=send to be sent what is over",
    "aged": "it was older than max_age_s when it was its turn; subscribe with a larger one, or without",
    "replaced": "something newer of the same instrument followed; subscribe with mode=all to be sent every one",
    "ended": "a later version had taken its place by then; subscribe with ended=send to be sent every version",
}


def _delivery(node: Node, subscriber: Subscriber, seq: int, matches: bool) -> dict[str, Any]:
    """What became of an event for a subscriber."""
    place, reason = node.hub.place(subscriber), subscriber.why_held(seq)
    if seq <= subscriber.began:
        began = subscriber.began
        state, says = "before", f"your position passed it at {began}, before this subscription began; "
        says += f"subscribe with after below {seq}"
    elif seq > place.seq:
        state, says = "behind", f"not yet: you stand at {place.seq} of {subscriber.tape.done}"
    elif not matches:
        state, says = "not_matched", "not sent, because it does not match"
    elif reason is not None:
        state, says = "held", f"held: {reason}; {_HELD[reason]}"
    elif sum(place.held.values()) > HOLDS_MAX:
        state = "sent_or_held"
        says = f"sent, unless it was held before the last {HOLDS_MAX} that were: only those are remembered"
    else:
        state, says = "sent", "sent"
    return {"state": state, "says": says}


# --- Rehearsal ---------------------------------------------------------------------------------------------------


class RehearseBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/filters/rehearse` takes; without `after` all that is kept is looked at."""

    filter: Source = None
    channel: str = "main"
    against: Source = None
    after: int | None = None


@router.post("/rehearse")
async def rehearse_filter(request: Request) -> Response:
    """What a filter would have sent of what is stored; `against` another one, what is newly in and newly out."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    body = await json_of(request, RehearseBody)
    node.tape(principal, body.channel)
    check_after(body.after)
    against = None if body.against is None else node.filter_for(principal, body.against)
    told = await node.rehearsals.run(
        body.channel,
        node.filter_for(principal, body.filter),
        against=against,
        within=principal.filter or EVERYTHING,
        after=body.after,
        as_of=node.hub.tapes[SYSTEM_CHANNEL].tip,
    )
    return json_response(told)


# --- Saved by name -----------------------------------------------------------------------------------------------


@router.get("")
async def saved_filters(request: Request) -> Response:
    """The filters this user has saved."""
    principal = principal_of(request, "subscribe")
    mine = node_of(request).state.filters_of(principal.subject)
    return json_response({"filters": [_shown(name, text) for name, text in sorted(mine.items())]})


@router.get("/{name}")
async def saved_filter(name: str, request: Request) -> Response:
    """One of them."""
    principal = principal_of(request, "subscribe")
    return json_response(_shown(name, _saved(node_of(request), principal, name)))


@router.put("/{name}")
async def save_filter(name: str, request: Request) -> Response:
    """Save a filter under a name; who uses it by that name is moved to it where they stand."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    if not FILTER_NAME.fullmatch(name):
        raise InvalidName(
            "the name of a filter has 1 to 64 characters: a-z, 0-9, '.', '_' and '-'; the first a letter or digit",
            field="name", got=name, allowed=FILTER_NAME.pattern,
        )  # fmt: skip
    filter = parse((await json_of(request, FilterBody)).filter)
    mine = node.state.filters_of(principal.subject)
    new = name not in mine
    if new and len(mine) >= SAVED_FILTERS_MAX:
        raise TooLarge(
            f"a user may save {SAVED_FILTERS_MAX} filters; remove one first", field="name", allowed=SAVED_FILTERS_MAX
        )
    if new or mine[name] != filter.text:
        _check_use(node, principal, name, filter)
        await _change(node, principal, "filter.saved", {"name": name, "filter": filter.text})
    return json_response(_shown(name, _saved(node, principal, name)), 201 if new else 200)


@router.delete("/{name}")
async def remove_filter(name: str, request: Request) -> Response:
    """Forget a saved filter; who uses it goes on with it as it was."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    _saved(node, principal, name)
    await _change(node, principal, "filter.removed", {"name": name})
    return json_response({"name": name, "removed": True})


def _shown(name: str, text: str) -> dict[str, str]:
    return {"name": name, "filter": text, "filter_id": parse(text).id}


def _saved(node: Node, principal: Principal, name: str) -> str:
    mine = node.state.filters_of(principal.subject)
    if name not in mine:
        raise NotFound("you have saved no filter of that name", field="name", got=name, allowed=sorted(mine))
    return mine[name]


def _check_use(node: Node, principal: Principal, name: str, filter: Filter) -> None:
    """Who uses the name already must be able to use it still."""
    using = sum(connection.uses(principal, name) for connection in node.every_connection())
    if using and is_open(filter):
        node.check_open_filters(principal, using)


async def _change(node: Node, principal: Principal, type: str, data: dict[str, str]) -> None:
    node.limits.saves.spend(principal.subject)
    await node.administer(principal, type, {"user": principal.subject, **data})
