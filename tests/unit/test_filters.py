"""What a filter promises: one meaning however it is written, refusals a person can act on, and no exceptions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from catalyst_signals.errors import InvalidFilter
from catalyst_signals.filters import EVERYTHING, parse

SIGNAL: dict[str, Any] = {
    "type": "signal.published",
    "channel": "main",
    "seq": 10412,
    "id": "acme-1",
    "version": 1,
    "ts": "2026-11-26T09:30:00.000123Z",
    "data": {
        "instrument": {"symbol": "ACME", "asset_class": "equity", "mic": "XNAS", "currency": "USD"},
        "action": "open",
        "direction": "long",
        "entry": {"type": "limit", "price": "9.40"},
        "stop": {"price": "8.93"},
        "targets": [{"price": "10.81", "fraction": 1}],
        "horizon": "PT4H",
        "confidence": 0.7,
        "catalyst": {"type": "fda", "stage": "announced"},
        "source": {"name": "SEC", "title": "FDA clears ACME's Phase 3 drug"},
        "features": {"rvol": 3.2, "market_cap": 250_000_000, "broken": "5", "nan": float("nan")},
        "tags": ["Biotech", "gapper"],
        "provider": {"id": "bot-7"},
        "extras": {"desk": "NYC", "rank": 5, "deep": {"er": "x"}, "live": True},
        "mine": 1.5,
    },
}
HALT = {
    "type": "halt.set",
    "ts": "2026-11-26T09:30:00.000000Z",
    "id": "h",
    "data": {"symbol": "ACME", "reason": "LULD"},
}


def signal(**data: Any) -> dict[str, Any]:
    return {**SIGNAL, "data": {**SIGNAL["data"], **data}}


def refused(source: Any) -> InvalidFilter:
    with pytest.raises(InvalidFilter) as caught:
        parse(source)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "symbol in (ACME, XYZ) and confidence >= 0.7 and not catalyst.type = offering",
        "symbol = ACME",
        "SYMBOL != XYZ AND NOT symbol IN (A, B)",
        "symbol prefix AC and symbol not in (acme)",
        "action = BUY",
        "action in (buy, WATCH)",
        "not action = SELL and action != sell",
        "price between 9 and 9.4",
        "price = 9.400 and price < 10",
        "confidence between 60% and 80%",
        "confidence > 0.69 and confidence < .71",
        "rr >= 3 and rr <= 3.0 and stop_pct <= 0.05",
        "horizon = 4h and horizon <= PT4H and horizon > 30m and horizon < 1d",
        "rvol >= 3 and features.rvol < 4 and market_cap >= 100M and market_cap < 0.3b",
        "tags contains_any (biotech, x) and tags contains all (GAPPER, biotech) and tags = gapper",
        "tags in (x, gapper)",
        "tags contains none (x, y) and tags != x",
        "keywords contains_any (FDA) and keywords contains_all (drug, clears) and keywords = 'phase 3'",
        "keywords contains none (fd, 'phase 2')",
        "stop exists and entry exists and targets exists and expires_at not exists and not expires_at exists",
        "sector = tech or missing",
        "sector not in (tech) or missing",
        "sector = tech or sector = fin or missing",
        "vix < 20 or missing and symbol = ACME",
        "not vix < 20",
        "time_of_day between 09:30 and 16:00 and time_of_day between 22:00 and 9:31",
        "time_of_day >= 9:30 and time_of_day > 09:30 and time_of_day < 09:30:01",
        "weekday in (thu, friday) and weekday != Sunday",
        "type = signal.published and id = acme-1 and provider in (bot-7)",
        "source = sec and source.name = Sec and source.name prefix S",
        "extras.desk = NYC and extras.rank = 5 and extras.rank > 4 and extras.deep.er = x and extras.live = true",
        "data.mine between 1 and 2 and data.extras exists and extras.desk prefix N",
        "symbol = X or symbol = Y or confidence = 0.7",
        "(symbol = X or catalyst.type = FDA) and (action = close or direction = long)",
        "instrument.symbol = ACME and asset_class = equity and mic = xnas and currency = usd",
        'symbol = "ACME"',
        "",
        "  ",
    ],
)
def test_these_match_the_example_signal(text: str) -> None:
    assert parse(text).matches(SIGNAL)


@pytest.mark.parametrize(
    "text",
    [
        "symbol = acme",
        "symbol != ACME",
        "action = SELL",
        "action != BUY",
        "not (action = BUY)",
        "action not in (BUY, WATCH)",
        "confidence > 0.7",
        "confidence < 0.7",
        "price > 9.40",
        "rr > 3",
        "horizon < 4h",
        "tags contains_all (biotech, x)",
        "keywords contains_any (fd, hase, 'fda drug')",
        "sector = tech",
        "not sector = tech or missing",
        "vix < 20",
        "features.broken >= 1",
        "features.nan exists or features.broken exists",
        "symbol = ACME and symbol = XYZ",
        "sector = tech or (sector = fin or missing) and vix = 1",
        "time_of_day between 22:00 and 09:30",
        "weekday = wed",
        'extras.rank = "5"',
        "extras.desk > 5",
        "data.nothing exists",
        "stop not exists",
    ],
)
def test_these_do_not_match_the_example_signal(text: str) -> None:
    assert not parse(text).matches(SIGNAL)


def test_a_clause_on_a_missing_field_of_a_signal_is_false_and_its_negation_true() -> None:
    for clause in ("vix >= 1", "sector = x", "sector prefix x", "disclosures = x", "expires_at exists"):
        assert not parse(clause).matches(SIGNAL)
        assert parse(f"not {clause}").matches(SIGNAL)
    assert parse("vix >= 1 or missing").matches(SIGNAL)
    assert not parse("not vix >= 1 or missing").matches(SIGNAL)


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("symbol = ACME and confidence >= 0.7", True),
        ("symbol = XYZ and confidence >= 0.7", False),
        ("not symbol = ACME", False),
        ("not confidence >= 0.7 and not stop exists", True),
        ("stop exists", True),
        ("not (confidence >= 0.7 and symbol = ACME)", True),
        ("not vix < 3 or missing", True),
        ("type prefix signal.", False),
        ("source.name = sec", True),
        ("time_of_day < 09:00", False),
        ("", True),
    ],
)
def test_a_halt_reaches_all_whose_filter_does_not_rule_out_what_it_carries(text: str, reached: bool) -> None:
    assert parse(text).matches(HALT) is reached


def test_a_halt_of_a_source_reaches_those_who_want_that_source() -> None:
    halt = {**HALT, "data": {"source": "SEC"}}
    assert parse("source.name = sec and symbol = ANY").matches(halt)
    assert not parse("not source.name = sec").matches(halt)


def test_nobody_wants_what_was_erased() -> None:
    erased = {**SIGNAL, "erased": True}
    assert not EVERYTHING.matches(erased)
    assert not parse("not symbol = Q").matches(erased)
    assert not parse("symbol = ACME").matches({**HALT, "erased": True})


def test_a_price_is_compared_exactly_and_a_number_as_the_document_writes_it() -> None:
    assert parse("price = 0.3").matches(signal(reference_price="0.30"))
    assert not parse("price > 0.1").matches(signal(reference_price="0.1000000000000000000"))
    assert parse("price >= 9.41").matches(signal(reference_price="9.41", entry=None))
    assert parse("price = 12").matches(signal(reference_price=12))
    wrongs: tuple[Any, ...] = ("NaN", "-Infinity", "1e9999", "9,40", "", [], {}, True, float("inf"), "9" * 100)
    for wrong in wrongs:
        assert parse("price not exists and rr not exists").matches(signal(reference_price=wrong, entry=None)), wrong
    assert parse("confidence >= 0.1 and confidence <= 0.1").matches(signal(confidence=0.1))
    assert not parse("confidence exists").matches(signal(confidence=True))


def test_a_horizon_that_is_a_moment_counts_from_the_event() -> None:
    assert parse("horizon = 2h").matches(signal(horizon="2026-11-26T11:30:00Z"))
    assert parse("horizon between 1d and 5d").matches(signal(horizon="P2DT1H"))
    assert parse("horizon not exists").matches(signal(horizon="soon"))


def test_reward_to_risk_comes_from_entry_stop_and_first_target() -> None:
    short = signal(direction="short", entry={"price": "10"}, stop={"price": "11"}, targets=[{"price": "8"}])
    assert parse("rr = 2 and stop_pct = 0.1").matches(short)
    offsets = signal(stop={"offset": "0.05", "unit": "pct"}, targets=[{"offset": "0.1", "unit": "pct"}])
    assert parse("rr = 2 and stop_pct = 0.05").matches(offsets)
    mixed = signal(
        direction="short", entry={"price": "10"}, stop={"offset": 1, "unit": "abs"}, targets=[{"price": "9"}]
    )
    assert parse("rr = 1 and stop_pct = 0.1").matches(mixed)
    by_atr = signal(entry={"low": "9", "high": "11"}, stop={"offset": 2, "unit": "atr"}, features={"atr": 0.5})
    assert parse("stop_pct = 0.1").matches(by_atr)
    for senseless in ({"price": "9.9"}, {"price": "9.40"}, {"offset": 1}, {"offset": 1, "unit": "feet"}, "x"):
        assert parse("rr not exists").matches(signal(stop=senseless)), senseless


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("symbol in (B, A, B)", "symbol = A or symbol = B"),
        ("symbol not in (A, B)", "not symbol = B and symbol != A"),
        ("not (symbol = A or stop exists)", "stop not exists and symbol != A"),
        ("tags = a or tags = b", "tags contains_any (b, a)"),
        ("tags = a and tags = b", "tags contains all (B, A)"),
        ("confidence between 0.5 and 0.9", "confidence <= 0.90 and confidence >= .5"),
        ("confidence >= 70%", "not not confidence >= 0.7"),
        ("symbol = A and (stop exists and (rr >= 2))", "rr >= 2.0 and stop exists and symbol = A and symbol = A"),
        ("action = BUY", "direction = long and action = open"),
        ("action != BUY", "not action = open or not direction = long"),
        ("action in (WATCH, SELL)", "action = watch or (direction = SHORT and action = OPEN)"),
        ("rvol >= 1.5 or missing", "(features.rvol >= 1.50 or missing)"),
        ("horizon <= 90m", "horizon <= PT1H30M"),
        ("ticker = A", "instrument.symbol = 'A'"),
        ("keywords contains none ('Phase-3')", 'not keywords = "phase 3"'),
        ("symbol <> A", "symbol != A or missing"),
    ],
)
def test_filters_that_mean_the_same_are_the_same(one: str, other: str) -> None:
    assert parse(one) == parse(other)
    assert parse(one).id == parse(other).id
    assert hash(parse(one)) == hash(parse(other))


def test_the_json_form_and_the_text_form_are_one() -> None:
    tree = {
        "all": [
            {"field": "catalyst.type", "op": "in", "value": ["fda", "clinical"]},
            {"field": "confidence", "op": "gte", "value": 0.6},
            {"field": "price", "op": "between", "value": ["1", "20"]},
            {"field": "features.rvol", "op": "gte", "value": 1.5, "missing": "pass"},
            {"not": {"field": "instrument.symbol", "op": "in", "value": ["XYZ"]}},
            {"field": "sector", "op": "ne", "value": "x", "missing": "pass"},
            {"field": "stop", "op": "exists"},
            {"field": "expires_at", "op": "exists", "value": False},
        ]
    }
    text = (
        "catalyst.type in (clinical, fda) and confidence >= 0.6 and price between 1 and 20 and rvol >= 1.5 or missing"
        " and symbol != XYZ and sector != x and stop exists and expires_at not exists"
    )
    assert parse(tree) == parse(text) == parse(tree["all"])
    assert parse(tree).matches(SIGNAL)


def test_the_canonical_text_is_one_sorted_line() -> None:
    filter = parse("symbol in (XYZ, ACME) and not catalyst.type = Offering and confidence>=.70")
    assert filter.text == "not catalyst.type = offering and confidence >= 0.7 and symbol in (ACME, XYZ)"
    assert filter.tree == {
        "all": [
            {"not": {"field": "catalyst.type", "op": "eq", "value": "offering"}},
            {"field": "confidence", "op": "gte", "value": 0.7},
            {"field": "symbol", "op": "in", "value": ["ACME", "XYZ"]},
        ]
    }
    assert len(filter.id) == 12
    assert (EVERYTHING.text, EVERYTHING.tree) == ("", None)
    assert parse(None) == parse("") == EVERYTHING


def test_values_with_odd_characters_come_back_as_they_were() -> None:
    for symbol in (
        "NQ1!",
        "BTC/USDT:USDT",
        "a b",
        'say "x"',
        "it's",
        "back\\slash",
        "and",
        "5",
        "(x)",
        "é,ü",
        "a!=b",
        "“q”",
    ):
        filter = parse({"field": "symbol", "op": "eq", "value": symbol})
        assert parse(filter.text) == filter == parse(filter.tree)
        assert filter.matches(signal(instrument={"symbol": symbol}))
        own = parse({"field": "extras.k", "op": "in", "value": [symbol, 7]})
        assert parse(own.text) == own == parse(own.tree)
        assert own.matches(signal(extras={"k": symbol}))
    assert parse("symbol=NQ1!").matches(signal(instrument={"symbol": "NQ1!"}))


def test_both_is_what_both_want_and_cannot_be_widened() -> None:
    entitled = parse("symbol in (ACME, XYZ)")
    assert entitled.both(parse("confidence >= 0.9 or symbol = Q")).matches(SIGNAL) is False
    assert entitled.both(EVERYTHING) == entitled == EVERYTHING.both(entitled)
    assert EVERYTHING.both(EVERYTHING) == EVERYTHING
    assert entitled.both(parse("stop exists")) == parse("stop exists and symbol in (XYZ, ACME)")


def test_a_filter_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse("stop exists").text = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("confidance >= 0.7", 0, "`confidance` is not a field; did you mean `confidence`?"),
        ("stop exists and confidence >= high", 30, "`confidence` takes a number; got 'high'"),
        ("confidence >= 70", 14, "`confidence` goes from 0 to 1; got '70'"),
        ("symbol >= A", 7, "`symbol` does not take `>=`; use = != in not in prefix exists"),
        ("action = by", 9, "did you mean `buy`"),
        ("price between 20 and 1", 14, "the lower end first"),
        ("price between 20", 16, "`between` is written `between A and B`; got the end of the filter"),
        ("symbol in (A, B", 15, "`,` or `)` was expected; got the end of the filter"),
        ("(symbol = A", 11, "`)` was expected"),
        ("symbol = A symbol = B", 11, "`and`, `or` or the end was expected; got 'symbol'"),
        ("symbol is A", 7, "an operator was expected; got 'is'"),
        ("symbol = ", 8, "a value was expected; got the end of the filter"),
        ("and symbol = A", 0, "the name of a field was expected; got 'and'"),
        ("symbol = 'A", 9, "this quote is not closed"),
        ("symbol = “A”", 9, "curly quotes"),
        ("symbol = a\\b", 10, "not understood here"),
        ("horizon >= soon", 11, "takes a duration such as PT4H"),
        ("time_of_day < 25:00", 14, "takes a time of day"),
        ("time_of_day = 09:30", 12, "does not take `=`"),
        ("weekday = someday", 10, "one of mon, tue"),
        ("stop = 5", 5, "`stop` does not take `=`; use exists"),
        ("stop exists or missing", 5, "always true"),
        ("age_ms <= 5", 0, "modifier `max_age_s`"),
        ("features. > 1", 0, "is not a field"),
        ("symbol = A and (" + "(" * 20 + "stop exists", 31, "nested more than 16"),
        ("price = 1e30", 8, "takes a price"),
        ("data.x > abc", 9, "takes a number; got 'abc'"),
        ("symbol = ''", 9, "takes a text"),
    ],
)
def test_a_mistake_is_refused_where_it_stands_and_says_what_is_allowed(text: str, at: int, message: str) -> None:
    error = refused(text)
    assert message in error.message
    assert error.extra["at"] == at
    assert msgspec.json.encode(error.as_dict())


@pytest.mark.parametrize(
    ("tree", "at"),
    [
        ({}, "$"),
        ([], "$"),
        (5, "$"),
        ({"all": []}, "$"),
        ({"any": [], "all": []}, "$"),
        ({"not": None}, "$.not"),
        ({"all": [{"field": "stop", "op": "exists"}, 7]}, "$.all[1]"),
        ({"any": [{"not": {"field": "confidance", "op": "gte", "value": 1}}]}, "$.any[0].not.field"),
        ({"field": "confidence", "op": ">=", "value": 1}, "$.op"),
        ({"field": "confidence", "op": ["gte"], "value": 1}, "$.op"),
        ({"field": ["confidence"], "op": "gte", "value": 1}, "$.field"),
        ({"field": "confidence", "op": "gte"}, "$"),
        ({"field": "confidence", "op": "gte", "value": 1, "why": 1}, "$"),
        ({"field": "confidence", "op": "gte", "value": True}, "$.value"),
        ({"field": "confidence", "op": "gte", "value": [1]}, "$.value"),
        ({"field": "confidence", "op": "between", "value": [1]}, "$.op"),
        ({"field": "symbol", "op": "in", "value": []}, "$.op"),
        ({"field": "symbol", "op": "in", "value": ["A", {}]}, "$.value[1]"),
        ({"field": "symbol", "op": "eq", "value": "a\nb"}, "$.value"),
        ({"field": "symbol", "op": "eq", "value": "\ud800"}, "$.value"),
        ({"field": "stop", "op": "exists", "value": 3}, "$.op"),
        ({"field": "sector", "op": "eq", "value": "x", "missing": []}, "$.missing"),
    ],
)
def test_a_mistake_in_a_tree_is_refused_with_its_path(tree: Any, at: str) -> None:
    assert refused(tree).extra["at"] == at


def test_a_filter_is_bounded_in_depth_clauses_values_and_bytes() -> None:
    deep = "stop exists"
    for i in range(5):
        deep = f"({deep} {'or' if i % 2 else 'and'} symbol = S{i})"
    assert parse(deep)
    assert "levels of groups" in refused(f"stop exists or ({deep} or rr > 1) and rr > 2").message
    assert parse(" and ".join(f"vix > {n}" for n in range(64)))
    assert "64 clauses" in refused(" and ".join(f"vix > {n}" for n in range(65))).message
    values = [f"S{n}" for n in range(500)]
    assert parse({"field": "symbol", "op": "in", "value": values})
    assert "500" in refused({"field": "symbol", "op": "in", "value": [*values, "X"]}).message
    two = [
        {"field": "symbol", "op": "in", "value": values[:300]},
        {"field": "symbol", "op": "in", "value": values[200:]},
    ]
    assert parse({"any": two})
    lists = [{"field": f, "op": "in", "value": values[:350]} for f in ("symbol", "id", "group_id")]
    assert "1000 values" in refused({"all": lists}).message
    long = [{"field": "symbol", "op": "in", "value": [f"{n:0>64}" for n in range(200)]}]
    assert "8192 bytes" in refused({"all": long}).message
    assert "8192 bytes" in refused("x" * 9000).message
    nested: dict[str, Any] = {"field": "stop", "op": "exists"}
    for _ in range(100_000):
        nested = {"not": nested}
    assert "nested more than" in refused(nested).message


def test_the_way_into_the_index_is_told() -> None:
    filter = parse("symbol in (XYZ, ACME) and not catalyst.type = offering")
    assert filter.index() == {"by": "symbol", "keys": ["ACME", "XYZ"], "rest": 1, "open": False}
    assert EVERYTHING.index() == {"by": "everything", "keys": [], "rest": 0, "open": False}
    told = parse("rvol >= 1 or missing").index()
    assert told["open"] and told["by"] is None and told["why"] and "symbol" in told["add"]
    assert parse("symbol = A or provider = b").index()["by"] == "branches"
    assert parse("symbol = A or stop exists").index()["open"]
    assert parse("action = BUY").index()["by"] == "action"
    assert parse("confidence >= 0.9").index()["floor"] == "confidence >= 0.9"
    assert parse("not symbol = A").index()["but"] is True
    assert parse("symbol prefix A").index()["prefix"] is True
