"""API keys: `cat_<env>_<id>_<secret><checksum>`, letters, digits and `_`.

Owns: how a key is made, told from a typing mistake, and looked up. The secret is 190 random bits, so a plain SHA-256
keeps it; the checksum is the CRC-32 of everything before it, so that a leaked key can be recognised without asking us.
Law: a key is shown once; what is stored cannot be turned back into it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from collections.abc import Mapping

from catalyst_signals.auth import Principal
from catalyst_signals.errors import Unauthenticated
from catalyst_signals.events import now_us, parse_iso
from catalyst_signals.filters import parse
from catalyst_signals.projections import Key

_LETTERS = string.digits + string.ascii_letters
_ID_CHARS, _SECRET_CHARS, _SUM_CHARS = 10, 32, 6


def new_key(env: str) -> tuple[str, str, str]:
    """A fresh key: its id, the whole key to show once, and the hash of its secret to keep."""
    id = _random(_ID_CHARS)
    secret = _random(_SECRET_CHARS)
    head = f"cat_{env}_{id}_{secret}"
    return id, head + _checksum(head), hash_secret(secret)


def new_secret() -> tuple[str, str]:
    """A secret for a path, and the hash of it to keep."""
    secret = _random(_SECRET_CHARS)
    return secret, hash_secret(secret)


def hash_secret(secret: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def take_apart(credential: str) -> tuple[str, str] | None:
    """The id and the secret of a key, or None when it is not one of ours or was mistyped."""
    parts = credential.split("_")
    if len(parts) != 4 or parts[0] != "cat" or len(parts[3]) != _SECRET_CHARS + _SUM_CHARS:
        return None
    if _checksum(credential[:-_SUM_CHARS]) != credential[-_SUM_CHARS:]:
        return None
    return parts[2], parts[3][:_SECRET_CHARS]


class ApiKeys:
    """The authenticator for keys that stand in the `system` channel."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = keys

    def authenticate(self, credential: str) -> Principal | None:
        """The principal of a `cat_...` key, None for any other credential.

        Raises:
            Unauthenticated: mistyped, unknown, revoked or expired; says which only as far as it helps its owner.
        """
        if not credential.startswith("cat_"):
            return None
        taken = take_apart(credential)
        if taken is None:
            raise Unauthenticated("this is not a whole API key: copy it again, from `cat_` to its end")
        id, secret = taken
        key = self._keys.get(id)
        if key is None or not hmac.compare_digest(hash_secret(secret), key.secret_hash):
            raise Unauthenticated("this API key is unknown or was revoked; ask an admin for a new one")
        if key.expired(now_us()):
            raise Unauthenticated(f"this API key expired at {key.expires_at}; ask an admin for a new one")
        return principal_of(key)


def principal_of(key: Key) -> Principal:
    """Who a key speaks for, with the rights it has now."""
    return Principal(
        subject=key.user,
        key_id=key.id,
        scopes=frozenset(key.scopes),
        channels=key.channels,
        filter=parse(key.filter) if key.filter else None,
        expires_at_us=parse_iso(key.expires_at) if key.expires_at else None,
    )


def _random(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def _checksum(head: str) -> str:
    number = zlib.crc32(head.encode())
    digits = ""
    for _ in range(_SUM_CHARS):
        number, digit = divmod(number, len(_LETTERS))
        digits += _LETTERS[digit]
    return digits
