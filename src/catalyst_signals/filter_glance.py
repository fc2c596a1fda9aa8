"""Decoding no more of an event than one filter looks at: half the cost of catching up through a filter.

Owns: which keys of `data` each field of the vocabulary is read from. What is read there: filter_facts.py.
Law: what a filter says of a glance is what it says of the whole event. A field that is not listed here, or an event
that is not shaped as ours are, is decoded whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypedDict

import msgspec

from catalyst_signals.filter_facts import PREFIX, Facts

decode_all = msgspec.json.decode

_ALWAYS = ("type", "was", "erased")  # What is looked at beside `data`, whatever the filter.
_BESIDE = {"id": "id", f"id{PREFIX}": "id", "weekday": "ts", "time_of_day": "ts"}
_KEYS: dict[str, tuple[str, ...]] = {
    "symbol": ("instrument", "symbol"),
    **dict.fromkeys(("id", "type", "weekday", "time_of_day"), ()),
    **dict.fromkeys(("asset_class", "venue", "mic", "currency"), ("instrument",)),
    "provider": ("provider",),
    **dict.fromkeys(("catalyst.type", "catalyst.subtype", "catalyst.stage", "catalyst.severity"), ("catalyst",)),
    **dict.fromkeys(("source.name", "source.kind"), ("source",)),
    "model.name": ("model",),
    **{
        name: (name,)
        for name in (
            "group_id", "sector", "country", "lang", "session", "confidence_kind", "action", "direction", "confidence",
            "expected_return", "magnitude", "tags", "disclosures", "entry", "stop", "targets", "expires_at",
        )
    },
}  # fmt: skip


def decoder_for(fields: Collection[str]) -> Callable[[bytes], Any]:
    """What decodes an event as far as these fields need; msgspec's ValidationError: this event takes `decode_all`."""
    keys = [keys_of(field) for field in fields]
    if None in keys:
        return decode_all
    beside = [name for field, name in _BESIDE.items() if field in fields]
    return _decoder(frozenset(name for each in keys if each for name in each), frozenset(beside))


def glances(decode: Callable[[bytes], Any], texts: Iterable[bytes]) -> Iterator[Facts | None]:
    """The facts of each event as far as `decode` goes; None where it speaks of several versions."""
    for text in texts:
        try:
            doc = decode(text)
        except msgspec.ValidationError:  # Its `data` is no object: no server of ours wrote that.
            doc = decode_all(text)
        yield None if "was" in doc else Facts(doc)


def keys_of(field: str) -> tuple[str, ...] | None:
    """The keys of `data` a field is read from; None: it may be any."""
    name = field.removesuffix(PREFIX)
    prefix, _, rest = name.partition(".")
    if prefix in ("features", "extras"):
        return (prefix,)
    return (rest.partition(".")[0],) if prefix == "data" else _KEYS.get(name)


@lru_cache(maxsize=1024)
def _decoder(keys: frozenset[str], beside: frozenset[str]) -> Callable[[bytes], Any]:
    part_of: Any = TypedDict  # Made here from names that are known only now; type checkers want them written out.
    data = part_of("data", dict.fromkeys(keys, Any), total=False)
    event = part_of("event", {**dict.fromkeys((*_ALWAYS, *beside), Any), "data": data}, total=False)
    return msgspec.json.Decoder(event).decode
