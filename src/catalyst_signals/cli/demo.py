"""`catalyst demo`: a server of its own, sample signals and the live table; nothing to set up, nothing left behind.

Owns: the samples and the order of the show. All else is what a user would do: the real server in a process of its own,
a key and a webhook made over REST, signals published by the client and posted as TradingView posts them, a listener.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

import typer

from catalyst_signals.cli import console
from catalyst_signals.cli.options import Json, Server, examples
from catalyst_signals.cli.rest import Rest
from catalyst_signals.cli.signals import Heard, Wish, presenter_of, show
from catalyst_signals.cli.stopping import run_until_stopped
from catalyst_signals.client import connect
from catalyst_signals.errors import Unavailable

START_S = 30.0  # Three times what a slow machine needs.
STOP_S = 5.0
PAUSE_S = (0.5, 1.6)  # Between two signals: as long as it takes to read one.
SURE_S = 1000  # What holds for longer is still in force when it is changed.
AT_ONCE = 4  # Of the first, so that there is something to look at.


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "demo",
        epilog=examples(
            "catalyst demo",
            "catalyst demo --seconds 20",
            note="Its server has a fresh SQLite file in a temporary folder and a free port; both are gone at the end.",
        ),
    )(demo)


def demo(
    seconds: Annotated[float | None, typer.Option(min=1, metavar="N", help="End after so long, not at Ctrl-C.")] = None,
    json: Json = False,
) -> None:
    """Show it all at work: a server, sample signals from here and from "TradingView", what becomes of them, live."""
    folder = Path(tempfile.mkdtemp(prefix="catalyst-demo-"))
    try:
        run_until_stopped(_demo(folder, seconds, json))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not json:
        _say_what_next()


async def _demo(folder: Path, seconds: float | None, as_json: bool) -> None:
    if not as_json:
        console.say("starting a server on a fresh SQLite file ...")
        console.flush()
    async with running_server(folder) as admin:
        server, webhook = _prepare(admin)
        if not as_json:
            console.say(f"listening on {server.url}; signals come from the client and from {_without_secret(webhook)}")
            console.flush()
        wish = Wish(after=0)
        shower = asyncio.create_task(show(server, wish, presenter_of(wish, server.url, as_json=as_json), Heard()))
        player = asyncio.create_task(_play(server, webhook))
        try:
            done, _ = await asyncio.wait({shower, player}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (player, shower):
                task.cancel()
            await asyncio.gather(player, shower, return_exceptions=True)


@asynccontextmanager
async def running_server(folder: Path) -> AsyncIterator[Server]:
    """A server in a process of its own, with its admin's key; stopped at the end.

    Raises:
        Unavailable: it did not start; says its last words.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CATALYST_")}
    log = folder / "server.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "catalyst_signals", "serve", "--host", "127.0.0.1", "--port", "0",
            "--store-url", f"sqlite:///{folder / 'catalyst.db'}",
            cwd=folder, env=clean | {"CATALYST_KEY_ENV": "demo"}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=errors, start_new_session=True,
        )  # fmt: skip
    try:
        yield await _greeting_of(process, log)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _greeting_of(process: asyncio.subprocess.Process, log: Path) -> Server:
    """What the server says on its standard output when it starts."""
    key = ""
    assert process.stdout is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            async for raw in process.stdout:
                line = raw.decode().strip()
                if line.startswith("admin key: "):
                    key = line.removeprefix("admin key: ")
                if line.startswith("listening on "):
                    return Server(line.removeprefix("listening on "), key)
    raise Unavailable(f"the demo's server did not start: {_last_line(log) or 'it said nothing'}")


def _last_line(file: Path) -> str:
    return file.read_text(errors="replace").strip().split("\n")[-1]


def _prepare(admin: Server) -> tuple[Server, str]:
    """A key to publish and listen with, and an address for TradingView."""
    with Rest(admin) as rest:
        made = rest.post("v1", "keys", body={"user": "demo", "scopes": ["publish", "subscribe"], "channels": ["main"]})
        webhook = rest.post("v1", "ingest", body={"adapter": "tradingview", "channel": "main"})
    return Server(admin.url, made["key"]), webhook["url"]


def _without_secret(webhook: str) -> str:
    return webhook.rpartition("/")[0] + "/..."


def _say_what_next() -> None:
    command = "catalyst"
    if shutil.which("catalyst") is None:
        with suppress(ValueError):
            command = str(Path(sys.argv[0]).absolute().relative_to(Path.cwd()))
    console.say("\nThat was a server, a webhook and a listener. Your own, kept for good:\n")
    for line, why in _NEXT:
        console.say(f"  {line.replace('catalyst', command, 1):{30 + len(command)}}{f'# {why}' if why else ''}".rstrip())


_NEXT = (
    ("catalyst serve", "its first start prints an admin key"),
    ("export CATALYST_KEY=cat_...", "that key, in another terminal"),
    ("catalyst listen", "leave it open; and from a third terminal:"),
    ("catalyst publish ACME BUY --confidence 0.82 --stop 9.40", ""),
    ("catalyst ingest add tradingview", "a webhook, and what to paste where"),
    ("catalyst keys add ann", "a key for a friend"),
)


# --- The show ----------------------------------------------------------------------------------------------------


async def _play(server: Server, webhook: str) -> None:
    """Publish and post samples, for ever."""
    import httpx2

    async with connect(server.url, server.key) as catalyst, httpx2.AsyncClient(trust_env=False) as http:
        for number, sample in enumerate(samples(random.Random())):
            match sample:
                case Alert(text, content_type):
                    answer = await http.post(webhook, content=text, headers={"Content-Type": content_type})
                    answer.raise_for_status()
                case Update(id, changes):
                    await catalyst.update(id, changes)
                case Cancel(id, reason):
                    await catalyst.cancel(id, reason)
                case draft:
                    await catalyst.publish(draft)
            if number >= AT_ONCE:
                await asyncio.sleep(random.uniform(*PAUSE_S))


@dataclass(frozen=True, slots=True)
class Alert:
    """What TradingView posts."""

    text: str
    content_type: str = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Update:
    """Another version of a signal that was published before."""

    id: str
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The end of one."""

    id: str
    reason: str


Sample = dict[str, Any] | Alert | Update | Cancel


def samples(luck: random.Random) -> Iterator[Sample]:
    """What might come in on a good day: first each kind once, then for ever with other prices and symbols."""
    return chain(_script(luck), _more(luck))


def _script(luck: random.Random) -> Iterator[Sample]:
    for row in _SCRIPT:
        match row:
            case str():
                yield _alert(row, 1.0)
            case tuple():
                yield _draft(luck, row) | {"id": f"demo-{row[0].lower()}"}
            case life:
                yield life


def _more(luck: random.Random) -> Iterator[Sample]:
    """One in five is about what came before it: the newest that can still change is updated, then cancelled."""
    rows = [row for row in _SCRIPT if isinstance(row, tuple | str)]
    open: dict[str, dict[str, Any]] = {}
    for number in count(1):
        row, shift = luck.choice(rows), luck.uniform(0.85, 1.15)
        if open and luck.random() < 0.2:
            id, draft = open.popitem()
            yield Cancel(id, luck.choice(_REASONS)) if luck.random() < 0.4 else _tightened(id, draft)
        elif isinstance(row, tuple):
            draft = _draft(luck, row, shift) | {"id": f"demo-{number}"}
            if "stop" in draft and (row[4] or 0) > SURE_S:
                open[draft["id"]] = draft
            yield draft
        else:
            yield _alert(row, shift)


def _tightened(id: str, draft: dict[str, Any]) -> Update:
    """The stop moves half of the way to the entry."""
    return Update(id, {"stop": _price((float(draft["entry"]) + float(draft["stop"])) / 2)})


_SYMBOLS = ["ACME", "GLBX", "INTK", "HOOLI", "UMBR", "CYBR", "TYRL", "SOYL", "VNDL", "WEYU", "STRK", "OSCP"]
_REASONS = ("the company denies it", "trial halted", "filled elsewhere", "priced in by now")
_SCRIPT: list[tuple[Any, ...] | str | Update | Cancel] = [
    # symbol, action, confidence, price, seconds it holds, (catalyst, subtype or stage), source, note
    ("ACME", "BUY", 0.92, "10.10", 14_400, ("fda", "approval"), "edgar-8k", "approval two weeks before its date"),
    '{{"ticker":"BTCUSDT","exchange":"BINANCE","action":"buy","price":"{p0}","sl":"{p1}","tp":"{p2}","timenow":"{now}"}}',
    ("GLBX", "SELL", 0.78, "42.55", 5_400, ("offering", "priced"), "edgar-8k", "priced 12 % below the last close"),
    ("INTK", "WATCH", 0.55, "18.20", None, ("earnings", "guidance"), "news-bot", "guidance moved up, no surprise yet"),
    "INTK Crossing {p3}",
    ("UMBR", "AVOID", 0.64, "3.05", 86_400, ("dilution", "announced"), "edgar-s3", None),
    '{{"ticker":"CYBR","exchange":"NASDAQ","action":"sell","market_position":"flat","prev_market_position":"long",'
    '"price":"{p4}","comment":"TP hit","timenow":"{now}"}}',
    ("TYRL", "BUY", 0.71, "27.40", 12, ("contract", "award"), "news-bot", "holds for 12 seconds: watch it end"),
    Update("demo-acme", {"stop": "9.80", "confidence": 0.95, "note": "the label is broad: stop moved up"}),
    "Trend 4h (20, 2): order buy @ {n} filled on ETHUSDT. New strategy position is {n}",
    ("HOOLI", "CLOSE", None, "141.30", None, None, "desk", "half of the target in two days is enough"),
    ("WEYU", "BUY", 0.36, "0.84", 1_800, ("merger", "rumour"), "news-bot", "one source only"),
    ("SOYL", "REDUCE", 0.6, "66.10", None, None, "desk", None),
    Cancel("demo-weyu", "the company denies it"),
]
_PRICES = (63_120.5, 61_850.0, 66_400.0, 18.75, 88.2)


def _draft(luck: random.Random, row: tuple[Any, ...], shift: float | None = None) -> dict[str, Any]:
    """A signal with its plan around a price; with `shift` of another symbol at another price."""
    symbol, action, confidence, price, holds_s, catalyst, source, note = row
    if shift is not None:
        symbol, price = luck.choice(_SYMBOLS), _price(float(price) * shift)
        confidence = confidence and round(min(0.97, max(0.12, confidence * shift)), 2)
    draft: dict[str, Any] = {"symbol": symbol, "action": action, "reference_price": price, "source": source}
    if action in ("BUY", "SELL"):
        way = Decimal("1") if action == "BUY" else Decimal("-1")
        at = Decimal(price)
        draft["entry"] = price
        draft["stop"] = _price(float(at * (1 - way * Decimal("0.055"))))
        draft["targets"] = [_price(float(at * (1 + way * Decimal(step)))) for step in ("0.08", "0.14")]
    if confidence is not None:
        draft |= {"confidence": confidence, "confidence_kind": "score"}
    if catalyst is not None:
        kind, detail = catalyst
        draft["catalyst"] = {"type": kind, ("stage" if kind in ("offering", "dilution") else "subtype"): detail}
    if holds_s is not None:
        draft["expires_at"] = _iso(datetime.now(UTC) + timedelta(seconds=holds_s))
    return draft | ({"note": note} if note else {})


def _alert(text: str, shift: float) -> Alert:
    prices = {f"p{at}": _price(price * shift) for at, price in enumerate(_PRICES)}
    filled = text.format(now=_iso(datetime.now(UTC)), n=round(0.5 + abs(shift) * 2.5, 4), **prices)
    return Alert(filled) if filled.startswith("{") else Alert(filled, "text/plain; charset=utf-8")


def _price(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.2f}"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
