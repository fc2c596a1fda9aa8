"""Centrifugo's engine, the centrifuge library in the small server of bench/go."""

from __future__ import annotations

import json
from typing import Any

from bench.peers.system import TOOLS, Publishing, System
from bench.peers.traffic import ACTIONS, Signal, Wish
from bench.peers.wires import http

ENGINE = TOOLS / "bin/engine"


class Centrifuge(System):
    """Centrifugo's engine: JSON, memory broker with history, recovery, positioning; `tf` filters by tags."""

    name = "centrifuge"
    lacks = "keep (memory only), authenticate"
    needs = ENGINE
    environment = {"GOMAXPROCS": "1"}
    listen = ("path=/ws", "ping={}", "pong={}")
    ready = '"id":2,"subscribe"'
    history = 10_000
    epoch = ""

    def command(self) -> list[str]:
        return [str(ENGINE), str(self.port), str(self.history)]

    def hello(self, wish: Wish | None = None) -> str:
        subscribe: dict[str, object] = {"channel": "signals"}
        if wish is not None:
            subscribe["tf"] = {
                "op": "and",
                "nodes": [among("symbol", [f"S{s:03d}" for s in wish.symbols]), *rest(wish)],
            }
        return tabbed({"id": 1, "connect": {}}, {"id": 2, "subscribe": subscribe})

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        texts = [self.publication(s, tagged) for s in signals]
        bodies = ["\n".join(texts[i : i + per]) for i in range(0, len(texts), per)]
        return Publishing(self.port, [http("/publish", body) for body in bodies], len(bodies))

    def publication(self, s: Signal, tagged: bool) -> str:
        """One line of a request's body."""
        if not tagged:
            return f'{{"channel":"signals","data":{s.text}}}'
        tags = {"symbol": s.ticker, "action": ACTIONS[s.action], "confidence": f"{s.confidence / 100:.2f}"}
        return f'{{"channel":"{self.channel(s)}","data":{s.text},"tags":{json.dumps(tags)}}}'

    def channel(self, s: Signal) -> str:
        """Where it is published."""
        return "signals"


class CentrifugeBySymbol(Centrifuge):
    """The faster way to use it: a channel per symbol, five a client; only the rest is left to filters."""

    name = "centrifuge, channel per symbol"
    ready = '"id":6,"subscribe"'

    def hello(self, wish: Wish | None = None) -> str:
        assert wish is not None
        tf = {"op": "and", "nodes": rest(wish)}
        channels = [f"S{s:03d}" for s in wish.symbols]
        subscribes: list[object] = [{"id": i, "subscribe": {"channel": c, "tf": tf}} for i, c in enumerate(channels, 2)]
        return tabbed({"id": 1, "connect": {}}, *subscribes)

    def channel(self, s: Signal) -> str:
        return s.ticker


class CentrifugeLong(Centrifuge):
    """With a history that holds the whole of a load."""

    history = 200_000


def tabbed(*commands: object) -> str:
    """Commands as the load client sends them one after the other."""
    return "\t".join(json.dumps(command, separators=(",", ":")) for command in commands)


def among(tag: str, values: list[str]) -> dict[str, Any]:
    """A tag that is one of some."""
    return {"key": tag, "cmp": "in", "vals": values}


def rest(wish: Wish) -> list[dict[str, Any]]:
    """A wish without its symbols."""
    floor: dict[str, Any] = {"key": "confidence", "cmp": "gte", "val": f"{wish.floor / 100:.2f}"}
    return [floor, among("action", [ACTIONS[a] for a in wish.actions])]
