"""The Broker port: a hint to other processes that the log grew. Back-ends live beside this file.

Law: a hint may be lost, repeated or reordered; nobody may rely on one. What is lost is found in the store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from catalyst_signals.events import Frame

BROKERS = {
    "memory": "catalyst_signals.brokers.memory:MemoryBroker",
    "unix": "catalyst_signals.brokers.unix:UnixBroker",
    "redis+pubsub": "catalyst_signals.brokers.redis_pubsub:RedisPubSubBroker",
    "rediss+pubsub": "catalyst_signals.brokers.redis_pubsub:RedisPubSubBroker",
    "redis+pubsub+sentinel": "catalyst_signals.brokers.redis_pubsub:RedisPubSubBroker",
}
"""Scheme of `broker_url` -> back-end."""


class Broker(Protocol):
    """A way to reach the other processes. Every back-end is an async context manager."""

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Offer frames (channel, epoch, seq, prev8, hash8, bytes) to every other process; any may be lost.

        Raises:
            Unavailable: nobody was told; the others find it by their poll.
        """

    def listen(self) -> AsyncGenerator[Frame]:
        """Frames offered by anyone, our own too if the broker says them back, for ever; ends only with the broker."""
