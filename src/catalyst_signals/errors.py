"""Every error Catalyst raises or sends, in one tree.

Owns: wire names, HTTP statuses, close codes, and whether trying again can help. Knows nothing of transports.
Law: a message is for the person who can fix it: what was wrong, what was got, what is allowed.
Close codes: 4000-4499 mean reconnect, 4500-4999 mean do not (docs/protocol.md).

    CatalystError                       wire name             HTTP  close  retry
    ├── InvalidRequest                  request_invalid        400   4500   no
    │   ├── InvalidJson                 json_invalid           400   4500   no
    │   ├── InvalidDraft                draft_invalid          400   4500   no
    │   ├── InvalidFilter               filter_invalid         400   4500   no
    │   ├── InvalidName                 name_invalid           400   4500   no
    │   ├── Unsupported                 unsupported            400   4500   no
    │   ├── TooLate                     too_late               408   4000   yes
    │   └── TooLarge                    too_large              413   1009   no
    ├── Unauthenticated                 unauthenticated        401   4501   no
    ├── Forbidden                       forbidden              403   4503   no
    ├── NotFound                        not_found              404   4504   no
    │   ├── UnknownChannel              unknown_channel        404   4504   no
    │   └── MethodNotAllowed            method_not_allowed     405   4504   no
    ├── Conflict                        conflict               409   4509   no
    │   ├── IdConflict                  id_conflict            409   4509   no   same id, other draft
    │   └── IdTaken                     id_taken               409   4509   no   another subject's id
    ├── PositionLost                    position_lost          410   4410   no
    │   ├── EpochChanged                epoch_changed          409   4410   no   carries void, resume_after
    │   ├── PositionAhead               position_ahead         409   4410   no   carries head
    │   ├── PositionTooOld              position_too_old       410   4410   no   carries first, last
    │   └── RangeUntrusted              range_untrusted        503   4410   no   carries void, resume_after
    ├── Overloaded                      overloaded             503   4003   yes  carries retry_after_s
    │   ├── RateLimited                 rate_limited           429   4003   yes
    │   ├── TooSlow                     too_slow               503   4008   yes  carries the position
    │   └── Draining                    draining               503   1012   yes
    ├── Unavailable                     unavailable            503   4004   yes
    │   ├── StoreUnavailable            store_unavailable      503   4004   yes
    │   │   ├── Fenced                  store_fenced           503   4004   yes  the log is being moved
    │   │   └── Moved                   store_moved            503   4004   yes  a server goes along by itself
    │   ├── StoreFull                   store_full             507   4004   yes
    │   ├── HistoryRewritten            history_rewritten      503   4004   yes
    │   └── Unreachable                 unreachable            503   4004   yes  the client's own: no server answers
    └── Misconfigured                   misconfigured          500   1011   no   at start only
        ├── StoreInUse                  store_in_use           500   1011   no
        ├── StoreCorrupt                store_corrupt          500   1011   no   `verify` says which event
        └── MissingDriver               missing_driver         500   1011   no
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar


class CatalystError(Exception):
    """Something went wrong in Catalyst."""

    name: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        got: object = None,
        allowed: object = None,
        **extra: Any,
    ) -> None:
        """`message` is a sentence; without one the class's own docstring serves. `extra` goes on the wire."""
        self.message = message or (type(self).__doc__ or "").strip().split("\n")[0]
        self.field = field
        self.got = got
        self.allowed = allowed
        self.extra = extra
        super().__init__(self.message)

    def as_dict(self) -> dict[str, Any]:
        """The refusal as it goes on the wire: `error`, `message`, `retry`, and what else is known."""
        out: dict[str, Any] = {"error": self.name, "message": self.message}
        if self.field is not None:
            out["field"] = self.field
        if self.got is not None:
            out["got"] = shorten(self.got)
        if self.allowed is not None:
            out["allowed"] = self.allowed
        out["retry"] = self.retry
        return out | self.extra


class InvalidRequest(CatalystError):
    """The request cannot be understood."""

    name, status, close_code = "request_invalid", 400, 4500


class InvalidJson(InvalidRequest):
    """The body is not valid JSON in UTF-8."""

    name = "json_invalid"


class InvalidDraft(InvalidRequest):
    """The signal cannot be accepted as it is."""

    name = "draft_invalid"


class InvalidFilter(InvalidRequest):
    """The filter cannot be understood."""

    name = "filter_invalid"


class InvalidName(InvalidRequest):
    """The name has characters or a length that is not allowed."""

    name = "name_invalid"


class Unsupported(InvalidRequest):
    """This server does not know that option."""

    name = "unsupported"


class TooLate(InvalidRequest):
    """The request took too long to arrive; send it again."""

    name, status, close_code, retry = "too_late", 408, 4000, True


class TooLarge(InvalidRequest):
    """The message is larger than allowed."""

    name, status, close_code = "too_large", 413, 1009


class Unauthenticated(CatalystError):
    """A valid API key is needed: send `Authorization: Bearer cat_...`."""

    name, status, close_code = "unauthenticated", 401, 4501


class Forbidden(CatalystError):
    """This key may not do that."""

    name, status, close_code = "forbidden", 403, 4503


class NotFound(CatalystError):
    """There is nothing here under that name."""

    name, status, close_code = "not_found", 404, 4504


class UnknownChannel(NotFound):
    """There is no channel of that name; an admin makes one with `catalyst channels add NAME`."""

    name = "unknown_channel"


class MethodNotAllowed(NotFound):
    """This path does not take that method."""

    name, status = "method_not_allowed", 405


class Conflict(CatalystError):
    """The request conflicts with what is already stored."""

    name, status, close_code = "conflict", 409, 4509


class IdConflict(Conflict):
    """This id was already used for another draft; use a new id for a new signal."""

    name = "id_conflict"


class IdTaken(Conflict):
    """This id belongs to another publisher; use another id."""

    name = "id_taken"


class VersionConflict(Conflict):
    """The signal has another version by now; read it and decide again."""

    name = "version_conflict"


class SignalEnded(Conflict):
    """The signal has ended: nothing can follow; publish another."""

    name = "signal_ended"


class PositionLost(CatalystError):
    """The position cannot be resumed."""

    name, status, close_code = "position_lost", 410, 4410


class EpochChanged(PositionLost):
    """The log was restored since: events in `void` are gone for ever; go on after `resume_after`."""

    name, status = "epoch_changed", 409


class PositionAhead(PositionLost):
    """The position is beyond the end of the log."""

    name, status = "position_ahead", 409


class PositionTooOld(PositionLost):
    """Events after this position were dropped by retention; go on from `first`."""

    name = "position_too_old"


class RangeUntrusted(PositionLost):
    """The events in `void` are not what was written, so they are not shown; go on after `resume_after`."""

    name, status = "range_untrusted", 503


class Overloaded(CatalystError):
    """The server has too much to do; try again in a moment."""

    name, status, close_code, retry = "overloaded", 503, 4003, True


class RateLimited(Overloaded):
    """Too many requests; try again later."""

    name, status = "rate_limited", 429


class TooSlow(Overloaded):
    """The connection did not take its messages for too long; reconnect and resume from your position."""

    name, close_code = "too_slow", 4008


class Draining(Overloaded):
    """The server is going down for a restart; reconnect in a moment."""

    name, close_code = "draining", 1012


class Unavailable(CatalystError):
    """Something the server needs is not answering; try again."""

    name, status, close_code, retry = "unavailable", 503, 4004, True


class StoreUnavailable(Unavailable):
    """The store is not answering; nothing was lost, try again."""

    name = "store_unavailable"


class Fenced(StoreUnavailable):
    """The log is being moved to another store, which takes less than a second; nothing was stored, try again."""

    name = "store_fenced"


class Moved(StoreUnavailable):
    """The log is in another store now, and nothing is written here any more; start with its URL."""

    name = "store_moved"

    def __init__(self, message: str | None = None, *, to: str = "", **more: Any) -> None:
        """`to` is that URL with its password, so it is no part of what is told."""
        super().__init__(message, **more)
        self.to = to


class StoreFull(Unavailable):
    """The disk of the store is full: nothing was stored, reading goes on; free space and try again."""

    name, status = "store_full", 507


class HistoryRewritten(Unavailable):
    """The store no longer agrees with what was delivered; resume from your position, you are told what is gone."""

    name = "history_rewritten"


class Unreachable(Unavailable):
    """No Catalyst server answers at that address."""

    name = "unreachable"


class Misconfigured(CatalystError):
    """The server cannot start with these settings."""

    name = "misconfigured"


class StoreInUse(Misconfigured):
    """Another process is writing to this store; stop it first, or open another file."""

    name = "store_in_use"


class StoreCorrupt(Misconfigured):
    """The store cannot be trusted; run `catalyst verify` on it."""

    name = "store_corrupt"


class MissingDriver(Misconfigured):
    """A driver is missing; install the extra that brings it."""

    name = "missing_driver"


def every_error() -> list[type[CatalystError]]:
    """All error classes, parents before children, in the order of this file."""
    found: list[type[CatalystError]] = []
    todo: list[type[CatalystError]] = [CatalystError]
    while todo:
        cls = todo.pop(0)
        found.append(cls)
        todo = cls.__subclasses__() + todo
    return found


def from_dict(refusal: dict[str, Any]) -> CatalystError:
    """The refusal a server sent, as the exception it stands for; an unknown name becomes its nearest kind."""
    known = {cls.name: cls for cls in every_error()}
    cls = known.get(str(refusal.get("error")), CatalystError)
    plain = {k: v for k, v in refusal.items() if k not in ("error", "message", "retry", "type", "ref")}
    return cls(refusal.get("message"), **plain)


def shorten(value: object, limit: int = 200) -> object:
    """`value` as it may stand in an error: a long text is cut, anything not plain becomes its repr."""
    if isinstance(value, bool | int | float):
        return value
    text = str(value) if isinstance(value, str | Decimal) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
