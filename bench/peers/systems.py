"""All systems by name."""

from __future__ import annotations

import os

from bench.peers.catalyst import Catalyst
from bench.peers.centrifuge import Centrifuge, CentrifugeBySymbol
from bench.peers.cloop import CLoop, CLoopJoined
from bench.peers.nats import Nats, NatsOfDebian, NatsSynced
from bench.peers.pythons import Broadcast, FastapiJson, FastapiText, SocketIO
from bench.peers.system import System

GO = (Centrifuge, CentrifugeBySymbol, Nats, NatsOfDebian, NatsSynced)
PYTHONS = (Broadcast, FastapiText, FastapiJson, SocketIO)
ALL: dict[str, type[System]] = {kind.name: kind for kind in (Catalyst, CLoop, CLoopJoined, *GO, *PYTHONS)}


def missing(name: str) -> bool:
    """Whether what it needs could not be installed."""
    needs = ALL[name].needs
    return needs is not None and not os.access(needs, os.X_OK)
