"""What a webhook promises: real senders' bodies are understood, nothing is guessed, no secret stays, a retry is one.

Bodies go in by `read` and must pass as signals, so this covers `catalyst_signals.ingest.tradingview`,
`catalyst_signals.ingest.generic`, `catalyst_signals.ingest.templates`, `catalyst_signals.ingest.orders` and
`catalyst_signals.ingest.plans` too.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import CatalystError, InvalidDraft, InvalidJson, InvalidName, NotFound
from catalyst_signals.events import check_id
from catalyst_signals.ingest import ADAPTERS, RAW_BYTES_MAX, Reading, read, received_draft, redact
from catalyst_signals.signals import signal_draft

NOW_US = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
MINUTE_US = 60_000_000
JSON_ADAPTERS = ("tradingview", "generic", "traderspost", "threecommas", "okx", "altrady", "copyfactory")


def reading(body: str | bytes | dict[str, Any], adapter: str = "tradingview", now_us: int = NOW_US) -> Reading:
    """What an adapter makes of a body."""
    raw = msgspec.json.encode(body) if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    return read(adapter, raw, "text/plain", ingest_id="in1", now_us=now_us)


def stored(body: str | bytes | dict[str, Any], adapter: str = "tradingview") -> list[dict[str, Any]]:
    """What is stored of a body's signals: every draft must pass as a signal."""
    found = []
    for each in reading(body, adapter).drafts:
        draft, by_server = signal_draft(each, subject="ingest.in1")
        assert not by_server and check_id(draft.id).startswith(f"{adapter}.in1.")
        data = msgspec.json.decode(draft.body)["data"]
        del data["provider"]
        found.append(data)
    return found


def one(body: str | bytes | dict[str, Any], adapter: str = "tradingview") -> dict[str, Any]:
    """The only signal of a body."""
    (data,) = stored(body, adapter)
    return data


def does(body: str | dict[str, Any]) -> list[tuple[str, str | None]]:
    """What the signals of a body say to do."""
    return [(data["action"], data.get("direction")) for data in stored(body)]


def refusal(body: str | bytes | dict[str, Any], adapter: str = "tradingview") -> CatalystError:
    """The refusal of a body."""
    with pytest.raises((InvalidDraft, InvalidJson, InvalidName)) as caught:
        reading(body, adapter)
    msgspec.json.encode(caught.value.as_dict())
    return caught.value


# The template of the best-known public sample of a webhook server for TradingView, as it arrives.
NESTED = """{
    "passphrase": "hunter2", "time": "2026-09-21T14:13:00Z", "exchange": "NASDAQ_DLY", "ticker": "AAPL",
    "bar": {"time": "2026-09-21T14:10:00Z", "open": 190.1, "high": 191, "low": 189, "close": 190.50, "volume": 1000},
    "strategy": {"position_size": 100, "order_action": "buy", "order_contracts": 100, "order_price": 190.55,
        "order_id": "Long", "market_position": "long", "market_position_size": 100,
        "prev_market_position": "flat", "prev_market_position_size": 0}
}
"""
NAMES = (
    "ticker", "symbol", "action", "side", "price", "sl", "tp", "tp1", "market_position", "prev_position", "size",
    "contracts", "confidence", "time", "type", "direction", "strategy", "message", "test", "targets",
    "entry", "stop", "order", "id",
    "extras", "bar", "quantity",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    "buy", "sell", "long", "flat", "AAPL", "limit", "2%", "A:B", "", "NaN", "1e999", 1, -1, 0, 1.5, 10**50, True, None,
    [], ["1", {}], {}, {"price": 1}, {"percent": "x"}, {"action": "buy", "stop": {"x": [1]}},
)  # fmt: skip
TICKERLY = {"ticker": "AAPL", "action": "sell", "prev_position": "long", "quantity": "10"}


class TestTemplates:
    def test_the_nested_strategy_template(self) -> None:
        data = one(NESTED)
        assert data["instrument"] == {"symbol": "AAPL", "venue": "NASDAQ"}
        assert (data["action"], data["direction"], data["reference_price"]) == ("open", "long", "190.55")
        assert data["event_at"] == "2026-09-21T14:13:00Z"
        assert data["extras"]["strategy"]["order_id"] == "Long" and data["extras"]["bar"]["close"] == 190.5

    @pytest.mark.parametrize("symbol", ["ticker", "symbol", "instrument", "pair", "tv_instrument"])
    @pytest.mark.parametrize("action", ["action", "side", "order", "signal", "order_action", "strategy.order.action"])
    @pytest.mark.parametrize("price", ["price", "close", "order_price", "signalPrice"])
    def test_the_spellings_senders_use(self, symbol: str, action: str, price: str) -> None:
        data = one({symbol: "NASDAQ:AAPL", action: "Buy", price: "190.50"})
        assert data == {
            "instrument": {"symbol": "AAPL", "venue": "NASDAQ"}, "action": "open", "direction": "long",
            "reference_price": "190.50",
        }  # fmt: skip

    @pytest.mark.parametrize("stop", ["sl", "stop", "stop_loss", "stopLoss", "stop_price", "SL"])
    @pytest.mark.parametrize("target", ["tp", "take_profit", "takeProfit", "target", "tp1", "target_price"])
    def test_stops_and_targets_beside_a_price(self, stop: str, target: str) -> None:
        data = one({"ticker": "AAPL", "action": "buy", "price": "190.5", stop: "185", target: 200.25})
        assert data["stop"] == {"price": "185"} and data["targets"] == [{"price": "200.25"}]
        assert "extras" not in data and "note" not in data

    @pytest.mark.parametrize(
        ("body", "steps"),
        [
            ({"action": "buy"}, [("open", "long")]), ({"action": "sell"}, [("open", "short")]),
            ({"action": "sell", "prev_position": "long"}, [("close", "long")]),
            ({"action": "buy", "prev_position": "short"}, [("close", "short")]),
            ({"action": "buy", "prev_position": "flat"}, [("open", "long")]),
            ({"action": "buy", "prev_position": "long"}, [("increase", "long")]),
            ({"action": "sell", "market_position": "flat"}, [("close", "long")]),
            ({"action": "buy", "position_size": "0"}, [("close", "short")]),
            ({"action": "buy", "market_position": "long", "prev_market_position": "short"},
             [("close", "short"), ("open", "long")]),
            ({"action": "sell", "market_position": "long", "prev_market_position": "long"}, [("reduce", "long")]),
            ({"action": "sell", "market_position": "short", "prev_market_position": "short"}, [("increase", "short")]),
            ({"action": "sell", "market_position": "short", "market_position_size": 2, "contracts": 1},
             [("increase", "short")]),
            ({"action": "buy", "position_size": "3", "contracts": "3"}, [("open", "long")]),
            ({"action": "buy", "position_size": "1", "contracts": "3"}, [("close", "short"), ("open", "long")]),
            ({"action": "long"}, [("open", "long")]), ({"action": "flat"}, [("close", None)]),
            ({"action": "flat", "prev_market_position": "short"}, [("close", "short")]),
            ({"market_position": "short"}, [("open", "short")]),
            ({"action": "enter_long"}, [("open", "long")]), ({"action": "EXIT_SHORT"}, [("close", "short")]),
            ({"action": "exit"}, [("close", None)]), ({"action": "close", "direction": "long"}, [("close", "long")]),
            ({"action": "sell", "sentiment": "flat"}, [("close", "long")]),
            ({"action": "buy", "sentiment": "bullish"}, [("open", "long")]),
            ({"action": "add", "market_position": "long"}, [("increase", "long")]),
            ({"action": "cancel"}, [("cancel", None)]), ({"action": "watch"}, [("watch", None)]),
            ({"action": "reverse", "market_position": "short"}, [("close", "long"), ("open", "short")]),
            ({"order": "buy", "type": "limit"}, [("open", "long")]), ({"type": "buy"}, [("open", "long")]),
        ],
    )  # fmt: skip
    def test_verb_and_position_say_what_to_do(self, body: dict[str, Any], steps: list[Any]) -> None:
        assert does({"ticker": "AAPL", **body}) == steps

    @pytest.mark.parametrize(
        "body",
        [
            {"action": "buy", "market_position": "short", "prev_market_position": "long"},
            {"action": "buy", "market_position": "flat", "prev_market_position": "flat"},
            {"action": "enter_long", "market_position": "short"}, {"action": "long", "market_position": "short"},
            {"action": "reverse"}, {"action": "add"}, {"action": "open"}, {"action": "buy", "direction": "short"},
            {"action": "moon"}, {"action": 1}, {"actoin": "buy"}, {"strategy": "buy the dip"},
        ],
    )  # fmt: skip
    def test_a_direction_is_never_guessed(self, body: dict[str, Any]) -> None:
        assert isinstance(refusal({"ticker": "AAPL", **body}), InvalidDraft)

    def test_sizes_and_whatever_else_is_sent_is_kept_but_never_a_quantity(self) -> None:
        data = one({**TICKERLY, "interval": "5", "comment": "RSI cross", "strategy": "RSI"})
        assert data["extras"] == {"quantity": "10", "interval": "5"}
        assert data["title"] == "RSI cross" and data["model"] == {"name": "RSI"}

    def test_what_is_ours_to_set_goes_under_extras(self) -> None:
        sent = {
            "ticker": "A",
            "action": "buy",
            "seq": 7,
            "provider": "me",
            "version": "2",
            "id": "Long",
            "channel": "x",
        }
        assert one(sent)["extras"] == {"seq": 7, "provider": "me", "version": "2", "id": "Long", "channel": "x"}

    def test_our_own_fields_are_taken_where_they_are_right(self) -> None:
        data = one({
            "ticker": "A", "action": "buy", "tags": ["x"], "catalyst": {"type": "fda"}, "horizon": "4h",
            "session": "lunch",
            "group_id": "a~b",
        })  # fmt: skip
        assert (data["tags"], data["catalyst"], data["horizon"]) == (["x"], {"type": "fda"}, "PT4H")
        assert data["extras"] == {"session": "lunch", "group_id": "a~b"}

    @pytest.mark.parametrize("nothing", [0, "0", "0.0", "NaN", "na", "null", "", None, "None"])
    def test_zeros_and_nan_mean_not_set(self, nothing: Any) -> None:
        data = one(
            {"ticker": "A", "action": "buy", "price": "10", "sl": nothing, "tp": nothing, "comment": nothing or ""}
        )
        assert not {"stop", "targets"}.intersection(data) and "note" not in data

    @pytest.mark.parametrize(
        ("sent", "confidence", "kind"),
        [(0.8, 0.8, None), ("0.8", 0.8, None), (85, 0.85, "score"), ("85", 0.85, "score"), ("85%", 0.85, "score")],
    )
    def test_confidence_says_what_kind_it_is(self, sent: Any, confidence: float, kind: str | None) -> None:
        data = one({"ticker": "A", "action": "buy", "confidence": sent})
        assert (data["confidence"], data.get("confidence_kind")) == (confidence, kind)

    def test_a_confidence_beyond_all_scales_is_kept_aside(self) -> None:
        assert one({"ticker": "A", "action": "buy", "confidence": 850})["extras"] == {"confidence": 850}

    def test_a_test_stays_visible(self) -> None:
        assert one({"ticker": "A", "action": "buy", "test": True})["test"] is True

    def test_an_order_to_enter_is_read_as_entry(self) -> None:
        limit = one({"ticker": "A", "action": "buy", "orderType": "limit", "limitPrice": 189, "price": "190"})
        assert limit["entry"] == {"type": "limit", "price": "189"} and limit["reference_price"] == "190"
        stop = one({"ticker": "A", "action": "buy", "orderType": "stop", "stopPrice": "200", "price": "190"})
        assert stop["entry"] == {"type": "stop", "price": "200"} and "stop" not in stop
        assert one({"ticker": "A", "action": "buy", "orderType": "market"})["entry"] == {"type": "market"}

    def test_several_signals_of_one_body_have_numbered_ids(self) -> None:
        raw = b'[{"ticker":"AAPL","action":"buy"},{"ticker":"TSLA","action":"sell"}]'
        found = read("tradingview", raw, "application/json", ingest_id="in1", now_us=NOW_US)
        assert [draft["id"] for draft in found.drafts] == [f"{found.id}.0", f"{found.id}.1"]

    @pytest.mark.parametrize(
        "body", ['{"event":"heartbeat"}', '{"ticker":"AAPL","close":"190","volume":"10","time":"2026-09-21T14:13:00Z"}']
    )
    def test_ticks_and_heartbeats_hold_no_signal(self, body: str) -> None:
        found = reading(body)
        assert found.drafts == [] and found.id.startswith("tradingview.in1.")

    @pytest.mark.parametrize(
        ("sent", "instrument"),
        [
            ("NASDAQ:AAPL", {"symbol": "AAPL", "venue": "NASDAQ"}),
            ("NASDAQ_DL:AAPL", {"symbol": "AAPL", "venue": "NASDAQ"}),
            ("BTCUSDT.P", {"symbol": "BTCUSDT", "asset_class": "crypto_perp"}), ("BRK.B", {"symbol": "BRK.B"}),
            ("BINANCE:BTCUSDT.P", {"symbol": "BTCUSDT", "asset_class": "crypto_perp", "venue": "BINANCE"}),
            ("CME_MINI:MNQ1!", {"symbol": "MNQ1!", "asset_class": "future", "venue": "CME_MINI"}),
            ("BTC/USDT:USDT", {"symbol": "BTCUSDT", "asset_class": "crypto_perp"}), (7203, {"symbol": "7203"}),
        ],
    )  # fmt: skip
    def test_tickers_are_read_as_instruments(self, sent: Any, instrument: dict[str, str]) -> None:
        assert one({"ticker": sent, "action": "buy"})["instrument"] == instrument


class TestDistances:
    """An offset stored as a price is the worst mistake an adapter can make."""

    @pytest.mark.parametrize(
        "plan",
        [
            {"price": "1.08", "sl": "10", "tp": "20"},  # Pips.
            {"price": "1.08", "sl": "0.5", "tp": "2"},  # Per cent.
            {"price": "64000", "sl": "500", "tp": "900"},  # Points.
            {"sl": "10", "tp": "20"},  # Nothing to tell by.
            {"price": "190", "sl": "195", "tp": "180"},  # On the wrong side.
            {"price": "190", "stop_price": "12", "target_price": "2900"},  # A factor of ten away.
            {"price": "190", "sl": "???", "tp": "soon"},
        ],
    )
    def test_what_may_be_a_distance_is_kept_aside_and_said(self, plan: dict[str, str]) -> None:
        data = one({"ticker": "X", "action": "buy", **plan})
        assert "stop" not in data and "targets" not in data
        levels = {name: value for name, value in plan.items() if name != "price"}
        assert data["extras"] == levels and all(name in data["note"] for name in levels)

    @pytest.mark.parametrize(
        ("sent", "stop"),
        [
            ({"stopLoss": "2%"}, {"offset": "0.02", "unit": "pct"}),
            ({"sl": "2.5 %"}, {"offset": "0.025", "unit": "pct"}),
            ({"stopLoss": {"type": "stop", "percent": 5}}, {"offset": "0.05", "unit": "pct"}),
            ({"stopLoss": {"amount": "1.50"}}, {"offset": "1.50", "unit": "abs"}),
            ({"stopLoss": {"type": "trailing_stop", "trailPercent": 1}}, {"offset": "0.01", "unit": "pct",
            "trailing": True}),
            ({"stopLoss": {"stopPrice": 90}}, {"price": "90"}), ({"stop_price": "90"}, {"price": "90"}),
        ],
    )  # fmt: skip
    def test_a_distance_whose_unit_is_certain_is_an_offset(self, sent: dict[str, Any], stop: dict[str, Any]) -> None:
        assert one({"ticker": "X", "action": "buy", **sent})["stop"] == stop

    def test_names_that_say_a_unit_are_not_taken_for_prices(self) -> None:
        data = one({"ticker": "X", "action": "buy", "price": "100", "sl_percent": "98", "tp_pips": "101"})
        assert "stop" not in data and data["extras"] == {"sl_percent": "98", "tp_pips": "101"}

    def test_a_short_has_its_stop_above(self) -> None:
        data = one({"ticker": "X", "action": "sell", "price": "100", "sl": "105", "tp": ["95", "90"]})
        assert data["stop"] == {"price": "105"} and data["targets"] == [{"price": "95"}, {"price": "90"}]

    @given(price=st.integers(1, 10**6), level=st.decimals("0.001", "1e7", places=3))
    def test_a_stored_stop_is_always_below_a_longs_price_and_near_it(self, price: int, level: Any) -> None:
        found = one({"ticker": "X", "action": "buy", "price": price, "sl": str(level)}).get("stop")
        assert (found is not None) == (price / 1.5 <= level < price)


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "steps", "symbol"),
        [
            ("NAME: order buy @ 1 filled on CME_MINI:MNQ1!. New strategy position is 1", [("open", "long")], "MNQ1!"),
            (
                "Stop target (14, 2): order sell @ 1 filled on AAPL. New strategy position is 0",
                [("close", "long")],
                "AAPL",
            ),
            ("x: order buy @ 2 filled on BRK.B. New strategy position is 0", [("close", "short")], "BRK.B"),
            (
                "x: order sell @ 2 filled on AAPL. New strategy position is -1",
                [("close", "long"), ("open", "short")],
                "AAPL",
            ),
            ("order buy @ 0.5 filled on BTCUSDT.P. New strategy position is 1.5", [("increase", "long")], "BTCUSDT"),
            ("x: order sell @ 1 filled on AAPL. New strategy position is 2.", [("reduce", "long")], "AAPL"),
        ],
    )
    def test_the_default_strategy_text(self, text: str, steps: list[Any], symbol: str) -> None:
        found = stored(text)
        assert [(data["action"], data["direction"]) for data in found] == steps
        for data in found:
            assert data["instrument"]["symbol"] == symbol
            assert not {"entry", "reference_price", "stop", "targets"}.intersection(data)  # "@" is contracts.

    @pytest.mark.parametrize(
        "text",
        ["AAPL Crossing 190.00", "NASDAQ:AAPL, 5 Crossing Up 190", "AAPL Less Than 3", "AAPL Moving Up 5% in 3 bars"],
    )
    def test_a_price_alert_is_watched_and_nothing_more(self, text: str) -> None:
        data = one(text)
        assert (data["action"], data["instrument"]["symbol"], data["title"]) == ("watch", "AAPL", text)
        assert "direction" not in data

    @pytest.mark.parametrize(
        ("text", "step"),
        [
            ("BUY AAPL", ("open", "long")),
            ("sell NASDAQ:AAPL\n", ("open", "short")),
            ("AAPL exit long", ("close", "long")),
            ("Long AAPL", ("open", "long")),
            ("symbol=AAPL;side=sell", ("open", "short")),
            ("Ticker: AAPL\nAction: buy", ("open", "long")),
            ('"buy AAPL"', ("open", "long")),
            ('{"message": "buy AAPL"}', ("open", "long")),
        ],
    )
    def test_short_commands(self, text: str, step: tuple[str, str]) -> None:
        data = one(text)
        assert (data["action"], data["direction"]) == step and data["instrument"]["symbol"] == "AAPL"

    def test_a_command_with_its_plan(self) -> None:
        data = one("buy BTCUSDT price=64000 sl=63000 tp=67000 tp2=70000")
        assert (data["reference_price"], data["stop"]) == ("64000", {"price": "63000"})
        assert data["targets"] == [{"price": "67000"}, {"price": "70000"}]

    @pytest.mark.parametrize(
        "text",
        [
            "hello world", "don't buy AAPL", "BUY NOW", "EXIT LONG", "buy", "AAPL", "buy the dip in AAPL",
            "BUY AAPL or SELL TSLA",
            "AAPL is crossing 190", "move SL to entry", "buy signal", "123", "buy aapl", "x=1", "TP hit on AAPL",
        ],
    )  # fmt: skip
    def test_words_without_a_clear_instruction_are_refused_and_quoted(self, text: str) -> None:
        error = refusal(text)
        assert isinstance(error, InvalidDraft) and text in error.message

    def test_a_word_that_is_a_ticker_too_needs_its_exchange(self) -> None:
        assert one("BUY NYSE:NOW")["instrument"] == {"symbol": "NOW", "venue": "NYSE"}


class TestFaults:
    @pytest.mark.parametrize(
        ("body", "line", "column", "says"),
        [
            ('{"ticker":"{{ticker}}","action":"buy"}', 1, 12, "{{ticker}}"),
            ('{"ticker":"AAPL",\n "price":{{close}}}', 2, 10, "{{close}}"), ("buy {{tickr}}", 1, 5, "{{tickr}}"),
            ('{“ticker”:"AAPL"}', 1, 2, "U+201C"), ('{"ticker":"AAPL”,"action":"buy"}', 1, 16, "U+201D"),
            ('{"ticker":"AAPL",\n"action":"buy",\n}', 2, 15, "comma"), ('{"ticker":"A","sl":NaN}', 1, 20, "NaN"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("adapter", JSON_ADAPTERS)
    def test_a_fault_is_named_with_line_and_column(
        self, body: str, line: int, column: int, says: str, adapter: str
    ) -> None:
        refused = refusal(body, adapter).as_dict()
        assert (refused["line"], refused["column"]) == (line, column) and says in refused["message"]

    @pytest.mark.parametrize(
        "body", [b"", b" \n", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500, b"[[1]]"]
    )
    @pytest.mark.parametrize("adapter", JSON_ADAPTERS)
    def test_bad_bodies_are_refused_in_words(self, body: bytes, adapter: str) -> None:
        refusal(body, adapter)

    def test_an_unknown_adapter_is_named(self) -> None:
        with pytest.raises(NotFound, match="telex"):
            reading("{}", "telex")

    @given(
        body=st.binary(max_size=80) | st.text('{}[]":,=@. \nbuysellAPL0123', max_size=60),
        adapter=st.sampled_from(sorted(ADAPTERS)),
    )
    @settings(max_examples=300)
    def test_no_body_breaks_an_adapter(self, body: Any, adapter: str) -> None:
        try:
            stored(body, adapter)
        except CatalystError as refused:
            msgspec.json.encode(refused.as_dict())

    @given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES)))
    @settings(max_examples=500)
    def test_no_template_breaks_the_reader_and_every_draft_is_a_signal(self, body: dict[str, Any]) -> None:
        """An adapter either refuses a body, or what it makes of it is accepted."""
        try:
            drafts = reading(msgspec.json.encode(body)).drafts
        except (InvalidDraft, InvalidJson):
            return
        for draft in drafts:
            signal_draft(draft, subject="u1")

    @pytest.mark.parametrize(
        "body", ["a" * 65536, '"' * 65536, "key=" * 16384, " order buy @ " * 5000, "AAPL, " * 10000, "1" * 65536]
    )
    def test_a_hostile_body_costs_no_time(self, body: str) -> None:
        began = time.process_time()
        for adapter in ADAPTERS:
            try:
                reading(body, adapter)
            except CatalystError:
                pass
        received_draft("generic", body.encode(), "text/plain", ingest_id="in1", id="x")
        assert time.process_time() - began < 1


class TestIds:
    TIMED = '{"ticker":"AAPL","action":"buy","timenow":"2026-09-21T14:13:19Z"}'

    def test_a_retry_has_the_same_id_also_with_other_white_space_around(self) -> None:
        assert reading("BUY AAPL").id == reading("BUY AAPL\n", now_us=NOW_US + 5_000_000).id

    def test_the_same_words_tomorrow_are_a_new_signal(self) -> None:
        assert reading("BUY AAPL").id != reading("BUY AAPL", now_us=NOW_US + MINUTE_US).id

    def test_a_body_that_names_its_time_is_the_same_for_a_day(self) -> None:
        hour = 60 * MINUTE_US
        assert reading(self.TIMED).id == reading(self.TIMED, now_us=NOW_US + 23 * hour).id
        assert reading(self.TIMED).id != reading(self.TIMED.replace(":19Z", ":18Z")).id

    def test_a_date_that_never_changes_is_no_time(self) -> None:
        """A constant in a template must not make every alert after the first a duplicate."""
        body = '{"ticker":"AAPL","action":"buy","since":"2024-01-01T00:00:00Z"}'
        assert reading(body).id != reading(body, now_us=NOW_US + MINUTE_US).id

    def test_ids_differ_between_sources(self) -> None:
        other = read("tradingview", b"BUY AAPL", "text/plain", ingest_id="in2", now_us=NOW_US)
        assert other.id != reading("BUY AAPL").id

    @pytest.mark.parametrize("name", ["idempotency_key", "signal_id", "signalId"])
    def test_the_senders_own_key_wins(self, name: str) -> None:
        found = reading({"ticker": "AAPL", "action": "buy", name: "k-1"})
        assert found.id == "tradingview.in1.k-1" == found.drafts[0]["id"]
        assert name not in one({"ticker": "AAPL", "action": "buy", name: "k-1"}).get("extras", {})

    def test_a_name_of_an_order_is_no_key(self) -> None:
        """OKX's template fills `id` with the order's name: the second `Long` would be taken for a retry."""
        first, second = ({"id": "Long", "ticker": "AAPL", "action": "buy", "price": price} for price in ("1", "2"))
        assert reading(first).id != reading(second).id

    def test_a_long_key_is_hashed_and_a_bad_one_refused(self) -> None:
        long = reading({"symbol": "A", "action": "BUY", "id": "x" * 128}, "generic")
        assert long.id == "generic.in1." + sha256(b"x" * 128).hexdigest()[:32]
        for bad in ("a~b", "", ["x"], 1.5):
            assert isinstance(refusal({"symbol": "A", "action": "BUY", "id": bad}, "generic"), InvalidName)


class TestGeneric:
    def test_our_own_signal_comes_through_as_it_is(self) -> None:
        sent = {"symbol": "ACME", "action": "BUY", "entry": 9.4, "mine": [1, {"x": 2}], "test": True}
        assert one(sent, "generic") == {
            "instrument": {"symbol": "ACME"}, "action": "open", "direction": "long",
            "entry": {"type": "limit", "price": "9.4"}, "mine": [1, {"x": 2}], "test": True,
        }  # fmt: skip

    def test_lines_of_key_and_value(self) -> None:
        text = (
            "symbol=ACME\naction=BUY; confidence=0.82\nsource.name=my bot\ntags=fda, small-cap\n"
            "features.rvol=3.5\ntest=true\nentry=9.40"
        )
        assert one(text, "generic") == {
            "instrument": {"symbol": "ACME"}, "action": "open", "direction": "long", "confidence": 0.82,
            "source": {"name": "my bot"}, "tags": ["fda", "small-cap"], "features": {"rvol": 3.5}, "test": True,
            "entry": {"type": "limit", "price": "9.40"},
        }  # fmt: skip

    def test_what_is_ours_to_set_goes_under_extras(self) -> None:
        data = one({"symbol": "A", "action": "BUY", "provider": "me", "ts": 1, "extras": {"a": 1}}, "generic")
        assert data["extras"] == {"provider": "me", "ts": 1, "a": 1}

    def test_ids_of_several(self) -> None:
        body = '[{"symbol":"A","action":"BUY","id":"a"},{"symbol":"B","action":"SELL"}]'
        found = reading(body, "generic")
        assert [draft["id"] for draft in found.drafts] == ["generic.in1.a", f"{found.id}.1"]

    def test_a_line_that_is_none_is_named(self) -> None:
        assert "line 2" in refusal("symbol=A\nhello", "generic").message
        assert refusal("a.b=1\na=2\na.c=3", "generic").field == "a.c"


class TestSecrets:
    SECRETS = (
        "passphrase",
        "secret",
        "api_key",
        "apiKey",
        "token",
        "signalToken",
        "license",
        "LicenseID",
        "password",
        "key",
    )

    @pytest.mark.parametrize("name", SECRETS)
    @pytest.mark.parametrize(
        "body",
        [
            '{"ticker":"AAPL","action":"buy","%s":"hunter\\"2x"}', '{"ticker":"AAPL","action":"buy","%s":"hunter2x"}',
            '{"ticker":"AAPL","action":"buy","auth":{"%s": "hunter2x"}}',
            '{"%s": ["hunter2x"],"ticker":"AAPL","action":"buy"}',
            '{"%s": {"a":{"b":"hunter2x"}},"ticker":"AAPL","action":"buy"}', "buy AAPL %s=hunter2x",
            "buy AAPL %s: hunter2x",
            'buy AAPL %s="hunter2x"', '{"ticker":"AAPL","action":"buy","comment":"%s=hunter2x"}',
            "%s=hunter2x\nBUY AAPL",
            '{"message":"{\\"%s\\":\\"hunter2x\\"}","ticker":"AAPL","action":"buy"}', '{"ticker":"AAPL","%s":"hunter2x',
        ],
    )  # fmt: skip
    def test_no_secret_is_stored_anywhere(self, name: str, body: str) -> None:
        text = body % name
        assert "hunter2" not in received_draft("tradingview", text.encode(), "", ingest_id="in1", id="x").body.decode()
        try:
            kept = stored(text)
        except CatalystError as refused:
            assert "hunter2" not in str(refused.as_dict())
            return
        assert kept and "hunter2" not in str(kept)

    @pytest.mark.parametrize("name", SECRETS)
    def test_nor_by_the_generic_adapter(self, name: str) -> None:
        assert "hunter2" not in str(
            one({"symbol": "A", "action": "BUY", name: "hunter2", "x": {name: "hunter2"}}, "generic")
        )

    def test_what_is_no_secret_stays(self) -> None:
        text = '{"keywords":["fda"],"price":"9.40","note":"a: b"}'
        assert redact(text) == text
        assert redact("https://x.io/?token=abc&z=1") == "https://x.io/?token=***&z=1"


class TestReceived:
    def test_the_raw_body_is_kept_under_the_signals_id(self) -> None:
        raw = NESTED.encode()
        id = reading(raw).id
        draft = received_draft("tradingview", raw, "application/json", ingest_id="in1", id=id)
        data = msgspec.json.decode(draft.body)["data"]
        assert (draft.type, draft.id) == ("ingest.received", id)
        assert data == {
            "adapter": "tradingview", "ingest": "in1", "content_type": "application/json",
            "raw": NESTED.replace("hunter2", "***"),
        }  # fmt: skip

    def test_a_retry_is_the_same_draft(self) -> None:
        first, again, other = (
            received_draft("generic", raw, "", ingest_id="in1", id="x").draft_hash
            for raw in (b"BUY A", b"BUY A\n", b"BUY B")
        )
        assert first == again != other

    @pytest.mark.parametrize("char", ["x", "é", "€"])
    def test_a_long_body_is_cut_and_says_so(self, char: str) -> None:
        data = msgspec.json.decode(received_draft("generic", (char * 20_000).encode(), "", ingest_id="i", id="x").body)[
            "data"
        ]
        assert data["truncated"] is True and RAW_BYTES_MAX - 4 < len(data["raw"].encode()) <= RAW_BYTES_MAX
        whole = received_draft("generic", b"x" * RAW_BYTES_MAX, "", ingest_id="i", id="x")
        assert "truncated" not in msgspec.json.decode(whole.body)["data"]

    def test_a_secret_at_the_cut_is_blanked_too(self) -> None:
        body = "x" * (RAW_BYTES_MAX - 14) + ' "key":"hunter2"'
        assert b"hunt" not in received_draft("generic", body.encode(), "", ingest_id="i", id="x").body

    def test_a_refused_body_is_kept_with_the_reason(self) -> None:
        refused = refusal(b"hello \xff")
        draft = received_draft("tradingview", b"hello \xff", "", ingest_id="in1", id="x", refused=refused)
        data = msgspec.json.decode(draft.body)["data"]
        assert data["refused"]["error"] == "json_invalid" and data["raw"].startswith("hello")
