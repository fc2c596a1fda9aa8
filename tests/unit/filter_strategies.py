"""Random filters over the whole vocabulary, and documents made of the same few values, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ("A", "AB", "B", "b", "x y", "5")
NUMBERS = (0, 0.25, 0.5, 1, 0.1, 0.30000000000000004)
PRICES = ("0.1", "1", "9.40", "9.4", "10", 9.4, 12)
PHRASES = ("fda", "Phase 3", "phase", "3", "deal")
DURATIONS = ("PT4H", "4h", "P1D", "30m", "PT0S", "P2W")
TIMES = ("00:00", "09:30", "9:30:15", "16:00", "23:59")
ACTIONS = ("open", "close", "watch", "increase")

TEXT_FIELDS = (
    "symbol", "id", "provider", "group_id", "type", "catalyst.type", "catalyst.subtype", "catalyst.stage",
    "catalyst.severity", "venue", "mic", "currency", "sector", "country", "lang", "source.name", "source.kind",
    "model.name",
)  # fmt: skip
NUMBER_FIELDS = ("expected_return", "magnitude", "rr", "stop_pct", "confidence", "rvol", "vix", "features.own")
CHOICES = {
    "action": (*ACTIONS, "BUY", "SELL", "WATCH"),
    "direction": ("long", "short", "flat"),
    "confidence_kind": ("probability", "score", "none"),
    "session": ("pre", "regular"),
    "asset_class": ("equity", "etf"),
    "weekday": ("mon", "Thursday", "sun"),
}


def _clause(field: str, op: str, value: Any, missing: str) -> dict[str, Any]:
    clause = {"field": field, "op": op, "missing": missing}
    if op != "exists":
        clause["value"] = value
    elif missing == "pass":
        clause["missing"] = "fail"
    return clause


def _clauses(fields: Any, values: Any, *, same: bool = True, ranged: bool = False, prefix: bool = False) -> Any:
    """Clauses on some fields, by the operators they take."""
    lists = st.lists(values, min_size=1, max_size=3)
    pairs = [st.tuples(st.just("exists"), st.none())]
    if same:
        pairs += [st.tuples(st.sampled_from(["eq", "ne"]), values), st.tuples(st.sampled_from(["in", "nin"]), lists)]
    if ranged:
        pairs.append(st.tuples(st.sampled_from(["lt", "lte", "gt", "gte"]), values))
        pairs.append(st.tuples(st.just("between"), st.lists(values, min_size=2, max_size=2).map(_ascending)))
    if prefix:
        pairs.append(st.tuples(st.just("prefix"), values))
    missing = st.sampled_from(["fail", "fail", "fail", "pass"])
    return st.builds(
        lambda f, pair, m: _clause(f, pair[0], pair[1], m), st.sampled_from(fields), st.one_of(pairs), missing
    )


def _ascending(pair: list[Any]) -> list[Any]:
    return sorted(pair, key=float)


def _contains(field: str, values: Any) -> Any:
    lists = st.lists(values, min_size=1, max_size=3)
    several = st.builds(
        lambda op, found, m: _clause(field, op, found, m),
        st.sampled_from(["contains_any", "contains_all"]), lists, st.sampled_from(["fail", "pass"]),
    )  # fmt: skip
    return several | _clauses([field], values)


def clauses() -> Any:
    """One clause, on any field, by any operator."""
    names, numbers, prices = st.sampled_from(NAMES), st.sampled_from(NUMBERS), st.sampled_from(PRICES)
    return st.one_of(
        _clauses(["symbol"], names, prefix=True),
        _clauses(["symbol", "provider", "catalyst.type"], names),
        _clauses(TEXT_FIELDS, names, prefix=True),
        *(_clauses([name], st.sampled_from(values)) for name, values in CHOICES.items() if name != "action"),
        _clauses(["action"], st.sampled_from(CHOICES["action"])),
        _clauses(["action"], st.sampled_from(CHOICES["action"])),
        _clauses(NUMBER_FIELDS, numbers, ranged=True),
        _clauses(["confidence"], numbers, ranged=True),
        _clauses(["price"], prices, ranged=True),
        st.builds(
            lambda op, value: _clause("horizon", op, value, "fail"),
            st.sampled_from(["eq", "lt", "lte", "gt", "gte"]), st.sampled_from(DURATIONS),
        ),
        st.builds(
            lambda op, value, m: _clause("time_of_day", op, value if op == "between" else value[0], m),
            st.sampled_from(["lt", "gte", "between"]), st.lists(st.sampled_from(TIMES), min_size=2, max_size=2),
            st.sampled_from(["fail", "pass"]),
        ),
        _contains("tags", names),
        _contains("disclosures", names),
        _contains("keywords", st.sampled_from(PHRASES)),
        _clauses(["entry", "stop", "targets", "expires_at"], st.none(), same=False),
        _clauses(["extras.k", "data.own", "data.extras.k"], names | numbers),
        _clauses(["extras.k", "data.own"], names, prefix=True),
        _clauses(["extras.k", "data.own"], numbers, ranged=True),
    )  # fmt: skip


def trees() -> Any:
    """Filters in the JSON form, at most five levels deep."""

    def grow(inner: Any) -> Any:
        members = st.lists(inner, min_size=1, max_size=3)
        return st.one_of(
            members.map(lambda m: {"all": m}), members.map(lambda m: {"any": m}), inner.map(lambda m: {"not": m})
        )

    return clauses() | grow(clauses()) | grow(grow(clauses()))


def _maybe(values: Any) -> Any:
    return st.sampled_from([*values, None])


def documents() -> Any:
    """Events, mostly signals, whose fields hold what the filters ask for, or nothing, or something of a wrong type."""
    name, number, price = _maybe([*NAMES, "equity", 7]), _maybe([*NUMBERS, "0.5"]), _maybe([*PRICES, "x"])
    text = _maybe(["FDA phase 3 deal", "phase", "3 phase", 5])
    plan = st.fixed_dictionaries({"price": price}) | st.fixed_dictionaries(
        {"offset": _maybe(["0.5", 1]), "unit": _maybe(["pct", "abs", "atr"])}
    )
    optional = {
        "instrument": st.fixed_dictionaries(dict.fromkeys(("symbol", "venue", "mic", "currency", "asset_class"), name)),
        "symbol": name,
        "action": _maybe([*ACTIONS, "nonsense"]),
        "direction": _maybe(["long", "short", "flat"]),
        "confidence": number,
        "confidence_kind": _maybe(["score", "none"]),
        "expected_return": number,
        "magnitude": number,
        "reference_price": price,
        "entry": _maybe([{}]) | st.fixed_dictionaries({"price": price}),
        "stop": _maybe([{}]) | plan,
        "targets": st.lists(plan, max_size=2),
        "horizon": _maybe([*DURATIONS, "soon"]),
        "expires_at": _maybe(["2026-11-27T00:00:00Z"]),
        "catalyst": st.fixed_dictionaries(dict.fromkeys(("type", "subtype", "stage", "severity"), name)),
        "source": st.fixed_dictionaries({"name": name, "kind": name, "title": text, "excerpt": text}),
        "title": text,
        "note": text,
        "features": st.fixed_dictionaries({"rvol": number, "own": number, "vix": number, "atr": number}),
        "tags": st.lists(name, max_size=3),
        "disclosures": st.lists(name, max_size=3),
        "sector": name,
        "country": name,
        "lang": name,
        "session": _maybe(["pre", "regular"]),
        "model": st.fixed_dictionaries({"name": name}),
        "group_id": name,
        "provider": st.fixed_dictionaries({"id": name}),
        "extras": st.fixed_dictionaries({"k": name | number}),
        "own": name | number,
    }
    return st.builds(
        lambda kind, id, ts, data, erased: {"type": kind, "id": id, "ts": ts, "data": data} | erased,
        st.sampled_from(["signal.published"] * 6 + ["signal.cancelled", "halt.set", "A"]),
        st.sampled_from(NAMES),
        st.sampled_from([f"2026-11-2{d}T{t}Z" for d in (2, 6) for t in ("09:30:00.000000", "16:00:00.000001")]),
        st.fixed_dictionaries({}, optional=optional),
        st.sampled_from([{}] * 19 + [{"erased": True}]),
    )
