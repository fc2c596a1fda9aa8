"""The Adapter port: a webhook's body, in the sender's own words, becomes drafts. Adapters live beside this file.

Owns: which adapters there are, the ids of what came in, what is kept of the raw body, and what a secret looks like.
Knows nothing of HTTP, channels or stores. Law: an adapter is a pure function of (body, content type); it never guesses
a direction, never takes a distance for a price, and no field that looks like a secret gets past it.

Ids, so that a sender's retry is stored once: `{adapter}.{ingest}.{key}`, where the key is
- the sender's own, where its dialect has one (adapters say which);
- else the hash of the body, where the body names a time of the last 24 hours (`{{timenow}}`, `{{time}}`): the same
  bytes are the same signal, however late they come again;
- else the hash of the body and the minute of arrival, for the same words may be a new alert tomorrow. A retry that
  crosses the minute is a second signal: put `{{timenow}}` into the alert. Two equal alerts in a minute are one.
Several drafts of one body get `.0`, `.1` ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import import_module
from typing import Any, Protocol

import msgspec

from catalyst_signals.errors import CatalystError, InvalidDraft, InvalidJson, NotFound
from catalyst_signals.events import Draft, check_id
from catalyst_signals.kinds import DEPTH_MAX, RFC3339, as_time
from catalyst_signals.signals import decode, place

ADAPTERS = {
    "tradingview": "catalyst_signals.ingest.tradingview:TradingView",
    "generic": "catalyst_signals.ingest.generic:Generic",
}
"""Name of an adapter -> where it is."""

RAW_BYTES_MAX = 16 << 10
KEY_CHARS_MAX = 64
_RECENT_S = 24 * 3600
_AHEAD_S = 600  # A sender's clock may be wrong by this much.
_BLANK = "***"
_REASON = ("error", "field", "line", "column")

_SECRET = re.compile(
    r"secret|passw|passphrase|pwd|(?<!idempotency)(?<!idempotency[_-])key(?!word)|token|licen[cs]e|credential|authorization",
    re.IGNORECASE,
)
_NAMED = re.compile(r"""(?<![\w.-])([\w.-]{1,64})(\\*["'])?\s*([:=])\s*""")
_QUOTE = re.compile(r"""\\*["']""")
_INSIDE = {quote: re.compile(rf"(?:[^{quote}\\]|\\.)*", re.DOTALL) for quote in "\"'"}
_BARE_END = {"=": re.compile(r"[\s,;&}\]]"), ":": re.compile(r"[\r\n,}\]]")}
_PLACEHOLDER = re.compile(r"\{\{[^{}\n]{0,60}(?:\}\})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a body says: drafts that `signal_draft` takes, none when it holds no signal.

    `id` as an adapter gives it is the sender's own key for the whole body, or empty; as `read` gives it, it is the id
    that `ingest.received` is stored under; a single draft has the same.
    """

    drafts: list[dict[str, Any]]
    id: str = ""


class Adapter(Protocol):
    """One sender's dialect."""

    name: str

    def read(self, raw: bytes, content_type: str) -> Reading:
        """What the body says. Raises InvalidJson or InvalidDraft in words its sender understands."""


def read(adapter_name: str, raw: bytes, content_type: str, *, ingest_id: str, now_us: int) -> Reading:
    """The drafts of a body, each with its id.

    Raises:
        NotFound: there is no such adapter.
        InvalidJson, InvalidDraft, InvalidName: the body cannot be read; nothing of it should be stored as a signal.
    """
    reading = _adapter(adapter_name).read(raw, content_type)
    prefix = f"{adapter_name}.{ingest_id}."
    base = id_of_body(adapter_name, raw, ingest_id=ingest_id, now_us=now_us)
    if reading.id:
        base = prefix + _key(reading.id)
    drafts = []
    for at, draft in enumerate(reading.drafts):
        own = draft.get("id")
        numbered = base if len(reading.drafts) == 1 else f"{base}.{at}"
        drafts.append({**draft, "id": numbered if own is None else prefix + _key(own)})
    return replace(reading, drafts=drafts, id=drafts[0]["id"] if len(drafts) == 1 else base)


def id_of_body(adapter_name: str, raw: bytes, *, ingest_id: str, now_us: int) -> str:
    """The id of a body whose sender gave none; also for one that is refused and yet to be kept."""
    body = raw.strip()
    now_s = now_us // 1_000_000
    text = body.decode(errors="replace")
    moments = (as_time(found[0]) for found in RFC3339.finditer(text))
    timed = any(-_AHEAD_S <= now_s - moment.timestamp() <= _RECENT_S for moment in moments if moment is not None)
    minute = b"" if timed else b"\0%d" % (now_s // 60)
    return f"{adapter_name}.{ingest_id}.{sha256(body + minute).hexdigest()[:32]}"


def received_draft(
    adapter_name: str, raw: bytes, content_type: str, *, ingest_id: str, id: str, refused: CatalystError | None = None
) -> Draft:
    """The `ingest.received` draft: the body as it came, redacted, at most 16 KiB, and where it was at fault."""
    text, truncated = _kept_text(raw)
    data: dict[str, Any] = {
        "adapter": adapter_name, "ingest": ingest_id, "content_type": content_type[:128], "raw": text,
    }  # fmt: skip
    if truncated:
        data["truncated"] = True
    if refused is not None:
        # Not its message, which may quote the body: an unquoted secret is a fault that is quoted.
        data["refused"] = {name: value for name, value in refused.as_dict().items() if name in _REASON}
    body = msgspec.json.encode({"data": data})
    return Draft(type="ingest.received", id=id, body=body, draft_hash=sha256(raw.strip()).digest())


def decode_once(text: str) -> Any:
    """A sender's JSON, in which no name may stand twice in one object: which of the two is meant, nobody knows.

    Raises:
        InvalidJson: it is not JSON; says where. InvalidDraft: names what is there twice.
    """
    content = decode(text)
    with suppress(ValueError, RecursionError):  # The two decoders differ in how deep they go; depth is judged later.
        json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_no_name_twice)
    return content


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        twice = next(name for at, (name, _) in enumerate(pairs) if name in [each for each, _ in pairs[:at]])
        raise InvalidDraft(f"`{twice}` is there twice: send it once", field=twice)
    return names


def sender_text(raw: bytes) -> str:
    """The body as text, if it is UTF-8, not empty and every placeholder in it was filled in.

    Raises:
        InvalidJson, InvalidDraft: it is not; says where.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        raise InvalidJson(f"the body is not UTF-8: byte {bad.start + 1} is 0x{raw[bad.start]:02x}") from None
    if not text.strip():
        raise InvalidDraft("the body is empty; the alert's message is what is sent")
    found = _PLACEHOLDER.search(text)
    if found is not None:
        line, column = place(text, found.start())
        why = "was not filled in: it is misspelt, or not for this kind of alert"
        text = f"the placeholder {found[0]} at line {line}, column {column} {why}"
        raise InvalidDraft(text, field=found[0].strip("{} "), got=found[0], line=line, column=column)
    return text


def is_secret(name: str) -> bool:
    """Whether a field of that name holds something nobody else should see."""
    return _SECRET.search(name) is not None


def without_secrets(value: Any, depth: int = 0) -> Any:
    """A decoded body without the fields that hold secrets, at any depth."""
    if depth > DEPTH_MAX:
        raise InvalidDraft(f"the body is nested more than {DEPTH_MAX} deep", allowed=DEPTH_MAX)
    if isinstance(value, dict):
        return {name: without_secrets(each, depth + 1) for name, each in value.items() if not is_secret(name)}
    if isinstance(value, list):
        return [without_secrets(each, depth + 1) for each in value]
    return value


def redact(text: str) -> str:
    """`text` with the values of secret fields blanked: in JSON, in forms, and in `key=value` or `key: value`."""
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    done = 0
    while (found := _next_secret(text, done)) is not None:
        start, end = found
        yield text[done:start]
        yield _BLANK
        done = end
    yield text[done:]


def _next_secret(text: str, after: int) -> tuple[int, int] | None:
    """Where the value of the next secret field begins and ends, without its quotes."""
    for named in _NAMED.finditer(text, after):
        if not is_secret(named[1]):
            continue
        start = named.end()
        quote = _QUOTE.match(text, start)
        if quote is not None:
            return quote.end(), _closing(text, quote[0], quote.end())
        if text[start : start + 1] in ("[", "{"):
            return start, _bracket_end(text, start)
        stop = _BARE_END[named[3]].search(text, start)
        end = stop.start() if stop else len(text)
        if end > start:
            return start, end
    return None


def _closing(text: str, quote: str, start: int) -> int:
    """Where the quoted value that begins at `start` ends; the end of the text if it never does."""
    inside = _INSIDE.get(quote)
    if inside is not None:
        found = inside.match(text, start)
        return found.end() if found else start
    at = text.find(quote, start)  # An escaped quote: JSON inside a text of JSON.
    return at if at >= 0 else len(text)


def _bracket_end(text: str, start: int) -> int:
    """Just after the bracket that closes the one at `start`; brackets inside texts do not count."""
    depth, quoted, at = 0, False, start
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif char == '"':
            quoted = not quoted
        elif not quoted and char in "[{":
            depth += 1
        elif not quoted and char in "]}":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return len(text)


def _kept_text(raw: bytes) -> tuple[str, bool]:
    text = redact(raw[:RAW_BYTES_MAX].decode(errors="replace"))
    whole = text.encode()
    cut = whole[:RAW_BYTES_MAX].decode(errors="ignore")
    return cut, len(raw) > RAW_BYTES_MAX or len(whole) > RAW_BYTES_MAX


def _key(own: Any) -> str:
    """A sender's own key as part of an id: as it is when short, else its hash."""
    key = check_id(str(own) if isinstance(own, int) and not isinstance(own, bool) else own)
    return key if len(key) <= KEY_CHARS_MAX else sha256(key.encode()).hexdigest()[:32]


def _adapter(name: str) -> Adapter:
    target = ADAPTERS.get(name)
    if target is None:
        raise NotFound(f"there is no adapter {name!r}", field="adapter", got=name, allowed=sorted(ADAPTERS))
    module, cls = target.split(":")
    adapter: Adapter = getattr(import_module(module), cls)()
    return adapter
