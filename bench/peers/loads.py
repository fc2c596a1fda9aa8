"""The loads by name, in the order they are run, in full and in quick size; three rounds fit in 40 minutes."""

from __future__ import annotations

from bench.peers.fan import Fan
from bench.peers.idle import Idle
from bench.peers.matching import Matching
from bench.peers.publishing import Publish
from bench.peers.replay import Replay
from bench.peers.resume import Resume
from bench.peers.slow import Slow

Load = Fan | Idle | Matching | Publish | Resume | Replay | Slow

EVERYBODY = ("c-loop", "catalyst", "centrifuge", "nats-server", "nats-server 2.9", "websockets.broadcast",
             "fastapi send_text", "fastapi send_json", "python-socketio")  # fmt: skip
JOINED = ("c-loop", "c-loop joined", *EVERYBODY[1:])
APART = tuple(s for s in EVERYBODY if s != "fastapi send_json")  # with nothing sent it is `send_text`
CHOOSING = ("c-loop", "catalyst", "centrifuge", "centrifuge, channel per symbol", "nats-server")

# Who cannot keep up gets fewer signals: what one costs is the same, only the queue is shorter.
STEADY = {"fastapi send_json": 0.2, "python-socketio": 0.1}
BURST = {"fastapi send_json": 0.5, "python-socketio": 0.5}
WIDE = {"python-socketio": 0.25}
SELECTIVE = {"centrifuge": 0.2}

FULL: dict[str, Load] = {
    "W1": Fan("selective: 10,000 connections, each its own filter, 200 signals/s", 10_000, 2400, 200, CHOOSING,
              alone=400, selective=True, share=SELECTIVE),
    "W1 matching": Matching("selective: finding the filters, in process"),
    "W2": Fan("steady: 500 subscribers, all match, 200 signals/s", 500, 2000, 200, EVERYBODY, alone=400, share=STEADY),
    "W3": Fan("burst: 200 signals at once to 500, once a second", 500, 400, 1, JOINED, per=200, alone=400, share=BURST),
    "W4": Fan("wide: 10,000 subscribers, all match, one signal at a time", 10_000, 4, 2, EVERYBODY, alone=3,
              asking=True, share=WIDE),
    "W5": Resume("resume storm: 1,000 come back at once, each 10,000 signals behind", 1000, 10_000,
                 others=100, others_s=6),
    "W5 filtered": Resume("resume storm, each with a filter of its own", 1000, 10_000, selective=True,
                          others=100, others_s=4),
    "W6": Replay("replay: 100,000 stored signals to one subscriber", 100_000),
    "W7": Idle("idle: 10,000 connections", 10_000, APART),
    "W8": Slow("slow: 100 of 500 readers stalled, 500 signals/s", 500, 100, 540, 500),
    "W9": Resume("herd: 10,000 come back at once, each 5 signals behind", 10_000, 5),
    "W10": Publish("publish: as fast as it takes them"),
}  # fmt: skip
QUICK: dict[str, Load] = {
    "W1": Fan("selective: 1,000 connections, each its own filter, 200 signals/s", 1000, 200, 200, CHOOSING,
              alone=200, selective=True),
    "W2": Fan("steady: 100 subscribers, all match, 200 signals/s", 100, 200, 200, EVERYBODY, alone=200),
    "W3": Fan("burst: 200 signals at once to 100, once", 100, 200, 1, JOINED, per=200, alone=200),
    "W4": Fan("wide: 1,000 subscribers, all match, two signals a second", 1000, 2, 2, EVERYBODY, alone=2, asking=True),
    "W5": Resume("resume storm: 100 come back at once, each 2,000 signals behind", 100, 2000, others=20, others_s=2.5),
    "W5 filtered": Resume("resume storm, each with a filter of its own", 100, 2000, selective=True),
    "W6": Replay("replay: 10,000 stored signals to one subscriber", 10_000),
    "W7": Idle("idle: 1,000 connections", 1000, APART),
    "W8": Slow("slow: 10 of 50 readers stalled, 500 signals/s", 50, 10, 3, 500),
    "W9": Resume("herd: 1,000 come back at once, each 5 signals behind", 1000, 5),
    "W10": Publish("publish: as fast as it takes them", 0.05),
}  # fmt: skip
