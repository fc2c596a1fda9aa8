"""What a `postgresql:` URL says: where the primary is, where a replica, and how safe a commit must be.

Owns: the parameters. Knows nothing of connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

from catalyst_signals.errors import Misconfigured
from catalyst_signals.stores.postgres.schema import SCHEMA_VERSION
from catalyst_signals.urls import split, without_password

SESSION = f"catalyst/{SCHEMA_VERSION}"  # How a session's name begins: migrating.py reads which release it is of.
CONNECT_S = 5  # A host that does not answer by then is taken for away.
UNHEARD_MS = 5000  # What the other side's kernel has not taken by then ends the connection.

OURS = frozenset(("replica", "require_durability"))
LIBPQ = frozenset((
    "application_name", "dbname", "host", "load_balance_hosts", "passfile", "port", "service", "sslcert", "sslcrl",
    "sslkey", "sslmode", "sslrootcert", "target_session_attrs", "user",
))  # fmt: skip
LEVELS = ("disk", "disk+standby")


@dataclass(frozen=True, slots=True)
class Address:
    """`primary` and `replica` are what libpq takes; `shown` has no password; `required` is one of LEVELS."""

    primary: str
    replica: str | None
    required: str
    shown: str


def parse(url: str) -> Address:
    """The address in a `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?...`.

    `replica` is `HOST` or `HOST:PORT` of the same database and user, or a URL of its own (percent-encoded). Several
    hosts, divided by commas, are one server with standbys: whichever takes writes is the primary.

    Raises:
        Misconfigured: a parameter is unknown, or has a value that is not allowed.
    """
    parts, query = split(url, known=OURS | LIBPQ)
    required = query.pop("require_durability", "disk").replace(" ", "+")  # In a query a plus is a space.
    if required not in LEVELS:
        raise Misconfigured(
            f"`require_durability` is {' or '.join(LEVELS)}", field="require_durability", got=required, allowed=LEVELS
        )
    replica = query.pop("replica", None)
    if "," in parts.netloc or "," in query.get("host", ""):
        query.setdefault("target_session_attrs", "read-write")
    bare = url.partition("?")[0]  # As it was written: `postgresql:///database` is one without a host.
    shown = without_password(bare)
    primary = _conninfo(bare, shown, **query)
    return Address(primary, _replica(replica, primary, shown), required, shown)


def _replica(text: str | None, primary: str, shown: str) -> str | None:
    if text is None:
        return None
    if "://" in text:
        return _conninfo(text, without_password(text), target_session_attrs="any")
    parts = urlsplit(f"//{text}")
    return _conninfo(primary, shown, host=parts.hostname, port=parts.port, target_session_attrs="any")


def _conninfo(base: str, shown: str, **more: str | int | None) -> str:
    try:
        named = {name: value for name, value in more.items() if value is not None}
        named["application_name"] = f"{SESSION} {named.get('application_name', '')}".rstrip()
        return make_conninfo(base, connect_timeout=CONNECT_S, tcp_user_timeout=UNHEARD_MS, **named)
    except (ProgrammingError, ValueError) as error:
        raise Misconfigured(f"that is no PostgreSQL URL: {error}", field="store_url", got=shown) from error
