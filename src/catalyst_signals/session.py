"""One connection as a state machine, without sockets: what a client's message asks for, and where a position resumes.

Owns: the reading of client messages, the refusal of unknown options, the resume table. Knows nothing of I/O.
Law: nothing but `auth` is accepted before authentication; a position resumes exactly or the client is told why not.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from catalyst_signals.errors import (
    EpochChanged,
    InvalidRequest,
    PositionAhead,
    PositionTooOld,
    Unauthenticated,
    Unsupported,
)
from catalyst_signals.events import Epoch, check_channel_name, epoch_at
from catalyst_signals.modifiers import Modifiers
from catalyst_signals.signals import decode

MAX_AGE_S = (1, 10 * 366 * 86400)
POSITION_S = (1, 60)
_FIELDS = {
    "auth": ("key",),
    "subscribe": ("channel", "channels", "filter", "after", "epoch", "hash", "position_s", *Modifiers._fields),
    "unsubscribe": ("channel",),
    "publish": ("channel", "signal"),
    "ack": ("channel", "through"),
    "heartbeat": ("channel", "every_s"),
}  # What each message may hold beside `type` and `ref`: a mistyped `aftr` would be a silent loss.


@dataclass(frozen=True, slots=True)
class Auth:
    """`{"type":"auth","key":"cat_..."}`"""

    ref: object
    key: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`channels`: names, or None for all the key may see. `after` None: where it stands, or from now on."""

    ref: object
    channels: tuple[str, ...] | None
    filter: object
    after: int | None
    epoch: str | None
    hash8: str | None
    position_s: int | None
    modifiers: Modifiers


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """`{"type":"unsubscribe","channel":"main"}`"""

    ref: object
    channel: str


@dataclass(frozen=True, slots=True)
class Publish:
    """`{"type":"publish","channel":"main","signal":{...}}`; the signal is judged later."""

    ref: object
    channel: str
    signal: object


@dataclass(frozen=True, slots=True)
class Ack:
    """`{"type":"ack","channel":"main","through":10420}`: everything up to there was handled."""

    ref: object
    channel: str
    through: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`{"type":"heartbeat","channel":"main","every_s":60}`: a beat; `every_s` as `PUT .../heartbeat` takes it."""

    ref: object
    channel: str
    every_s: float | msgspec.UnsetType | None


class _PlainAck(msgspec.Struct, tag_field="type", tag="ack", forbid_unknown_fields=True):
    """As every client sends it once a second: read the short way, since nothing else comes so often."""

    through: Annotated[int, msgspec.Meta(ge=0, lt=2**63 - 1)]
    channel: str = "main"


_ACK = '{"type":"ack",'
_plain_ack = msgspec.json.Decoder(_PlainAck).decode


Command = Auth | Subscribe | Unsubscribe | Publish | Ack | Heartbeat


class Refusal(Exception):
    """A message that was understood far enough to answer: the error and the `ref` it belongs to."""

    def __init__(self, error: InvalidRequest | Unauthenticated, ref: object) -> None:
        super().__init__(str(error))
        self.error = error
        self.ref = ref


def read(text: str | bytes, *, authenticated: bool) -> Command:
    """The command in a client's message.

    Raises:
        Refusal: answer with an error message; the connection goes on.
        InvalidJson: not JSON at all.
    """
    if authenticated and isinstance(text, str) and text.startswith(_ACK):
        with suppress(msgspec.MsgspecError):  # What it is instead is said below.
            plain = _plain_ack(text)
            return Ack(None, plain.channel, plain.through)
    content = decode(text)
    ref = content.get("ref") if isinstance(content, dict) else None
    if isinstance(ref, Decimal):
        ref = float(ref)
    try:
        return _command(content, ref, authenticated)
    except (InvalidRequest, Unauthenticated) as error:
        raise Refusal(error, ref) from None


def _command(content: Any, ref: object, authenticated: bool) -> Command:
    if not isinstance(content, dict):
        raise InvalidRequest("a message is a JSON object", got=content, allowed="object")
    kind = content.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise InvalidRequest("a message needs a known `type`", field="type", got=kind, allowed=list(_FIELDS))
    _check_fields(content, kind)
    if kind == "auth":
        return Auth(ref, _text(content, "key"))
    if not authenticated:
        raise Unauthenticated('send {"type":"auth","key":"cat_..."} first')
    if kind == "publish":
        return Publish(ref, check_channel_name(content.get("channel", "main")), content.get("signal"))
    if kind == "ack":
        return Ack(ref, check_channel_name(content.get("channel", "main")), _through(content.get("through")))
    if kind == "heartbeat":
        return Heartbeat(ref, check_channel_name(content.get("channel", "main")), _every(content))
    if kind == "unsubscribe":
        return Unsubscribe(ref, check_channel_name(content.get("channel")))
    return _subscribe(content, ref)


def _check_fields(content: dict[str, Any], kind: str) -> None:
    for name, value in content.items():
        if name not in _FIELDS[kind] and name not in ("type", "ref"):
            raise Unsupported(f"`{kind}` has no `{name}`", field=name, got=value, allowed=list(_FIELDS[kind]))


def _subscribe(content: dict[str, Any], ref: object) -> Subscribe:
    return Subscribe(
        ref=ref,
        channels=_channels(content),
        filter=content.get("filter"),
        after=_seq(content.get("after")),
        epoch=_optional_text(content, "epoch"),
        hash8=_optional_text(content, "hash"),
        position_s=_whole(content, "position_s", POSITION_S),
        modifiers=modifiers_of(content),
    )


def _channels(content: dict[str, Any]) -> tuple[str, ...] | None:
    several = content.get("channels")
    if several is None:
        return (check_channel_name(content.get("channel", "main")),)
    if several != "*" and (not isinstance(several, list) or not several):
        raise InvalidRequest('`channels` is a list of names or "*"', field="channels", got=several)
    names = None if several == "*" else tuple(dict.fromkeys(check_channel_name(name) for name in several))
    if (names is None or len(names) > 1) and any(content.get(key) is not None for key in ("after", "epoch", "hash")):
        raise InvalidRequest("a position belongs to one channel: subscribe to each channel by itself", field="after")
    return names


def _seq(after: object) -> int | None:
    if after is None or (isinstance(after, int) and not isinstance(after, bool) and 0 <= after < 2**63):
        return after
    raise InvalidRequest("`after` is a seq: a whole number from 0", field="after", got=after, allowed=">= 0")


def _through(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise InvalidRequest("`through` is a seq: a whole number from 0", field="through", got=value, allowed=">= 0")


def _every(content: dict[str, Any]) -> float | msgspec.UnsetType | None:
    value = content.get("every_s", msgspec.UNSET)
    if value is None or value is msgspec.UNSET:
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return float(value)
    raise InvalidRequest("`every_s` is seconds, or null", field="every_s", got=value, allowed="a number or null")


def modifiers_of(content: Mapping[str, Any]) -> Modifiers:
    """The modifiers of a subscription; one that is not named has its default.

    Raises:
        InvalidRequest: names the modifier and what it may be.
    """
    return Modifiers(
        stale=_one_of(content, "stale", "hold", "send"),
        max_age_s=_whole(content, "max_age_s", MAX_AGE_S),
        mode=_one_of(content, "mode", "all", "latest"),
        ended=_one_of(content, "ended", "send", "hold"),
    )


def _one_of(content: Mapping[str, Any], name: str, default: str, other: str) -> Any:
    value = content.get(name)
    if value is None or value in (default, other):
        return value or default
    raise InvalidRequest(f"`{name}` is `{default}` or `{other}`", field=name, got=value, allowed=[default, other])


def _whole(content: Mapping[str, Any], name: str, limits: tuple[int, int]) -> int | None:
    value = content.get(name)
    low, high = limits
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
        return value
    raise InvalidRequest(f"`{name}` is whole seconds, {low} to {high}", field=name, got=value, allowed=f"{low}-{high}")


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    if isinstance(value, str) and value:
        return value
    raise InvalidRequest(f"`{name}` is a text", field=name, got=None if name == "key" else value)


def _optional_text(content: dict[str, Any], name: str) -> str | None:
    return None if content.get(name) is None else _text(content, name)


@dataclass(frozen=True, slots=True)
class Standing:
    """A log as a resuming client meets it: its epochs, the first kept seq and the hash8 before it, the end and its."""

    epochs: tuple[Epoch, ...]
    first: int
    before8: str
    head: int
    head8: str

    @property
    def epoch(self) -> str:
        """The present epoch's name."""
        return self.epochs[-1].name

    def epoch_at(self, seq: int) -> str:
        """The epoch that `seq` belongs to."""
        return epoch_at(self.epochs, seq)

    def hash8_at(self, seq: int) -> str | None:
        """The hash8 at the edges, which is all that is known without reading an event."""
        return self.head8 if seq == self.head else self.before8 if seq == self.first - 1 else None


def resume(log: Standing, *, after: int | None, epoch: str | None, hash8: str | None, known8: str | None) -> int:
    """The seq to go on after. `known8` is this log's hash8 at `after`, needed only when the client gave one.

    Raises:
        EpochChanged: what the client saw is not this log; says which range is void and where to go on.
        PositionAhead: beyond the end; the caller asks the store first.
        PositionTooOld: below the first kept; says the first.
    """
    if after is None:
        return log.head
    if epoch is not None and epoch != log.epoch:
        _check_older(log, epoch, after, same=hash8 is not None and hash8 == known8)
    if after > log.head:
        # Who knows this epoch and a hash was given what is not in this log any more; nobody knows from where on.
        again = {"void": [1, after], "resume_after": log.first - 1} if epoch == log.epoch and hash8 is not None else {}
        said = f"the log ends at {log.head}" + (": it was rewound; start again" if again else "")
        raise PositionAhead(said, field="after", got=after, head=log.head, epoch=log.epoch, **again)
    _check_void(log, after)
    if after < log.first - 1:
        raise PositionTooOld(field="after", got=after, first=log.first, last=log.head, epoch=log.epoch)
    if after and hash8 is not None and hash8 != known8:  # Also where this log has no event at all.
        raise EpochChanged(
            "the event at this position is another one here: the log was rewritten; start again",
            void=[1, after], resume_after=log.first - 1, epoch=log.epoch,
        )  # fmt: skip
    return after


def _check_void(log: Standing, after: int) -> None:
    """Nobody was ever given a place within a void by this log; its end is what we tell to resume after."""
    for epoch in log.epochs:
        if epoch.last_before < after < epoch.first - 1:
            raise _void_before(epoch, log)


def _void_before(epoch: Epoch, log: Standing) -> EpochChanged:
    """What was given out before an epoch and is not in the log: from where all agree up to the epoch's first."""
    agreed = epoch.agreed
    go_on = agreed if agreed < epoch.last_before else min(epoch.first - 1, log.head)  # A void may be the log's end yet.
    return EpochChanged(void=[agreed + 1, epoch.first - 1], resume_after=max(go_on, log.first - 1), epoch=log.epoch)


def _check_older(log: Standing, epoch: str, after: int, *, same: bool) -> None:
    """A position of an older epoch is good up to that epoch's end; what was given out beyond it is void.

    Where others went on under the same numbers before a rewind was noticed, only an event with the same hash is good.
    """
    if after == 0:
        return  # Nothing was seen of any log.
    successor = next((b for a, b in zip(log.epochs, log.epochs[1:], strict=False) if a.name == epoch), None)
    if successor is None:
        raise EpochChanged(
            "this position is from another log; start again",
            void=[1, after],
            resume_after=log.first - 1,
            epoch=log.epoch,
        )
    if after > successor.agreed and not same:
        raise _void_before(successor, log)
