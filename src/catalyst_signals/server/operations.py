"""What REST takes and answers, route by route, where FastAPI cannot see it: the handlers read the bare request.

Owns: for each route its scope, body, answers, refusals and an example. Bodies are the structs that the handlers decode.
Law: a route that is not in the table fails tests/unit/test_describing.py, an answer that is not as described fails
tests/server/test_openapi.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from catalyst_signals.advisor import Advice
from catalyst_signals.deeds import DONE
from catalyst_signals.events import CHANNEL_NAME
from catalyst_signals.ingest import ADAPTERS
from catalyst_signals.projections import FILTER_NAME
from catalyst_signals.publish import DRAFTS_MAX
from catalyst_signals.server import (
    admin,
    advising,
    answers,
    api,
    filters,
    halts,
    heartbeats,
    sources,
    targets,
    transferring,
    versions,
)

Schema = dict[str, Any]

OBJECT: Schema = {"type": "object"}
TEXT: Schema = {"type": "string"}
DRAFT: Schema = {
    "title": "Draft",
    "type": "object",
    "description": "A signal as its publisher sends it: docs/protocol.md has every field.",
    "required": ["action"],
    "anyOf": [{"required": [name]} for name in ("symbol", "ticker", "instrument")],
    "properties": {"action": {"type": "string", "minLength": 1}, "tags": {"type": ["array", "null"], "items": TEXT}},
}
ONE: Schema = {"$ref": "#/components/schemas/Draft"}
SEVERAL: Schema = {"type": "array", "items": ONE, "minItems": 1, "maxItems": DRAFTS_MAX}
DEED: Schema = {
    "type": "object",
    "required": ["what"],
    "properties": {"what": {"enum": list(DONE)}},
}

JSON, NDJSON, ANY = "application/json", "application/x-ndjson", "*/*"


class Operation(NamedTuple):
    """`answers` by status; `body` a struct, or schemas by media type; `also`: refusals besides those of its kind."""

    answers: dict[int, Any]
    scope: str = "subscribe"
    body: type[msgspec.Struct] | dict[str, Schema] | None = None
    also: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    optional: bool = False  # The body may be left out.
    example: Any = None  # Of the body.


SIGNAL = "/v1/channels/{channel}/signals/{id}"
TARGET = "/v1/targets/{id}"
OPERATIONS = {
    "POST /in/{adapter}/{secret}": Operation(
        {200: answers.Accepted | answers.AcceptedMany | answers.Preview, 201: answers.Accepted | answers.AcceptedMany,
         202: answers.Question},
        "", {ANY: {}}, also=(401, 403, 409), queries=("dry_run", "confirm"), optional=True,
        example={"ticker": "NASDAQ:ACME", "action": "buy", "price": "10.15"},
    ),
    "POST /v1/channels/{channel}/signals": Operation(
        dict.fromkeys((200, 201), answers.Accepted | answers.AcceptedMany),
        "publish", {JSON: {"oneOf": [ONE, SEVERAL]}, NDJSON: TEXT}, headers=("Idempotency-Key",),
        example={"symbol": "ACME", "action": "BUY", "confidence": 0.82, "stop": "9.40", "id": "acme-1"},
    ),
    "GET /v1/channels/{channel}/events": Operation(
        {200: answers.History, 304: None}, also=(409, 410), headers=("If-None-Match",)
    ),
    "GET /v1/channels": Operation({200: answers.Channels}),
    "GET /v1/channels/{channel}": Operation({200: answers.ChannelShown}),
    "PUT /v1/channels/{channel}": Operation(
        dict.fromkeys((200, 201), answers.ChannelShown), "admin", api.ChannelBody, optional=True,
        example={"retention": {"age_s": 86400, "count": None}},
    ),
    "POST /v1/filters/check": Operation(
        {200: answers.Checked}, body=filters.FilterBody, also=(404,), optional=True,
        example={"filter": "symbol in (ACME, XYZ) and confidence >= 0.7"},
    ),
    "POST /v1/filters/explain": Operation(
        {200: answers.Explained}, body=filters.ExplainBody, also=(404, 410),
        example={"filter": "confidence >= 0.7", "channel": "main", "seq": 1},
    ),
    "POST /v1/filters/rehearse": Operation(
        {200: answers.Rehearsed}, body=filters.RehearseBody, also=(404,), optional=True,
        example={"filter": "confidence >= 0.7", "against": "confidence >= 0.8"},
    ),
    "GET /v1/filters": Operation({200: answers.SavedFilters}),
    "GET /v1/filters/{name}": Operation({200: answers.SavedFilter}),
    "PUT /v1/filters/{name}": Operation(
        dict.fromkeys((200, 201), answers.SavedFilter), body=filters.FilterBody, optional=True,
        example={"filter": "symbol in (ACME, XYZ)"},
    ),
    "DELETE /v1/filters/{name}": Operation({200: answers.RemovedName}),
    f"POST {SIGNAL}/deeds": Operation(
        dict.fromkeys((200, 201), answers.Accepted), body={JSON: DEED},
        example={"what": "executed", "id": "d-1", "fills": [{"qty": "100", "price": "9.41", "venue": "XNAS"}]},
    ),
    f"GET {SIGNAL}/deliveries": Operation({200: answers.Deliveries}),
    f"POST {SIGNAL}/cancel": Operation(
        {200: answers.Accepted}, "publish", versions.CancelBody, headers=("If-Match",), optional=True,
        example={"reason": "trial halted"},
    ),
    f"GET {SIGNAL}": Operation({200: answers.Versions}),
    f"PATCH {SIGNAL}": Operation(
        {200: answers.Accepted}, "publish", {JSON: OBJECT}, headers=("If-Match",),
        example={"confidence": 0.6, "note": None},
    ),
    f"DELETE {SIGNAL}": Operation({200: answers.Erased}, "admin", also=(410,)),
    "DELETE /v1/channels/{channel}/events/{seq}": Operation({200: answers.Erased}, "admin", also=(410,)),
    "GET /v1/keys": Operation({200: answers.Keys}, "admin"),
    "POST /v1/keys": Operation(
        {201: answers.NewKey}, "admin", admin.KeyBody,
        example={"user": "eve", "scopes": ["subscribe"], "channels": ["main"], "filter": "confidence >= 0.5"},
    ),
    "DELETE /v1/keys/{id}": Operation({200: answers.Revoked}, "admin"),
    "GET /v1/users": Operation({200: answers.Users}, "admin"),
    "POST /v1/users": Operation(
        dict.fromkeys((200, 201), answers.UserShown), "admin", admin.UserBody, example={"user": "eve"}
    ),
    "DELETE /v1/users/{user}": Operation({200: answers.RemovedUser}, "admin"),
    "GET /v1/ingest": Operation({200: answers.Sources}, "admin"),
    "POST /v1/ingest": Operation(
        {201: answers.NewSource}, "admin", sources.SourceBody, also=(404,), example={"adapter": "tradingview"}
    ),
    "POST /v1/ingest/{id}/rotate": Operation(
        {200: answers.NewSource}, "admin", sources.RotateBody, optional=True, example={"overlap_s": 3600}
    ),
    "DELETE /v1/ingest/{id}": Operation({200: answers.Removed}, "admin"),
    "POST /v1/targets": Operation(
        {201: answers.NewTarget}, body=targets.TargetBody, also=(404,),
        example={"url": "https://example.com/hook", "filter": "confidence >= 0.8", "max_per_hour": 60},
    ),
    "GET /v1/targets": Operation({200: answers.Targets}),
    f"GET {TARGET}": Operation({200: answers.TargetShown}),
    f"PATCH {TARGET}": Operation(
        {200: answers.TargetShown}, body=targets.Change, optional=True,
        example={"quiet_hours": {"from": "22:00", "to": "07:00", "tz": "Europe/Berlin"}},
    ),
    f"DELETE {TARGET}": Operation({200: answers.Removed}),
    f"POST {TARGET}/test": Operation({200: answers.Tested}),
    f"GET {TARGET}/dead": Operation({200: answers.DeadLetters}),
    f"POST {TARGET}/replay": Operation({202: answers.Replayed}, body=targets.ReplayBody, example={"after": 0}),
    "GET /v1/halts": Operation({200: answers.Halts}),
    "POST /v1/halts": Operation(
        dict.fromkeys((200, 201), answers.HaltShown), "admin", halts.HaltBody, also=(404,),
        example={"symbol": "ACME", "reason": "trading is suspended"},
    ),
    "DELETE /v1/halts/{id}": Operation({200: answers.Lifted}, "admin"),
    "GET /v1/heartbeats": Operation({200: answers.Heartbeats}, "admin"),
    "PUT /v1/heartbeats": Operation(
        {200: answers.HeartbeatShown | answers.NoHeartbeat}, "admin", heartbeats.HeartbeatBody, also=(404,),
        example={"source": "ingest.7Kx2mQ9a", "channel": "main", "every_s": 900},
    ),
    "PUT /v1/channels/{channel}/heartbeat": Operation(
        {200: answers.HeartbeatShown | answers.NoHeartbeat}, "publish", heartbeats.BeatBody, optional=True,
        example={"every_s": 60},
    ),
    "GET /v1/transfer": Operation({200: answers.Moving}, "admin", also=(404,)),
    "POST /v1/transfer": Operation(
        {202: answers.Moving}, "admin", transferring.TransferBody,
        example={"from": "sqlite:///catalyst.db", "to": "postgresql://catalyst@db.example/catalyst"},
    ),
    "GET /v1/advice": Operation({200: Advice}, "admin"),
    "GET /v1/advice.svg": Operation({200: {advising.SVG: TEXT}}, "admin"),
    "GET /v1/channels/{channel}/stream": Operation(
        {200: {"text/event-stream": TEXT}}, also=(409, 410), headers=("Last-Event-ID",)
    ),
    "GET /healthz": Operation({200: answers.Alive}, ""),
    "GET /readyz": Operation({200: answers.Ready, 503: answers.Ready}, "", also=(401,)),
    "GET /metrics": Operation({200: {"text/plain": TEXT}}, "", also=(401,)),
}  # fmt: skip

# What is asked of parameters, by name: FastAPI knows only which there are.
PLACES: dict[str, Schema] = {
    "channel": TEXT | {"pattern": f"^{CHANNEL_NAME.pattern}$"}, "name": TEXT | {"pattern": f"^{FILTER_NAME.pattern}$"},
    "adapter": {"enum": sorted(ADAPTERS)}, "seq": {"type": "integer", "minimum": 1},
    "after": {"type": "integer", "minimum": 0}, "limit": {"type": "integer", "minimum": 1, "maximum": api.HISTORY_MAX},
    "max_age_s": {"type": "integer", "minimum": 1}, "version": {"type": "integer", "minimum": 1},
    "stale": {"enum": ["hold", "send"]},
    **{name: msgspec.json.schema(kind) for name, (kind, _) in advising.ASKED.items()},
}  # fmt: skip
HEADERS: dict[str, str] = {
    "Idempotency-Key": "The id of a signal that has none itself.",
    "If-None-Match": "The `ETag` of a page that is here already.",
    "If-Match": 'Only if the signal is at this version: `"2"`.',
    "Last-Event-ID": "The last `id` that came: go on after it.",
}
QUERIES: dict[str, str] = {
    "dry_run": "Show what the body would become, and keep nothing; unless it is `0` or `false`.",
    "confirm": "What the answer 202 to the same body said.",
}
