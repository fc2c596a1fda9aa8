"""Which pieces of news tell the same story: addresses and titles as wires write them, brought to one form.

Owns: the keys of a story, and which story had them in the last hours. Knows nothing of feeds, stores or who asks.
Laws: keys are a pure function of what the wire said, so every process makes the same ones, today and in a replay; what
a wire said is added to, never altered.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from catalyst_signals.events import Frame, iso, now_us

WINDOW_US = 6 * 3600 * 1_000_000
KEYS_MAX = 20_000  # Some megabytes; the oldest go first.
TITLE_WORDS_MIN = 4  # `Market update` is no story.
_ITEM = b'{"type":"item.received"'

_TRACKING = re.compile(
    r"utm_.*|[a-z]{0,2}clid|gclsrc|mc_[ce]id|igshid|cmpid|ncid|guccounter|guce_.*|ref(?:_src)?|soc_(?:src|trk)|smid|taid"
)
_ACCESSION = re.compile(r"(?<!\d)(\d{10})-?(\d{2})-?(\d{6})(?!\d)")
_DEFAULT_PORT = {"http": ":80", "https": ":443"}


def plain_url(url: str) -> str:
    """The address without what only says where a reader came from: scheme, `www.`, tracking parameters, fragment.

    An address that cannot be read is its own key.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return url.strip()
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORT.get(parts.scheme.lower(), "\0"))
    if not host:
        return url.strip()
    query = sorted((k, v) for k, v in parse_qsl(parts.query) if not _TRACKING.fullmatch(k.lower()))
    path = parts.path.rstrip("/")
    return host.removeprefix("www.").removeprefix("m.") + path + (f"?{urlencode(query)}" if query else "")


def plain_title(title: str) -> str:
    """The words of a title in small letters, without accents, signs, and a wire's name at its end (` - Reuters`)."""
    words = re.sub(r"\s[-–—|]\s[^-–—|]{1,40}$", "", title.strip())
    flat = unicodedata.normalize("NFKD", words).casefold()
    kept = (char if char.isalnum() else " " for char in flat if not unicodedata.combining(char))
    return " ".join("".join(kept).split())


def accession_in(text: str) -> str | None:
    """The accession number of an SEC filing as it is written (`0000320193-24-000123`), with or without its dashes."""
    found = _ACCESSION.search(text)
    return f"{found[1]}-{found[2]}-{found[3]}" if found else None


def story_keys(item: Mapping[str, Any]) -> list[str]:
    """Each of these says by itself which story an item tells, the surest first: accession number, title, address.

    A title counts with the symbols beside it, and only if it has some words. What has none of them tells no story.
    """
    found = item.get("source")
    source: Mapping[str, Any] = found if isinstance(found, dict) else {}
    url, own = str(source.get("url", "")), str(source.get("external_id", ""))
    accession = accession_in(own) or (accession_in(url) if "sec.gov/" in url else None)
    title = plain_title(str(source.get("title") or item.get("title") or ""))
    keys = [f"sec {accession}"] if accession else []
    if len(title.split()) >= TITLE_WORDS_MIN:
        keys.append(f"title {title} {' '.join(_symbols_of(item))}")
    return keys + ([f"url {plain_url(url)}"] if url else [])


def _symbols_of(item: Mapping[str, Any]) -> list[str]:
    several = item.get("instruments")
    named = [item.get("instrument"), *(several if isinstance(several, list) else [])]
    return sorted({str(each["symbol"]) for each in named if isinstance(each, dict) and "symbol" in each})


class _Told(NamedTuple):
    group: str
    id: str
    wire: str
    at_us: int


class Stories:
    """The stories of the last six hours, as this process has seen them pass."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, _Told] = OrderedDict()  # By key.

    def fold(self, frame: Frame) -> None:
        """Take in an event; costs nothing unless it is an item that belongs to a story."""
        if not frame.ws.startswith(_ITEM, frame.head_bytes) or b'"group_id":"' not in frame.ws:
            return
        doc, now = frame.doc, now_us()
        frame.forget()
        data = doc["data"]
        told = _Told(data["group_id"], doc["id"], str((data.get("provider") or {}).get("id", "")), now)
        for key in story_keys(data):
            known = self._at(key, now)
            self._told[key] = told if known is None else told._replace(group=known.group)
            self._told.move_to_end(key)
        while len(self._told) > KEYS_MAX:
            self._told.popitem(last=False)

    def grouped(self, item: Mapping[str, Any], wire: str) -> dict[str, Any]:
        """An item of a wire with that wire as `provider`, the `group_id` of its story, and what it `supersedes`.

        The story is the one that had one of its keys within six hours; else its own, which follows from its surest key
        (a title's together with the day). It supersedes an earlier item of the same wire at the same address.
        """
        now = now_us()
        keys = story_keys(item)
        known = [told for key in keys if (told := self._at(key, now)) is not None]
        added: dict[str, Any] = {"provider": {"id": wire}}
        if keys and "group_id" not in item:
            added["group_id"] = known[0].group if known else _own(keys[0], now)
        before = self._at(keys[-1], now) if keys and keys[-1].startswith("url ") else None
        if before is not None and before.wire == wire and before.id != item["id"] and "supersedes" not in item:
            added["supersedes"] = before.id
        return {**item, **added}

    def _at(self, key: str, now: int) -> _Told | None:
        told = self._told.get(key)
        return told if told is not None and now - told.at_us <= WINDOW_US else None


def _own(key: str, now: int) -> str:
    """A story's id: of an address or a filing the same for ever, of a title only that day."""
    whole = f"{key} {iso(now)[:10]}" if key.startswith("title ") else key
    return f"story.{sha256(whole.encode()).hexdigest()[:16]}"
