"""What a signal promises: lenient in, one form stored, everything out again, and refusals a person can act on.

Every field goes in by `signal_draft`, so this covers `catalyst_signals.vocabulary` and `catalyst_signals.kinds` too.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import InvalidDraft, InvalidJson, InvalidName, TooLarge
from catalyst_signals.events import hash_of_draft
from catalyst_signals.signals import FIELDS, OURS, Signal, check_not_expired, decode, side, signal_draft

FULL: dict[str, Any] = {
    "instrument": {
        "symbol": "ACME", "asset_class": "equity", "mic": "XNAS", "venue": "NASDAQ", "currency": "USD",
        "figi": "BBG000B9XRY4", "isin": "US0378331005", "cik": "0000320193", "tick": "0.01", "lot": "1",
    },
    "action": "open", "direction": "long",
    "entry": {"type": "zone", "low": "9.40", "high": "9.60"},
    "stop": {"offset": "0.05", "unit": "pct", "trailing": True},
    "targets": [{"price": "10.81", "fraction": 0.5}, {"offset": "2", "unit": "atr", "fraction": 0.5}],
    "horizon": "P5D", "expires_at": "2026-11-26T16:00:00Z", "event_at": "2026-11-26T09:29:58.5Z",
    "sent_at": "2026-11-26T09:30:00Z", "reference_price": "9.41", "quote_at": "2026-11-26T09:29:59Z",
    "quote_source": "iex", "confidence": 0.82, "confidence_kind": "probability", "expected_return": 0.04,
    "magnitude": 0.12, "suggested_risk": {"fraction_of_equity": 0.01, "max_notional": "5000"},
    "catalyst": {"type": "fda", "subtype": "approval", "stage": "announced", "severity": "high"},
    "source": {
        "name": "EDGAR", "kind": "filing", "url": "https://www.sec.gov/x", "external_id": "0001-8k",
        "published_at": "2026-11-26T09:29:50Z", "title": "8-K", "excerpt": "Item 8.01",
    },
    "features": {"rvol": 5.2, "float_shares": 4000000}, "tags": ["small-cap", "fda"], "sector": "Health Care",
    "country": "US", "session": "pre", "model": {"name": "m", "version": "3", "features_hash": "ab12"},
    "group_id": "g1", "supersedes": "old-1", "lang": "en", "disclosures": ["provider_holds_position"],
    "title": "FDA approves", "note": "thin float", "my_own": {"deep": [1, 2.5, None, "x"]},
}  # fmt: skip
BUY = {"symbol": "ACME", "action": "BUY"}


def data_of(sent: Any, **more: Any) -> dict[str, Any]:
    """What is stored of a signal, without the part that is ours."""
    draft, _ = signal_draft(sent | more, subject="u1")
    data: dict[str, Any] = msgspec.json.decode(draft.body)["data"]
    assert data.pop("provider") == {"id": "u1"}
    return data


def refusal(sent: Any, **more: Any) -> InvalidDraft:
    """The refusal of a signal."""
    with pytest.raises(InvalidDraft) as caught:
        signal_draft(sent | more, subject="u1")
    return caught.value


class TestWhatIsStored:
    def test_a_full_signal_comes_out_as_it_went_in(self) -> None:
        assert data_of(FULL) == FULL

    def test_the_full_signal_of_this_test_has_every_field_there_is(self) -> None:
        """So that a new field cannot be forgotten above."""
        missing = []
        for path in FIELDS:
            parent, _, leaf = path.rpartition(".")
            inside = FULL if not parent else FULL[parent]
            parts = inside if isinstance(inside, list) else [inside]
            if path not in ("id", "entry.price", "stop.price") and not any(leaf in part for part in parts):
                missing.append(path)
        assert missing == []

    @pytest.mark.parametrize("name", ["symbol", "ticker", "instrument"])
    def test_the_short_form_needs_a_symbol_and_an_action(self, name: str) -> None:
        assert data_of({name: " AAPL.XNAS ", "action": "Buy"}) == {
            "instrument": {"symbol": "AAPL.XNAS"}, "action": "open", "direction": "long",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("action", "stored"),
        [
            ("BUY", ("open", "long")),
            ("sell", ("open", "short")),
            ("WATCH", ("watch", None)),
            ("Close", ("close", None)),
        ],
    )
    def test_actions_are_stored_as_one_of_the_seven(self, action: str, stored: tuple[str, str | None]) -> None:
        data = data_of({"symbol": "ACME", "action": action})
        assert (data["action"], data.get("direction")) == stored

    def test_a_plan_may_be_written_as_bare_prices(self) -> None:
        data = data_of(BUY, entry=9.4, stop="9.00", target="10.50")
        assert data["entry"] == {"type": "limit", "price": "9.4"}
        assert data["stop"] == {"price": "9.00"}
        assert data["targets"] == [{"price": "10.50"}]
        assert data_of(BUY, targets=["10", 11, {"price": 12}])["targets"] == [{"price": p} for p in ("10", "11", "12")]
        assert data_of(BUY, entry="market")["entry"] == {"type": "market"}
        assert data_of(BUY, entry={"low": "9", "high": "10"})["entry"]["type"] == "zone"
        assert data_of(BUY, catalyst="fda", source="EDGAR")["catalyst"] == {"type": "fda"}

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [('"9.40"', "9.40"), ("9.40", "9.40"), ("9", "9"), ("1e2", "100"), ('"1E-3"', "0.001"), ('" 05.5 "', "5.5"),
         ('".5"', "0.5"), ("0.000000012345678901", "0.000000012345678901")],
    )  # fmt: skip
    def test_a_price_keeps_its_digits(self, sent: str, stored: str) -> None:
        assert data_of(decode(f'{{"symbol":"A","action":"BUY","entry":{sent}}}'))["entry"]["price"] == stored

    @pytest.mark.parametrize(
        "price",
        [0, -1, "0.00", "abc", "1_000", "1,000.5", "$9", "", "NaN", "Infinity", "1e400", "٣", True, [], float("inf"),
         float("nan"), Decimal("1e999999"), Decimal("NaN"), pytest.param(10**5000, id="5001 digits"),
         "1" * 41, "1e39999"],
    )  # fmt: skip
    def test_what_is_no_price_is_refused(self, price: Any) -> None:
        error = refusal(BUY, reference_price=price)
        assert error.field == "reference_price" and "positive decimal" in error.message
        msgspec.json.encode(error.as_dict())

    def test_times_are_stored_in_utc(self) -> None:
        assert data_of(BUY, event_at="2026-11-26T10:30:00+01:00")["event_at"] == "2026-11-26T09:30:00Z"
        assert data_of(BUY, event_at="2026-11-26t09:30:00.25z")["event_at"] == "2026-11-26T09:30:00.250000Z"
        for wrong in (
            "2026-11-26T09:30:00",
            "2026-11-26",
            1764149400,
            "2026-13-26T09:30:00Z",
            "0001-01-01T00:00:00+14:00",
        ):
            assert refusal(BUY, event_at=wrong).field == "event_at"

    def test_a_horizon_is_a_duration_or_a_time(self) -> None:
        for sent, stored in (("PT4H", "PT4H"), ("4h", "PT4H"), ("5d", "P5D"), ("P1DT2H", "P1DT2H")):
            assert data_of(BUY, horizon=sent)["horizon"] == stored
        for wrong in ("P", "PT", "swing", "4 hours", "", 4):
            assert refusal(BUY, horizon=wrong).field == "horizon"

    def test_null_means_not_set_and_unknown_fields_are_kept(self) -> None:
        data = data_of(BUY, stop=None, reason="because", nothing=None, instrument={"symbol": "ACME", "board": "X"})
        assert "stop" not in data
        assert data["reason"] == "because" and data["nothing"] is None
        assert data["instrument"] == {"symbol": "ACME", "board": "X"}
        assert data_of(decode('{"symbol":"A","action":"BUY","x":0.10,"features":{"rvol":1.50}}'))["features"] == {
            "rvol": 1.5
        }

    @given(sent=st.recursive(
        st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_é\"\\\n", max_size=8),
            inner, max_size=4),
        max_leaves=20,
    ))  # fmt: skip
    def test_an_unknown_field_comes_out_as_it_was_sent(self, sent: Any) -> None:
        over_the_wire = decode(msgspec.json.encode({**BUY, "mine": sent}))
        assert data_of(over_the_wire)["mine"] == sent

    @given(price=st.decimals("1e-18", "1e18", allow_nan=False, allow_infinity=False, places=18))
    @example(Decimal("9.40"))
    def test_a_stored_signal_sent_again_is_stored_the_same(self, price: Decimal) -> None:
        once = data_of(BUY, entry=str(price), stop=price, horizon="4h", event_at="2026-11-26T10:30:00+01:00")
        assert data_of(once) == once
        assert Decimal(once["entry"]["price"]) == price


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", sorted(OURS))
    def test_what_is_ours_is_refused_by_name(self, name: str) -> None:
        error = refusal(BUY, **{name: "x"})
        assert error.field == name and f"`{name}`" in error.message

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("action", "moon"), ("action", 1), ("direction", "up"), ("symbol", ""), ("symbol", "A" * 65),
            ("symbol", "A\nB"),
            ("symbol", 5), ("title", "x" * 4097), ("tags", ["a"] * 21), ("tags", ["x" * 65]), ("tags", "a,b"),
            ("tags", [1]), ("session", "lunch"), ("confidence_kind", "gut"), ("magnitude", "0.1"),
            ("disclosures", "none"),
            ("targets", ["1"] * 11), ("targets", "1"), ("features", [1]), ("features", {"rvol": "5"}), ("lang", 5),
            ("source", {"url": "javascript:alert(1)"}), ("source", {"excerpt": "x" * 281}), ("source", 5),
            ("stop", {"price": "1", "offset": "2", "unit": "abs"}), ("stop", {"offset": "2"}), ("stop", {}),
            ("stop", "2%"),
            ("stop", {"price": "1", "trailing": "yes"}), ("entry", {"type": "limit"}), ("entry", {"low": "1"}),
            ("entry", {"type": "vwap"}), ("suggested_risk", {"fraction_of_equity": 2}), ("mine", {1, 2}),
            ("mine", Decimal("1e400")), ("mine", 10**400),
        ],
    )  # fmt: skip
    def test_a_value_of_the_wrong_kind_is_refused_by_name(self, field: str, value: Any) -> None:
        error = refusal(BUY, **{field: value})
        assert (error.field or "").replace("instrument.", "").startswith(field)
        assert field in error.message
        msgspec.json.encode(error.as_dict())

    def test_a_signal_needs_an_instrument_and_an_action(self) -> None:
        assert refusal({"action": "BUY"}).field == "instrument.symbol"
        assert refusal({"instrument": {"venue": "X"}, "action": "BUY"}).field == "instrument.symbol"
        assert refusal({"symbol": "ACME"}).field == "action"
        with pytest.raises(InvalidDraft, match="a list"):
            signal_draft([], subject="u1")

    @pytest.mark.parametrize("action", ["open", "increase"])
    def test_what_opens_says_which_way(self, action: str) -> None:
        assert refusal({"symbol": "A", "action": action}).field == "direction"
        assert refusal({"symbol": "A", "action": action, "direction": "flat"}).field == "direction"
        assert data_of({"symbol": "A", "action": action, "direction": "SHORT"})["direction"] == "short"

    def test_what_contradicts_itself_is_refused(self) -> None:
        assert refusal(BUY, direction="short").field == "direction"
        assert refusal(BUY, instrument={"symbol": "XYZ"}).field == "symbol"
        assert refusal(BUY, target="1", targets=["2"]).field == "target"
        assert data_of(BUY, ticker="ACME", instrument="ACME", direction="long")["instrument"] == {"symbol": "ACME"}

    def test_a_plan_that_looks_unwise_is_the_publishers_business(self) -> None:
        assert data_of(BUY, entry="9", stop="12", targets=["1"])["stop"] == {"price": "12"}

    def test_a_confidence_of_82_is_told_what_to_send(self) -> None:
        assert (
            "0.82" in refusal(BUY, confidence=82).message and "confidence_kind" in refusal(BUY, confidence=82).message
        )
        assert "without quotes" in refusal(BUY, confidence="0.82").message
        for wrong in (-0.1, 1.01, True, float("nan"), 10**400):
            assert refusal(BUY, confidence=wrong).field == "confidence"
        assert data_of(BUY, confidence=1)["confidence"] == 1

    def test_fractions_add_up_to_one_or_nearly(self) -> None:
        thirds = [{"price": str(p), "fraction": f} for p, f in ((1, 0.33334), (2, 0.33333), (3, 0.33334))]
        assert len(data_of(BUY, targets=thirds)["targets"]) == 3
        assert refusal(BUY, targets=[{"price": "1", "fraction": 0.6}] * 2).field == "targets"

    def test_a_wrong_target_is_named_by_its_number(self) -> None:
        error = refusal(BUY, targets=["1", {"price": "2"}, {"price": "x"}])
        assert error.field == "targets[2].price" and "`targets[2].price`" in error.message

    def test_depth_is_bounded(self) -> None:
        deep: Any = 1
        for _ in range(16):
            deep = [deep]
        assert data_of(BUY, mine=deep)["mine"] == deep
        assert refusal(BUY, mine=[deep]).field == "mine"
        for _ in range(900):
            deep = {"x": deep}
        assert refusal(BUY, mine=deep).field == "mine"

    def test_a_signal_has_at_most_64_kib(self) -> None:
        base = len(signal_draft({**BUY, "mine": ""}, subject="u1")[0].body)
        assert signal_draft({**BUY, "mine": "x" * (65536 - base)}, subject="u1")
        with pytest.raises(TooLarge, match="65,536"):
            signal_draft({**BUY, "mine": "x" * (65537 - base)}, subject="u1")

    def test_half_a_character_is_refused(self) -> None:
        with pytest.raises(InvalidDraft):
            signal_draft({**BUY, "mine": "\ud800"}, subject="u1")


class TestIds:
    def test_the_publishers_id_wins_then_the_fallback_then_ours(self) -> None:
        assert [(d.id, ours) for d, ours in (signal_draft({**BUY, "id": "a"}, subject="u1", id="b"),)] == [("a", False)]
        assert [(d.id, ours) for d, ours in (signal_draft(BUY, subject="u1", id="b"),)] == [("b", False)]
        (first, ours), (second, _) = signal_draft(BUY, subject="u1"), signal_draft({**BUY, "id": None}, subject="u1")
        assert ours and first.id != second.id and re.fullmatch("[0-9a-f]{32}", first.id)

    def test_the_id_is_not_in_the_data(self) -> None:
        assert "id" not in data_of(BUY, id="a")

    @pytest.mark.parametrize("id", ["", "a~2", "x" * 129, "a\n", 5, ["a"]])
    def test_an_id_that_is_none_is_refused(self, id: Any) -> None:
        with pytest.raises(InvalidName):
            signal_draft({**BUY, "id": id}, subject="u1")
        if isinstance(id, str):
            with pytest.raises(InvalidName):
                signal_draft(BUY, subject="u1", id=id)

    def test_the_hash_is_of_what_was_sent(self) -> None:
        """Not of what we made of it, nor of who sent it: an honest retry stays one after an upgrade."""
        draft, _ = signal_draft(BUY, subject="u1", id="k")
        assert draft.draft_hash == hash_of_draft(BUY) == signal_draft(BUY, subject="u2")[0].draft_hash
        assert draft.draft_hash != signal_draft({**BUY, "action": "buy"}, subject="u1")[0].draft_hash
        assert (draft.type, draft.version) == ("signal.published", 1)

    def test_what_was_sent_is_left_alone(self) -> None:
        sent = {"symbol": "ACME", "action": "BUY", "target": "5", "stop": {"price": 4}}
        before = msgspec.json.encode(sent)
        signal_draft(sent, subject="u1")
        assert msgspec.json.encode(sent) == before


class TestDecode:
    @pytest.mark.parametrize(
        ("body", "line", "column", "says"),
        [
            ("{“a”:1}", 1, 2, "LEFT DOUBLE QUOTATION MARK"),
            ('{"a":"buy”, "b":1}', 1, 10, "”"), ('{"a":"buy”}', 1, 10, "smart quote"), ('{"ticker”: "A"}', 1, 9, "”"),
            ('{\n  "a": 1,\n}', 2, 9, "comma"), ("[1,]", 1, 3, "comma"),
            ('{"a":buy}', 1, 6, '"buy"'), ("{buy:1}", 1, 2, '"buy"'), ('{"a":nul}', 1, 6, '"nul"'),
            ('{"t":2026-01-01T00:00:00Z}', 1, 6, '"2026-01-01T00:00:00Z"'),
            ("{'a':1}", 1, 2, "double quotes"), ('{"a":True}', 1, 6, "write true"), ('{"a":NaN}', 1, 6, "NaN"),
            ('{"a":-Infinity}', 1, 6, "-Infinity"), ('{"a":{{close}}}', 1, 6, "{{close}}"),
            ('{"a":"é', 1, 8, "ends in the middle"), ("", 1, 1, "empty"), ('{"a":1} x', 1, 9, "after the end"),
            ('{"é":\n"x\ny"}', 2, 3, "line break"), ('{"a":"\\ud800"}', 1, 7, "half of a character"),
            (b'{"a":\n"\xff"}', 2, 2, "UTF-8"), ('{"a":' + "1" * 100_000 + "}", 1, 6, "digits"),
            ('{"a":1.' + "1" * 100 + "}", 1, 6, "digits"), ("1e99999999999999999999", 1, 1, "digits"),
        ],
    )  # fmt: skip
    def test_a_fault_is_named_where_it_is(self, body: str | bytes, line: int, column: int, says: str) -> None:
        with pytest.raises(InvalidJson) as caught:
            decode(body)
        refused = caught.value.as_dict()
        assert (refused["line"], refused["column"]) == (line, column), refused
        assert says.lower() in refused["message"].lower() and f"line {line}, column {column}" in refused["message"]

    def test_a_smart_quote_inside_a_text_is_no_fault(self) -> None:
        assert decode('{"title":"the “big” one"}') == {"title": "the “big” one"}
        with pytest.raises(InvalidJson, match="comma before"):
            decode('{"title":"the “big” one",}')

    @pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
    def test_nesting_is_no_way_to_break_it(self, body: str) -> None:
        with pytest.raises(InvalidJson, match="nested too deeply"):
            decode(body)

    def test_numbers_keep_their_digits_and_a_byte_order_mark_is_skipped(self) -> None:
        assert decode(b'\xef\xbb\xbf{"a":9.40,"b":7}\r\n') == {"a": Decimal("9.40"), "b": 7}
        assert str(decode("9.40")) == "9.40"

    @given(st.binary(max_size=60) | st.text(max_size=60) | st.text('{}[]",:“”\\u{d8}0 e+-.NaT\n', max_size=40))
    @settings(max_examples=400)
    def test_nothing_but_invalid_json_is_raised(self, body: bytes | str) -> None:
        try:
            decode(body)
        except InvalidJson as refused:
            msgspec.json.encode(refused.as_dict())


class TestReading:
    DOC: dict[str, Any] = {
        "type": "signal.published", "channel": "main", "seq": 7, "id": "a", "version": 1,
        "ts": "2026-11-26T09:30:00.000123Z", "data": FULL,
    }  # fmt: skip

    def test_an_expired_signal_is_refused_at_the_very_microsecond(self) -> None:
        at_us = 1_795_708_800_000_000
        data = {"expires_at": datetime.fromtimestamp(at_us / 1e6, UTC).isoformat().replace("+00:00", "Z")}
        assert check_not_expired(data, at_us - 1) is None and check_not_expired({}, at_us) is None
        refused = check_not_expired(data, at_us)
        assert refused is not None and refused.field == "expires_at"

    @pytest.mark.parametrize(
        ("action", "direction", "shown"),
        [("open", "long", "BUY"), ("open", "short", "SELL"), ("increase", "long", "ADD"), ("reduce", None, "REDUCE"),
         ("close", "short", "CLOSE"), ("cancel", None, "CANCEL"), ("watch", None, "WATCH"), ("avoid", None, "AVOID")],
    )  # fmt: skip
    def test_people_are_shown_a_word_they_know(self, action: str, direction: str | None, shown: str) -> None:
        assert side({"action": action, "direction": direction}) == shown

    def test_the_typed_view_has_decimals_and_times(self) -> None:
        signal = Signal.from_event(self.DOC)
        assert (signal.id, signal.channel, signal.seq, signal.version, signal.symbol) == ("a", "main", 7, 1, "ACME")
        assert (signal.action, signal.direction, signal.side, signal.confidence) == ("open", "long", "BUY", 0.82)
        assert (signal.entry_price, signal.stop_price, signal.target_prices) == (None, None, (Decimal("10.81"),))
        assert signal.ts == datetime(2026, 11, 26, 9, 30, 0, 123, UTC) and not signal.is_ending
        end = datetime(2026, 11, 26, 16, tzinfo=UTC)
        assert signal.expires_at == end and signal.is_expired(end) and not signal.is_expired(end - timedelta(seconds=1))
        assert signal.age_s(signal.ts + timedelta(seconds=2)) == 2
        assert len({signal, signal}) == 1

    def test_a_bare_plan_is_read_as_prices(self) -> None:
        data = data_of(BUY, entry="9.40", stop="9", targets=["10", {"offset": "1", "unit": "abs"}])
        signal = Signal.from_event(self.DOC | {"data": data})
        assert (signal.entry_price, signal.stop_price, signal.target_prices) == (
            Decimal("9.40"),
            Decimal(9),
            (Decimal(10),),
        )

    def test_an_erased_signal_can_be_looked_at(self) -> None:
        erased = {name: value for name, value in self.DOC.items() if name != "data"} | {"erased": True}
        signal = Signal.from_event(erased | {"type": "signal.expired"})
        assert (signal.symbol, signal.action, signal.side, signal.entry_price, signal.target_prices) == (
            "",
            "",
            "",
            None,
            (),
        )
        assert signal.is_ending and signal.expires_at is None and not signal.is_expired(datetime.now(UTC))
