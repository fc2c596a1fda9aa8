"""Who is asking: the Principal, and the Authenticator port.

Law: rights are those of the moment of use; a principal is looked up again, never trusted from before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from catalyst_signals.errors import Forbidden
from catalyst_signals.filters import Filter

SCOPES = ("publish", "subscribe", "admin")
ADMIN_CHANNELS = ("system", "ingest")  # The server's own state and the senders' raw bodies: for admins only.
SERVER_CHANNELS = (*ADMIN_CHANNELS, "acks")  # Written by the server alone.


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, and what they may: scopes, channels (`*` for all), an entitlement filter, an expiry."""

    subject: str
    key_id: str
    scopes: frozenset[str]
    channels: tuple[str, ...]
    filter: Filter | None = None
    expires_at_us: int | None = None

    def require(self, scope: str) -> None:
        """Pass, or raise Forbidden naming the scope that is missing."""
        if scope not in self.scopes:
            raise Forbidden(
                f"this key lacks the scope `{scope}`; an admin makes one that has it",
                field="scopes", got=sorted(self.scopes), allowed=scope,
            )  # fmt: skip

    def may_use(self, channel: str) -> bool:
        """Whether this key reaches a channel at all."""
        if channel in ADMIN_CHANNELS and "admin" not in self.scopes:
            return False
        if channel == "acks" and self.filter is not None:
            return channel in self.channels  # Deeds name signals that the filter may hide: not by `*` alone.
        return "*" in self.channels or channel in self.channels

    def is_over(self, at_us: int) -> bool:
        """Whether the key has expired by then."""
        return self.expires_at_us is not None and self.expires_at_us <= at_us


class Authenticator(Protocol):
    """Turns a credential into a principal."""

    def authenticate(self, credential: str) -> Principal | None:
        """The principal, or None: not my kind of credential, ask the next. Raises Unauthenticated: mine, and bad."""
