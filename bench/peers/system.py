"""What a system under measurement is: a command, a subscriber's messages, a publisher's requests, and what it lacks.

An object is one run of one system, with a port and a folder of its own. What it does not do (keep, number, filter,
authenticate) is said in `lacks`, and stands in every table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.harness import free_port
from bench.peers.traffic import Signal, Wish
from bench.peers.wires import PING, PONG, http, upgrade

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".tools"


@dataclass(frozen=True)
class Publishing:
    """Requests, written out to the last byte but the time, and how to know that they were taken."""

    port: int
    requests: list[bytes]
    answers: int
    answer: str = "HTTP/1.1 200"
    refusal: str = "HTTP/1.1 4"
    before: bytes = b""


NOTHING = "keep, number, filter, authenticate"


@dataclass(frozen=True)
class Question:
    """Something that is asked on a connection of its own while deliveries go on, and how to know the answer."""

    name: str
    port: int
    before: bytes
    ask: bytes
    answer: bytes


class System:
    """What all have: `listen` are the load client's options for one who wants everything."""

    name = ""
    lacks = NOTHING
    environment: dict[str, str] = {}
    listen: Sequence[str] = ("path=/ws",)
    ready: str | None = None
    needs: Path | None = None
    opens_per_s = 8000  # About; for the estimate of how long a run will take.

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()

    def command(self) -> list[str]:
        """What starts it, without the core it is pinned to."""
        raise NotImplementedError

    def started(self) -> None:
        """It listens; what else it needs before it can be used."""

    def longest_turn_ms(self) -> float | None:
        """How long deliveries held its event loop at most since this was last asked, where it says so."""
        return None

    def store_reads(self) -> float | None:
        """How often it read its store so far, where it says so."""
        return None

    def questions(self) -> list[Question]:
        """What may be asked of it at any time: a ping of WebSocket itself, and what else it has."""
        path, headers = self.listen[0].removeprefix("path="), [o[7:] for o in self.listen if o.startswith("header=")]
        return [Question("ping", self.port, upgrade(path, *headers), PING, PONG)]

    def hello(self, wish: Wish | None = None) -> str:
        """The messages of a subscriber, with tabs between them."""
        return ""

    def understood(self, wishes: list[Wish]) -> list[Wish]:
        """The part of the wishes it can filter by; the client would have to drop the rest."""
        return wishes

    def publishing(self, signals: list[Signal], per: int = 1, *, tagged: bool = False) -> Publishing:
        """These signals in requests of `per`; `tagged` when subscribers choose."""
        bodies = ["\n".join(s.text for s in signals[i : i + per]) for i in range(0, len(signals), per)]
        return Publishing(self.port, [http("/publish", body) for body in bodies], len(bodies))
