"""The Adapter port: what every dialect of webhooks promises, over the bodies in tests/fixtures/ingest (see its README).

Covers `catalyst_signals.ingest.traderspost`, `catalyst_signals.ingest.threecommas`, `catalyst_signals.ingest.okx`,
`catalyst_signals.ingest.altrady`, `catalyst_signals.ingest.copyfactory` and `catalyst_signals.ingest.levels` too.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import CatalystError, InvalidRequest
from catalyst_signals.events import now_us
from catalyst_signals.ingest import ADAPTERS, check_options, options_of, paste_of, preview, read, received_draft
from catalyst_signals.signals import signal_draft
from tests.examples import examples

FOLDER = Path(__file__).parent.parent / "fixtures" / "ingest"
WHO = {"ingest_id": "in1", "subject": "ingest.in1"}
FILLED = {
    "ticker": "BTCUSDT", "exchange": "BINANCE", "strategy.order.action": "buy", "strategy.market_position": "long",
    "strategy.prev_market_position": "flat", "strategy.order.price": "63120.5", "strategy.order.comment": "RSI",
    "strategy.order.id": "Long", "close": "63120.5", "timenow": "2026-11-26T09:30:00Z", "interval": "5",
}  # fmt: skip
"""What TradingView puts in the place of its placeholders."""


@dataclass(frozen=True)
class Fixture:
    """A body and what becomes of it."""

    adapter: str
    path: Path

    @property
    def raw(self) -> bytes:
        now = datetime.now(UTC)
        text = self.path.read_bytes().replace(b"{NOW}", f"{now:%Y-%m-%dT%H:%M:%SZ}".encode())
        return text.replace(b"{NOW_S}", str(int(now.timestamp())).encode())

    @property
    def expected(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path.parent / f"{self.path.stem}.expected.json").read_text())
        return found

    @property
    def content_type(self) -> str:
        usual = "application/json" if self.path.suffix == ".json" else "text/plain; charset=utf-8"
        return str(self.expected.get("content_type", usual))

    @property
    def options(self) -> dict[str, str]:
        return dict(self.expected.get("options", {}))

    @property
    def yields(self) -> bool:
        return bool(self.expected.get("drafts") or self.expected.get("items"))

    def preview(self, raw: bytes | None = None) -> dict[str, Any]:
        body = self.raw if raw is None else raw
        return preview(self.adapter, body, self.content_type, now_us=now_us(), options=self.options, **WHO)

    def __str__(self) -> str:
        return f"{self.adapter}-{self.path.stem}"


FIXTURES = [
    Fixture(path.parent.name, path)
    for path in sorted(FOLDER.glob("*/*"))
    if not path.name.endswith(".expected.json") and path.suffix in (".json", ".txt")
]
GOOD = [each for each in FIXTURES if "refused" not in each.expected]
fixtures = pytest.mark.parametrize("fixture", FIXTURES, ids=str)


def at(draft: dict[str, Any], dotted: str) -> Any:
    """What stands at a dotted name of a draft; None if nothing does."""
    found: Any = draft
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def check(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Every named field of every draft, as the fixture says."""
    assert len(found) == len(expected), found
    for draft, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            assert at(draft, name) == value, f"{name}: {at(draft, name)!r} instead of {value!r} in {draft}"


@fixtures
def test_a_body_becomes_what_its_fixture_says(fixture: Fixture) -> None:
    """Good ones their signals and items, broken ones a refusal that names the place."""
    wanted = fixture.expected
    if "refused" not in wanted:
        shown = fixture.preview()
        check(shown["drafts"], wanted.get("drafts", []))
        if "items" in wanted:
            check(shown.get("items", []), wanted["items"])
        return
    with pytest.raises(InvalidRequest) as caught:
        fixture.preview()
    refused = caught.value.as_dict()
    for name in ("error", "field", "sender_error"):
        if name in wanted["refused"]:
            assert refused.get(name) == wanted["refused"][name], refused
    assert all(text in refused["message"] for text in wanted["refused"].get("says", [])), refused


@fixtures
def test_no_secret_of_a_body_is_stored(fixture: Fixture) -> None:
    """Neither in the signal, nor in the raw body, nor in the refusal."""
    kept = received_draft(fixture.adapter, fixture.raw, fixture.content_type, ingest_id="in1", id="x").body.decode()
    try:
        kept += str(fixture.preview())
    except CatalystError as refused:
        kept += str(refused.as_dict())
    for secret in fixture.expected.get("secrets", []):
        assert secret.encode() in fixture.raw and secret not in kept


@pytest.mark.parametrize("fixture", GOOD, ids=str)
def test_what_is_shown_is_what_is_published_and_a_retry_is_the_same(fixture: Fixture) -> None:
    """A dry run is no other reader; ids carry adapter and source."""
    raw, moment = fixture.raw, now_us()
    first, again = (
        read(fixture.adapter, raw, fixture.content_type, ingest_id="in1", now_us=moment, options=fixture.options)
        for _ in range(2)
    )
    assert first == again
    stored = [signal_draft(each, subject="ingest.in1")[0] for each in first.drafts]
    shown = preview(fixture.adapter, raw, fixture.content_type, now_us=moment, options=fixture.options, **WHO)
    assert shown["drafts"] == [{"id": draft.id, **msgspec.json.decode(draft.body)["data"]} for draft in stored]
    assert all(draft.id.startswith(f"{fixture.adapter}.in1.") for draft in stored)
    assert len({draft.id for draft in stored}) == len(stored)
    other = read(fixture.adapter, raw, fixture.content_type, ingest_id="in2", now_us=moment, options=fixture.options)
    assert not {each["id"] for each in first.drafts}.intersection(each["id"] for each in other.drafts)


@pytest.mark.parametrize("fixture", GOOD, ids=str)
def test_no_stop_lies_beyond_a_target(fixture: Fixture) -> None:
    """The last look a careful human would take."""
    for draft in fixture.preview()["drafts"]:
        stop = at(draft, "stop.price")
        for target in draft.get("targets", []):
            if stop is not None and "price" in target:
                assert (float(stop) < float(target["price"])) == (draft["direction"] == "long")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_adapter_has_fixtures_good_and_broken(adapter: str) -> None:
    """One that nobody tried is not there."""
    mine = [each for each in FIXTURES if each.adapter == adapter]
    assert any(each.yields for each in mine), "a good one"
    assert any("refused" in each.expected for each in mine), "a broken one"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_add_says_to_paste_is_understood(adapter: str) -> None:
    """TradingView fills in the placeholders; nobody should have to fix our example."""
    paste = paste_of(adapter, "https://signals.example/in/x/SECRET")
    assert "https://signals.example/in/x/SECRET" in paste and "{url}" not in paste
    blocks = re.findall(r"(?m)^ +(\{[\"\n](?:.*\n)*?)(?=\s*$)", paste + "\n")
    for block in blocks:
        body = re.sub(r"{{([a-z_.]+)}}", lambda found: FILLED[found[1]], block).encode()
        assert preview(adapter, body, "application/json", now_us=now_us(), **WHO)["drafts"], block


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_options_have_names_and_values_that_are_allowed(adapter: str) -> None:
    """Each value makes an adapter; another one is refused by name."""
    for name, values in options_of(adapter).items():
        for value in values:
            check_options(adapter, {name: value})
            with pytest.raises(CatalystError):
                preview(adapter, b"{", "", now_us=now_us(), options={name: value}, **WHO)
        with pytest.raises(InvalidRequest, match=name):
            check_options(adapter, {name: "nonsense"})
    with pytest.raises(InvalidRequest, match="nonsense"):
        check_options(adapter, {"nonsense": "1"})


def survives(adapter: str, raw: bytes, options: dict[str, str]) -> None:
    """Pass if the body becomes signals that are accepted, or a refusal of the sender's that JSON can hold."""
    try:
        preview(adapter, raw, "application/json", now_us=now_us(), options=options, **WHO)
        received_draft(adapter, raw, "text/plain", ingest_id="in1", id="x")
    except CatalystError as refused:
        assert 400 <= refused.status < 500
        msgspec.json.encode(refused.as_dict())


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Fixture, bytes]:
    """A fixture's body with some of it cut out, doubled or overwritten."""
    fixture = draw(st.sampled_from(FIXTURES))
    raw = bytearray(fixture.raw)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from([b"", b"-", b"0", b"null", b'"', b"{}", b"[", b"%", b"NaN", b"\xff", b"1e9"]))
        raw[start:end] = draw(st.sampled_from([piece, bytes(raw[start:end]) * 2]))
    return fixture, bytes(raw)


@given(mutated())
@settings(max_examples=examples(400), deadline=None)
def test_no_damage_to_a_body_breaks_its_adapter(case: tuple[Fixture, bytes]) -> None:
    """A 4xx or signals: never another exception."""
    fixture, raw = case
    survives(fixture.adapter, raw, fixture.options)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["buy", "sell", "ACME", "USDT_BTC", "long", "-2", "5%", "", "1e999", "2026-11-26T09:30:00Z"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def names_of(adapter: str) -> list[str]:
    """Every name that stands in a fixture of the adapter."""
    text = " ".join(each.path.read_text(errors="replace") for each in FIXTURES if each.adapter == adapter)
    return sorted(set(re.findall(r'"([A-Za-z_][\w.]*)"\s*:', text))) or ["symbol"]


NAMES = {adapter: names_of(adapter) for adapter in ADAPTERS}


@given(adapter=st.sampled_from(sorted(ADAPTERS)), data=st.data())
@settings(max_examples=examples(400), deadline=None)
def test_no_values_break_an_adapter(adapter: str, data: st.DataObject) -> None:
    """Its own names with whatever behind them."""
    body = data.draw(st.dictionaries(st.sampled_from(NAMES[adapter]), VALUES, max_size=8))
    survives(adapter, json.dumps(body).encode(), {})


@given(adapter=st.sampled_from(sorted(ADAPTERS)), raw=st.binary(max_size=200))
@settings(max_examples=examples(200), deadline=None)
def test_no_bytes_break_an_adapter(adapter: str, raw: bytes) -> None:
    """Whatever comes."""
    survives(adapter, raw, {})


HOSTILE = (
    "a" * 65536, '"' * 65536, "key=" * 16384, "[" * 65536, '{"a":' * 10000, "buy " * 16384, "1" * 65536, ",a" * 32768,
    "\n" * 65536, "TP1: 1 " * 9000, "=" * 65536, "%" * 65536, '{"ticker":"' + "A/" * 32000 + '","action":"buy"}',
)  # fmt: skip


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_hostile_body_costs_little_time(adapter: str) -> None:
    """64 KiB of anything are judged within a fraction of a second, all of them together within one."""
    began = time.process_time()
    for body in HOSTILE:
        survives(adapter, body.encode(), {})
    assert time.process_time() - began < 1.5
