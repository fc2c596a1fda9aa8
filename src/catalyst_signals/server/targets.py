"""REST for targets: where signals go outside.

Owns: the shapes of requests and answers, and whose target is whose. What a target may be sent is outgoing.py's, what is
sent and when is decided in workers/; a target is an event of `system`.
Law: a URL and a secret go in and never out again, but for the secret in the one answer that makes it.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Request, Response

from catalyst_signals.auth import ADMIN_CHANNELS, Principal
from catalyst_signals.auth.api_keys import new_secret
from catalyst_signals.errors import Forbidden, InvalidRequest, NotFound, TooLarge
from catalyst_signals.events import Kept, iso, now_us
from catalyst_signals.projections import Replay, Target
from catalyst_signals.server.node import Node, name_in
from catalyst_signals.server.outgoing import kept_form, right_of
from catalyst_signals.server.requests import json_of, json_response, node_of, principal_of
from catalyst_signals.signatures import new_signing_secret
from catalyst_signals.workers import pacing
from catalyst_signals.workers.messages import Message
from catalyst_signals.workers.notifying import check as check_notification
from catalyst_signals.workers.notifying import scheme_of
from catalyst_signals.workers.outside import NotAllowed, NotReached, ascii_name, checked, split
from catalyst_signals.workers.sending import DEAD_MAX, State, state_of
from catalyst_signals.workers.targets import OUT, Out, rules_of, way_of

router = APIRouter(prefix="/v1/targets", tags=["targets"])

TARGETS_MAX = 50  # Of one user; of admins as many as they like.
URL_CHARS_MAX = 2000
LOOK_UP_S = 3.0
SEQ_MAX = 1 << 53
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_DIGEST = re.compile(r"([1-9]\d{0,4})s")
_DIGESTS = {"none": 0, "minute": 60, "hour": 3600}
TEST_TEXT = "This is a test from Catalyst: signals of your target will come here."

Source = str | dict[str, Any] | list[Any] | None


# --- Shapes ----------------------------------------------------------------------------------------------------------


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """What `PATCH /v1/targets/{id}` takes; what is not there stays as it is. `off` true or false switches it."""

    url: str | msgspec.UnsetType = msgspec.UNSET
    filter: Source | msgspec.UnsetType = msgspec.UNSET
    max_per_hour: int | msgspec.UnsetType | None = msgspec.UNSET
    quiet_hours: pacing.Quiet | msgspec.UnsetType | None = msgspec.UNSET
    cooldown_per_symbol_s: int | msgspec.UnsetType = msgspec.UNSET
    digest: str | msgspec.UnsetType = msgspec.UNSET
    off: bool | msgspec.UnsetType = msgspec.UNSET


class TargetBody(Change, forbid_unknown_fields=True):
    """What `POST /v1/targets` takes."""

    channel: str = "main"


class ReplayBody(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/targets/{id}/replay` takes: one of the two."""

    after: int | None = None
    dead: list[int] | str | None = None


def _rules(body: Change, present: dict[str, Any]) -> dict[str, Any]:
    """The rules as they are kept: those of the body over those there are; what is none is not there."""
    rules = dict(present)
    if body.max_per_hour is not msgspec.UNSET:
        rules["max_per_hour"] = _between("max_per_hour", body.max_per_hour, 1, 3600)
    if body.cooldown_per_symbol_s is not msgspec.UNSET:
        rules["cooldown_per_symbol_s"] = _between("cooldown_per_symbol_s", body.cooldown_per_symbol_s, 0, 7 * 86_400)
    if body.digest is not msgspec.UNSET:
        rules["digest_s"] = _digest_s(body.digest)
    if body.quiet_hours is not msgspec.UNSET:
        rules["quiet_hours"] = _quiet(body.quiet_hours)
    return {name: value for name, value in rules.items() if value}


def _between(name: str, value: int | None, least: int, most: int) -> int | None:
    if value is not None and not least <= value <= most:
        raise InvalidRequest(f"`{name}` is {least} to {most}", field=name, got=value, allowed=f"{least}-{most}")
    return value


def _digest_s(text: str) -> int:
    found = _DIGEST.fullmatch(text)
    seconds = int(found[1]) if found else _DIGESTS.get(text, -1)
    if not 0 <= seconds <= 86_400:
        raise InvalidRequest(
            "`digest` is none, minute, hour, or seconds up to a day as in 90s", field="digest", got=text,
            allowed=[*_DIGESTS, "90s"],
        )  # fmt: skip
    return seconds


def _quiet(quiet: pacing.Quiet | None) -> dict[str, str] | None:
    if quiet is None:
        return None
    if not (_CLOCK.fullmatch(quiet.begins) and _CLOCK.fullmatch(quiet.ends)) or quiet.begins == quiet.ends:
        raise InvalidRequest(
            "`quiet_hours` are from one time of the day to another", field="quiet_hours",
            got=f"{quiet.begins}-{quiet.ends}", allowed="two different times, as 22:00 and 07:00",
        )  # fmt: skip
    try:
        ZoneInfo(quiet.tz)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(
            "there is no such time zone", field="quiet_hours.tz", got=quiet.tz, allowed="Europe/Berlin, UTC, ..."
        ) from None
    return {"from": quiet.begins, "to": quiet.ends, "tz": quiet.tz}


async def _check_url(node: Node, url: str) -> str:
    """The URL, if signals may go there.

    Raises:
        InvalidRequest: never shows it.
    """
    if len(url) > URL_CHARS_MAX or "://" not in url:
        raise InvalidRequest("`url` reads https://host/path, or discord://..., tgram://... and so on", field="url")
    if scheme_of(url) not in ("http", "https"):
        await check_notification(url)
        return url
    parts = split(url)
    try:
        async with asyncio.timeout(LOOK_UP_S):
            await checked(ascii_name(parts.hostname or ""), parts.port or 443, _out(node).networks)
    except NotAllowed as fault:
        raise InvalidRequest(str(fault), field="url", got=parts.hostname) from None
    except (NotReached, TimeoutError):
        pass  # It may be there when it is needed; a test says whether it is.
    return url


def redacted(url: str) -> str:
    """What may be shown of a URL: everything that could be a secret is left out."""
    scheme = scheme_of(url)
    if scheme not in ("http", "https"):
        return f"{scheme}://..."
    parts = split(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{port}/..."


# --- Requests --------------------------------------------------------------------------------------------------------


@router.post("")
async def add_target(request: Request) -> Response:
    """Another target of this user; it begins with what comes next. The secret of a webhook is shown only here."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    body = await json_of(request, TargetBody)
    if body.url is msgspec.UNSET:
        raise InvalidRequest("a target needs a `url`", field="url")
    _spend(node, principal)
    mine = [each for each in node.state.targets.values() if each.user == principal.subject]
    if len(mine) >= TARGETS_MAX and "admin" not in principal.scopes:
        raise TooLarge(f"a user may have {TARGETS_MAX} targets; remove one first", field="url", allowed=TARGETS_MAX)
    if body.channel in ADMIN_CHANNELS:
        raise Forbidden(f"`{body.channel}` holds secrets and goes nowhere", field="channel", got=body.channel)
    url = await _check_url(node, body.url)
    tape = node.tape(principal, body.channel)
    secret = new_signing_secret() if scheme_of(url) in ("http", "https") else ""
    target = Target(
        id=new_secret()[0][:10], user=principal.subject, key_id=principal.key_id, url=url, channel=body.channel,
        filter=_filter(node, principal, body.filter), created_at=iso(now_us()), epoch=tape.done_epoch,
        after=tape.done, rules=_rules(body, {}), secret=secret, off=_off(body, ""),
    )  # fmt: skip
    await node.administer(principal, "target.created", kept_form(target))
    return json_response(_shown(node, target, State()) | ({"secret": secret} if secret else {}), 201)


@router.get("")
async def targets(request: Request) -> Response:
    """The targets of this user, of all users for an admin."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    visible = [each for each in node.state.targets.values() if _may_see(principal, each)]
    kept: dict[str, Kept] = {}
    for channel in {each.channel for each in visible}:
        kept |= await node.store.places(channel)
    states = {each.id: kept.get(f"{OUT}.{each.id}") for each in visible}
    return json_response({
        "targets": [
            _shown(node, each, state_of(found.state) if (found := states[each.id]) is not None else State())
            for each in visible
        ]
    })  # fmt: skip


@router.get("/{id}")
async def target(id: str, request: Request) -> Response:
    """One of them: how it does, what it was sent, what is held back and why."""
    node, _, found = _found(request, id)
    return json_response(_shown(node, found, await _state(node, found)))


@router.patch("/{id}")
async def change_target(id: str, request: Request) -> Response:
    """Change what is in the body; who changes a target of their own gives it the rights of the key they use."""
    node, principal, found = _found(request, id)
    body = await json_of(request, Change)
    _spend(node, principal)
    url = None if body.url is msgspec.UNSET else await _check_url(node, body.url)
    _, _, found = _found(request, id)  # While a name was looked up it may have been changed, or removed.
    owned = principal.subject == found.user
    changed = msgspec.structs.replace(
        found,
        url=url or found.url,
        filter=found.filter if body.filter is msgspec.UNSET else _filter(node, principal, body.filter),
        rules=_rules(body, found.rules), off=_off(body, found.off),
        key_id=principal.key_id if owned else found.key_id,
    )  # fmt: skip
    if (scheme_of(changed.url) in ("http", "https")) != (scheme_of(found.url) in ("http", "https")):
        raise InvalidRequest("a webhook stays one, and so does a notification; make another target", field="url")
    if changed != found:
        await node.administer(principal, "target.changed", kept_form(changed))
    return json_response(_shown(node, changed, await _state(node, changed)))


@router.delete("/{id}")
async def remove_target(id: str, request: Request) -> Response:
    """Nothing is sent there any more."""
    node, principal, _ = _found(request, id)
    await node.administer(principal, "target.removed", {"id": id})
    return json_response({"id": id, "removed": True})


@router.post("/{id}/test")
async def test_target(id: str, request: Request) -> Response:
    """Send a test there now, whatever its rules are, and say how that ended."""
    node, principal, found = _found(request, id)
    _spend(node, principal)
    began_s = time.monotonic()
    way = way_of(found.url, found.secret, _out(node).networks)
    outcome = await way.send(Message(f"test.{uuid.uuid4().hex}", test=TEST_TEXT))
    took_ms = round((time.monotonic() - began_s) * 1000)
    return json_response({"id": id, "sent": outcome.kind == "sent", "error": outcome.error or None, "took_ms": took_ms})


@router.get("/{id}/dead")
async def dead_letters(id: str, request: Request) -> Response:
    """The events that were not taken and are not tried any more, oldest first; `lost` had no room here."""
    node, _, found = _found(request, id)
    state = await _state(node, found)
    return json_response({"dead": [msgspec.to_builtins(each) for each in state.dead], "lost": state.dead_lost})


@router.post("/{id}/replay")
async def replay(id: str, request: Request) -> Response:
    """Send again: all that matches `after` a seq, or `dead` letters by their seqs or `"all"`; each under its own id."""
    node, principal, found = _found(request, id)
    body = await json_of(request, ReplayBody)
    if (body.after is None) == (body.dead is None):
        raise InvalidRequest('give either `after` or `dead`: seqs, or "all"', field="after", allowed=["after", "dead"])
    if body.after is not None and not 0 <= body.after <= SEQ_MAX:
        raise InvalidRequest("`after` is a seq: a whole number from 0", field="after", got=body.after, allowed=">= 0")
    head = _out(node).tip.head(found.channel)
    if body.after is not None and body.after >= head:
        raise InvalidRequest("nothing comes after that seq yet", field="after", got=body.after, allowed=f"< {head}")
    seqs = body.dead if isinstance(body.dead, list) else []
    if body.dead not in (None, "all") and not (0 < len(seqs) <= DEAD_MAX and all(0 < seq <= SEQ_MAX for seq in seqs)):
        raise InvalidRequest("`dead` is a list of seqs, or all", field="dead", got=body.dead, allowed=["all"])
    await _check_dead(node, found, seqs)
    _spend(node, principal)
    order = Replay(0, body.after, tuple(body.dead) if isinstance(body.dead, list) else None)
    data = {"id": found.id, "after": order.after, "dead": order.dead}
    await node.administer(principal, "target.replayed", data)
    return json_response({"id": found.id, "after": order.after, "dead": order.dead or body.dead}, 202)


async def _check_dead(node: Node, target: Target, seqs: list[int]) -> None:
    """Pass if all of these are dead letters: nobody is told that something is sent again which is not.

    Raises:
        NotFound: names the first that is none.
    """
    others = set(seqs) - {each.seq for each in (await _state(node, target)).dead} if seqs else set()
    if others:
        text = "no dead letters of this target; `catalyst targets dead ID` lists them, `after` sends others again"
        raise NotFound(text, field="dead", got=min(others))


def _found(request: Request, id: str) -> tuple[Node, Principal, Target]:
    """The target, if it is theirs or they are an admin; what is not theirs is not there."""
    node, principal = node_of(request), principal_of(request, "subscribe")
    found = node.state.targets.get(id)
    if found is None or not _may_see(principal, found):
        raise NotFound("you have no target of that id", field="id", got=id)
    return node, principal, found


def _may_see(principal: Principal, target: Target) -> bool:
    return target.user == principal.subject or "admin" in principal.scopes


def _out(node: Node) -> Out:
    assert node.out is not None
    return node.out


def _spend(node: Node, principal: Principal) -> None:
    if "admin" not in principal.scopes:
        node.limits.targets.spend(principal.subject)


def _filter(node: Node, principal: Principal, source: Source | msgspec.UnsetType) -> str:
    """As it is kept: the name of a saved one, or the canonical text."""
    if source is msgspec.UNSET:
        return ""
    asked = node.asked_for(principal, source)
    return name_in(source) or asked.text


def _off(body: Change, present: str) -> str:
    if body.off is msgspec.UNSET:
        return present
    return (present or "switched off by its owner") if body.off else ""


async def _state(node: Node, target: Target) -> State:
    """As it is in the process that sends; elsewhere as it was kept last, some seconds ago at most."""
    runner = _out(node).runners.get(target.id)
    if runner is not None:
        return runner.state
    return state_of((await node.store.kept(f"{OUT}.{target.id}", target.channel)).state)


def _shown(node: Node, target: Target, state: State) -> dict[str, Any]:
    runner = _out(node).runners.get(target.id)
    state = runner.state if runner is not None else state
    right = right_of(node, target)
    why = target.off or (right if isinstance(right, str) else "")
    breaker, error = (runner.breaker.state, runner.breaker.error) if runner else (state.breaker, state.error)
    rules = target.rules
    due_us = pacing.due_us(rules_of(rules, None), state.pace, now_us())
    return {
        "id": target.id, "user": target.user, "url": redacted(target.url), "channel": target.channel,
        "filter": target.filter or None, "created_at": target.created_at,
        "max_per_hour": rules.get("max_per_hour"), "quiet_hours": rules.get("quiet_hours"),
        "cooldown_per_symbol_s": rules.get("cooldown_per_symbol_s", 0),
        "digest": _digest_in_words(rules.get("digest_s", 0)),
        "state": "off" if target.off else "stopped" if why else "failing" if breaker != "closed" else "working",
        "why": why or error or None, "breaker": breaker, "behind": runner.lag if runner is not None else None,
        "sent": state.sent, "digests": state.digests, "held": state.held,
        "holding": len(state.pace.held) + len(state.going), "next_digest_at": iso(due_us) if due_us else None,
        "dead": len(state.dead), "lost": state.lost,
    }  # fmt: skip


def _digest_in_words(seconds: int) -> str:
    return next((name for name, each in _DIGESTS.items() if each == seconds), f"{seconds}s")
