"""The limit that the kernel sets."""

from __future__ import annotations

from dataclasses import replace

from bench.peers.system import Publishing, Question, System
from bench.peers.traffic import Signal, Wish
from bench.peers.wires import http


class CLoop(System):
    """A bare C loop of send(): the limit that the kernel sets. It is told whom to send to."""

    name = "c-loop"
    joined: tuple[str, ...] = ()

    def command(self) -> list[str]:
        from bench.peers.run import tool

        return [str(tool("cloop")), str(self.port), *self.joined]

    def questions(self) -> list[Question]:
        return []  # It answers no ping.

    def hello(self, wish: Wish | None = None) -> str:
        if wish is None:
            return ""
        self.ready = "OK"
        return f"F {','.join(map(str, wish.symbols))} {wish.floor} {sum(1 << a for a in wish.actions)}"

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        plain = super().publishing(signals, per)
        if not tagged:
            return plain
        made = [http(f"/publish?s={s.symbol}&c={s.confidence}&a={s.action}", s.text) for s in signals]
        return replace(plain, requests=made)


class CLoopJoined(CLoop):
    """The same, with the frames of one request joined into one send() a connection."""

    name = "c-loop joined"
    joined = ("--join",)
