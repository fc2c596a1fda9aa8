"""From which address somebody comes, and how many connections are open from there.

Owns: whom to believe about an address. Laws: the address is the one the kernel says, unless that is a proxy the
operator named; then it is the rightmost in `X-Forwarded-For` that is not such a proxy, since what stands left of that
anybody can write. Of IPv6 the first 64 bits count: whoever has one address there has all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from catalyst_signals.errors import Forbidden, RateLimited

AGAIN_S = 5.0  # For somebody else's connection to end.

Address = IPv4Address | IPv6Address


class Addresses:
    """Connections that are open, by address; a `limit` of 0 is none."""

    def __init__(self, limit: int, trusted: Iterable[str]) -> None:
        self._limit = limit
        self._trusted = [ip_network(each, strict=False) for each in trusted]
        self._open: dict[str, int] = {}

    def of(self, scope: Any) -> str:
        """The address a request comes from, as it is counted; "" over a Unix socket."""
        return _grouped(self.exactly(scope))

    def exactly(self, scope: Any) -> str:
        """The whole address a request comes from; "" over a Unix socket."""
        client = scope.get("client")
        if not client:
            return ""
        if not self._trusted:
            return str(client[0])
        said = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        return self._believed(client[0], [each.strip() for each in said.split(",")])

    def check_among(self, scope: Any, allowed: Iterable[str]) -> None:
        """Pass a request that comes from one of these networks.

        Raises:
            Forbidden: it does not; names its address.
        """
        text = self.exactly(scope)
        address = _read(text)
        if address is None or not any(address in ip_network(each, strict=False) for each in allowed):
            raise Forbidden(
                f"nothing may be posted here from {text or 'a Unix socket'}", field="address", got=text,
                sender_error="invalid-ip-address",
            )  # fmt: skip

    def _believed(self, peer: str, said: Sequence[str]) -> str:
        """From the right, as far as each was said by somebody we trust."""
        address = peer
        for before in (*reversed(said), ""):
            if not self._trusts(address) or _read(before) is None:
                break
            address = before
        return address

    def _trusts(self, text: str) -> bool:
        address = _read(text)
        return address is not None and any(address in network for network in self._trusted)

    def check(self, address: str) -> None:
        """Pass, or refuse one more from there.

        Raises:
            RateLimited: as many as may be are open.
        """
        if self._limit and self._open.get(address, 0) >= self._limit:
            raise RateLimited(
                f"{self._limit} connections from your address are open; close one, or ask the operator for more",
                field="address_connections", allowed=self._limit, retry_after_s=AGAIN_S,
            )  # fmt: skip

    def come(self, address: str) -> None:
        """One more is open."""
        if address:
            self._open[address] = self._open.get(address, 0) + 1

    def leave(self, address: str) -> None:
        """One fewer."""
        count = self._open.pop(address, 0) - 1
        if count > 0:
            self._open[address] = count


def _read(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _grouped(text: str) -> str:
    if ":" not in text:
        return text
    address = _read(text)
    return str(IPv6Network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address or text)
