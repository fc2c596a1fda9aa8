"""Every limit of what people may do here, in one place: by address, by key, by user, by webhook secret.

Owns: which there are and what each counts. How they count is in rates.py and addresses.py. Law: a publish is one
request or one message, however many signals it carries; how many those may be is publish.py's.
"""

from __future__ import annotations

import random

from catalyst_signals.auth import Principal
from catalyst_signals.caches import Cache
from catalyst_signals.errors import RateLimited
from catalyst_signals.server.addresses import Addresses
from catalyst_signals.server.rates import Rate
from catalyst_signals.server.settings import Settings

SAVES_PER_S, SAVES_AT_ONCE = 1, 200  # Of one user's filters: each is an event that `system` keeps for ever.
SPREAD_S = 1.0  # Of those who come back: a thousand that were refused at once must not come at once.


class Limits:
    """The limits of one process, shared with all who name the same `cache_url`."""

    def __init__(self, settings: Settings, cache: Cache, processes: int) -> None:
        shared = None if settings.cache_url.startswith("memory:") else cache

        def rate(what: str, setting: str, burst: float | None = None) -> Rate:
            return Rate(
                what, getattr(settings, setting), setting=setting, burst=burst, shared=shared, processes=processes
            )

        self.addresses = Addresses(settings.address_connections, settings.trusted_proxies)
        self.publishes = rate("publishes of a key", "key_publish_rate")
        self.connects = rate("new connections of a key", "key_connect_rate")
        self.subscribes = rate("subscribes of a user", "user_subscribe_rate")
        self.rows = rate("replayed events of a user", "user_replay_rate", 10 * settings.user_replay_rate)
        self.webhooks = rate("webhooks of a secret", "ingest_rate", settings.ingest_burst)
        self.targets = Rate("changes of a user's targets", SAVES_PER_S, burst=SAVES_AT_ONCE, shared=shared)
        self.saves = Rate("saved filters of a user", SAVES_PER_S, burst=SAVES_AT_ONCE, shared=shared)

    def unread(self, principal: Principal | None, count: int) -> None:
        """So many events were to be replayed and are not, because the subscription ended before."""
        if principal is not None:
            self.rows.give_back(principal.subject, count)

    def connect(self, key_id: str) -> None:
        """One more connection of a key.

        Raises:
            RateLimited: too many lately; each is told another time to come again.
        """
        try:
            self.connects.spend(key_id)
        except RateLimited as refusal:
            refusal.extra["retry_after_s"] = round(refusal.extra["retry_after_s"] + random.uniform(0, SPREAD_S), 3)
            raise
