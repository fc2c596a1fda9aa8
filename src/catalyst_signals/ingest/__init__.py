"""The Adapter port: a webhook's body, in the sender's own words, becomes drafts. Adapters live beside this file.

Owns: which adapters there are, the ids of what came in, what is kept of the raw body, and what a secret looks like.
Knows nothing of HTTP, channels or stores. Law: an adapter is a pure function of (body, content type); it never guesses
a direction, never takes a distance for a price, and no field that looks like a secret gets past it.

Ids, so that a sender's retry is stored once: `{adapter}.{ingest}.{key}`, where the key is
- the sender's own, where its dialect has one (adapters say which);
- else the hash of the body, where the body names a time of the last 24 hours (`{{timenow}}`, `{{time}}`, or seconds
  or milliseconds since 1970): the same bytes are the same signal, however late they come again;
- else the hash of the body and the minute of arrival, for the same words may be a new alert tomorrow. A retry that
  crosses the minute is a second signal: put `{{timenow}}` into the alert. Two equal alerts in a minute are one.
Several drafts of one body get `.0`, `.1` ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from typing import Any, Protocol

import msgspec

from catalyst_signals.errors import CatalystError, InvalidDraft, InvalidJson, InvalidRequest, NotFound
from catalyst_signals.events import Draft, check_id
from catalyst_signals.kinds import DEPTH_MAX, RFC3339, as_time, shown
from catalyst_signals.signals import check_not_expired, decode, place, signal_draft

ADAPTERS = {
    "tradingview": "catalyst_signals.ingest.tradingview:TradingView",
    "traderspost": "catalyst_signals.ingest.traderspost:TradersPost",
    "threecommas": "catalyst_signals.ingest.threecommas:ThreeCommas",
    "okx": "catalyst_signals.ingest.okx:Okx",
    "altrady": "catalyst_signals.ingest.altrady:Altrady",
    "copyfactory": "catalyst_signals.ingest.copyfactory:CopyFactory",
    "pineconnector": "catalyst_signals.ingest.pineconnector:PineConnector",
    "octobot": "catalyst_signals.ingest.octobot:OctoBot",
    "cornix": "catalyst_signals.ingest.cornix:Cornix",
    "freqtrade": "catalyst_signals.ingest.freqtrade:Freqtrade",
    "generic": "catalyst_signals.ingest.generic:Generic",
    "freqtrade_ws": "catalyst_signals.ingest.freqtrade_ws:FreqtradeWs",
    "rss": "catalyst_signals.ingest.rss:Rss",
    "edgar": "catalyst_signals.ingest.edgar:Edgar",
    "jsonl": "catalyst_signals.ingest.jsonl:JsonLines",
}
"""Name of an adapter -> where it is."""

RAW_BYTES_MAX = 16 << 10
KEY_CHARS_MAX = 64
NAME_CHARS_KEPT = 64  # Of what is remembered of names: longer ones are looked at each time.
_RECENT_S = 24 * 3600
_AHEAD_S = 600  # A sender's clock may be wrong by this much.
_BLANK = "***"
_REASON = ("error", "field", "line", "column", "sender_error")

_SECRET = re.compile(
    r"secret|passw|passphrase|pwd|(?<!idempotency)(?<!idempotency[_-])key(?!word)|token|licen[cs]e|credential|authorization",
    re.IGNORECASE,
)
_SINCE_1970 = re.compile(r"(?<![0-9.])([12][0-9]{9})(?:[0-9]{3})?(?![0-9])")
_NAMED = re.compile(r"""(?<![\w.-])([\w.-]{1,64})(\\*["'])?\s*([:=])\s*""")
_QUOTE = re.compile(r"""\\*["']""")
_INSIDE = {quote: re.compile(rf"(?:[^{quote}\\]|\\.)*", re.DOTALL) for quote in "\"'"}
_BARE_END = {"=": re.compile(r"[\s,;&}\]]"), ":": re.compile(r"[\r\n,}\]]")}
_PLACEHOLDER = re.compile(r"\{\{[^{}\n]{0,60}(?:\}\})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a body says: drafts that `signal_draft` takes, none when it holds no signal; `items` are news.

    `id` as an adapter gives it is the sender's own key for the whole body, or empty; as `read` gives it, it is the id
    that `ingest.received` is stored under; a single draft has the same. A draft and an item may name their own `id`.
    `doubts` say why somebody should look at the drafts before they are published.
    """

    drafts: list[dict[str, Any]]
    id: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


class Adapter(Protocol):
    """One sender's dialect. What an admin chose when the source was made reaches `__init__` as keyword arguments.

    A class may also have `OPTIONS`, what can be chosen (name -> values allowed); `PASTE`, what to do at the sender's,
    with `{url}` for the address; and a static `hide(text)`, which blanks secrets that are known by their place alone.
    """

    name: str

    def read(self, raw: bytes, content_type: str) -> Reading:
        """What the body says. Raises InvalidJson or InvalidDraft in words its sender understands."""


def read(
    adapter_name: str, raw: bytes, content_type: str, *, ingest_id: str, now_us: int,
    options: Mapping[str, str] | None = None, key: str = "",
) -> Reading:  # fmt: skip
    """The drafts and items of a body, each with its id; `key` is the sender's own for the body if it came beside it.

    Raises:
        NotFound: there is no such adapter.
        InvalidJson, InvalidDraft, InvalidName: the body cannot be read; nothing of it should be stored as a signal.
    """
    reading = adapter_of(adapter_name, options).read(raw, content_type)
    prefix = f"{adapter_name}.{ingest_id}."
    if key or reading.id:
        base = prefix + _key(key or reading.id)
    else:
        base = id_of_body(adapter_name, raw, ingest_id=ingest_id, now_us=now_us)
    drafts, items = _with_ids(reading.drafts, base, prefix), _with_ids(reading.items, base, prefix)
    id = drafts[0]["id"] if len(drafts) == 1 else base
    return Reading(drafts=drafts, items=items, id=id, doubts=reading.doubts)


def _with_ids(found: list[dict[str, Any]], base: str, prefix: str) -> list[dict[str, Any]]:
    named = []
    for at, each in enumerate(found):
        own = each.get("id")
        numbered = base if len(found) == 1 else f"{base}.{at}"
        named.append({**each, "id": numbered if own is None else prefix + _key(own)})
    return named


def preview(
    adapter_name: str, raw: bytes, content_type: str, *, ingest_id: str, subject: str, now_us: int,
    options: Mapping[str, str] | None = None, key: str = "",
) -> dict[str, Any]:  # fmt: skip
    """What a body would become: `drafts` as they would be stored, `items` if there are any; nothing is kept.

    What comes too late for its own `expires_at` is shown all the same; `would_refuse` says so.

    Raises:
        As `read`, and as `signal_draft`: the refusal that posting it would get.
    """
    reading = read(
        adapter_name, raw, content_type, ingest_id=ingest_id, now_us=now_us, options=options, key=key
    )  # fmt: skip
    drafts = [_as_stored(signal_draft(draft, subject=subject)[0]) for draft in reading.drafts]
    out: dict[str, Any] = {"drafts": drafts}
    if reading.items:
        out["items"] = [_as_stored(item_draft(item)) for item in reading.items]
    if reading.doubts:
        out["doubts"] = reading.doubts
    late = next((late for draft in drafts if (late := check_not_expired(draft, now_us)) is not None), None)
    return out if late is None else out | {"would_refuse": late.as_dict()}


def _as_stored(draft: Draft) -> dict[str, Any]:
    return {"id": draft.id, **msgspec.json.decode(draft.body)["data"]}


def item_draft(item: Mapping[str, Any]) -> Draft:
    """A piece of news as `item.received`, for the channel `items`; the same `id` is stored once.

    Its hash is over the id alone: a feed that mends its text sends the same item, not another one under its name.
    """
    data = {name: value for name, value in item.items() if name != "id"}
    body = msgspec.json.encode({"data": data})
    return Draft(type="item.received", id=item["id"], body=body, draft_hash=sha256(item["id"].encode()).digest())


def id_of_body(adapter_name: str, raw: bytes, *, ingest_id: str, now_us: int) -> str:
    """The id of a body whose sender gave none; also for one that is refused and yet to be kept."""
    body = raw.strip()
    now_s = now_us // 1_000_000
    text = body.decode(errors="replace")
    timed = any(-_AHEAD_S <= now_s - moment <= _RECENT_S for moment in _moments_in(text))
    minute = b"" if timed else b"\0%d" % (now_s // 60)
    return f"{adapter_name}.{ingest_id}.{sha256(body + minute).hexdigest()[:32]}"


def _moments_in(text: str) -> Iterator[float]:
    """Every time a text names, in seconds since 1970."""
    for found in RFC3339.finditer(text):
        moment = as_time(found[0])
        if moment is not None:
            yield moment.timestamp()
    for since in _SINCE_1970.finditer(text):
        yield float(since[1])


def received_draft(
    adapter_name: str, raw: bytes, content_type: str, *, ingest_id: str, id: str, refused: CatalystError | None = None
) -> Draft:
    """The `ingest.received` draft: the body as it came, redacted, at most 16 KiB, and where it was at fault."""
    text, truncated = _kept_text(raw, getattr(_class_of(adapter_name), "hide", str))
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
        _once.decode(text.removeprefix("\ufeff"))
    return content


def objects_in(raw: bytes, what: str) -> list[dict[str, Any]]:
    """The JSON objects of a body that is one of them or a list of them, without what is secret in them.

    `what` is the name of one, for the refusal.

    Raises:
        InvalidJson, InvalidDraft: it is neither; says where.
    """
    content = decode_once(sender_text(raw))
    found = content if isinstance(content, list) else [content]
    for each in found:
        if not isinstance(each, dict):
            raise InvalidDraft(f"{what} is a JSON object, got {shown(each)}", got=shown(each), allowed="a JSON object")
    return [without_secrets(each) for each in found]


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        twice = next(name for at, (name, _) in enumerate(pairs) if name in [each for each, _ in pairs[:at]])
        raise InvalidDraft(f"`{twice}` is there twice: send it once", field=twice)
    return names


_once = json.JSONDecoder(object_pairs_hook=_no_name_twice)


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
    return _is_secret(name) if len(name) <= NAME_CHARS_KEPT else _SECRET.search(name) is not None


@lru_cache(maxsize=4096)  # A sender's names are few and come again and again.
def _is_secret(name: str) -> bool:
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


def _kept_text(raw: bytes, hide: Callable[[str], str]) -> tuple[str, bool]:
    """The beginning of a body without its secrets; `hide` blanks those that only its dialect knows by their place."""
    text = redact(hide(raw[:RAW_BYTES_MAX].decode(errors="replace")))
    whole = text.encode()
    cut = whole[:RAW_BYTES_MAX].decode(errors="ignore")
    return cut, len(raw) > RAW_BYTES_MAX or len(whole) > RAW_BYTES_MAX


def _key(own: Any) -> str:
    """A sender's own key as part of an id: as it is when short, else its hash."""
    key = check_id(str(own) if isinstance(own, int) and not isinstance(own, bool) else own)
    return key if len(key) <= KEY_CHARS_MAX else sha256(key.encode()).hexdigest()[:32]


def paste_of(adapter_name: str, url: str) -> str:
    """What to do at the sender's so that its messages come in at `url`; for people."""
    paste = getattr(_class_of(adapter_name), "PASTE", "") if adapter_name in ADAPTERS else ""
    return str(paste or "Let the sender POST its messages to\n\n  {url}\n").replace("{url}", url)


def options_of(adapter_name: str) -> Mapping[str, tuple[str, ...]]:
    """What an admin may choose of an adapter: name -> the values allowed.

    Raises:
        NotFound: there is no such adapter.
    """
    options: Mapping[str, tuple[str, ...]] = getattr(_class_of(adapter_name), "OPTIONS", {})
    return options


def check_options(adapter_name: str, options: Mapping[str, str]) -> None:
    """Pass if the adapter knows these.

    Raises:
        NotFound: there is no such adapter. InvalidRequest: it does not; says what it knows.
    """
    known = options_of(adapter_name)
    for name, value in options.items():
        if name not in known:
            text = f"`{name}` is not an option of {adapter_name}"
            raise InvalidRequest(text, field="options", got=name, allowed=sorted(known))
        if value not in known[name]:
            text = f"the option `{name}` of {adapter_name} cannot be {value!r}"
            raise InvalidRequest(text, field=f"options.{name}", got=value, allowed=list(known[name]))


def adapter_of(name: str, options: Mapping[str, str] | None = None) -> Adapter:
    """The adapter of that name; it keeps nothing between two bodies.

    Raises:
        NotFound: there is none.
    """
    return _made(name, tuple(sorted((options or {}).items())))


@lru_cache(maxsize=256)
def _made(name: str, options: tuple[tuple[str, str], ...]) -> Adapter:
    adapter: Adapter = _class_of(name)(**dict(options))
    return adapter


def _class_of(name: str) -> Any:
    target = ADAPTERS.get(name)
    if target is None:
        raise NotFound(f"there is no adapter {name!r}", field="adapter", got=name, allowed=sorted(ADAPTERS))
    module, cls = target.split(":")
    return getattr(import_module(module), cls)
