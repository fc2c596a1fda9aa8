"""Signed webhooks by the Standard Webhooks scheme: how a body is signed, how a signature is checked, how a key is kept.

Owns: the headers, the text that is signed, the tolerance. Knows nothing of HTTP servers, sources or targets.
Laws: a signature counts for `TOLERANCE_S` around its time, so a captured request is soon worth nothing; comparisons
take the same time whatever is wrong. A key that only the other side should have is kept sealed: whoever reads the log
without the secret of the address cannot sign, nor can who has the address without the log.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping

from catalyst_signals.errors import Unauthenticated

PREFIX = "whsec_"
TOLERANCE_S = 300  # As the scheme's own libraries have it.
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_KEY_BYTES = 32


def new_signing_secret() -> str:
    """A fresh secret, as it is shown once: `whsec_` and 32 random bytes in base64."""
    return PREFIX + b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def signature_of(secret: str, id: str, timestamp_s: int, body: bytes) -> str:
    """The value of `webhook-signature`: `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64."""
    key = b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, b"%s.%d.%s" % (id.encode(), timestamp_s, body), hashlib.sha256).digest()
    return "v1," + b64encode(digest).decode()


def signed_headers(secret: str, id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a signed request."""
    return {ID: id, TIMESTAMP: str(timestamp_s), SIGNATURE: signature_of(secret, id, timestamp_s, body)}


def check_signature(secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float) -> str:
    """The `webhook-id` of a request that was signed with `secret` within the tolerance.

    Raises:
        Unauthenticated: a header is missing, its time is off, or none of the signatures fits; says which.
    """
    for name in (ID, TIMESTAMP, SIGNATURE):
        if not headers.get(name):
            raise Unauthenticated(f"only signed webhooks are taken here; the header `{name}` is missing", field=name)
    sent = headers[TIMESTAMP]
    if not sent.isascii() or not sent.isdigit() or len(sent) > 12 or abs(now_s - int(sent)) > TOLERANCE_S:
        text = f"`{TIMESTAMP}` is more than {TOLERANCE_S} s off; it is the time of sending in seconds since 1970"
        raise Unauthenticated(text, field=TIMESTAMP, got=sent)
    right = signature_of(secret, headers[ID], int(sent), body)
    if not any(hmac.compare_digest(each.encode(), right.encode()) for each in headers[SIGNATURE].split()):
        raise Unauthenticated("the signature does not fit this body and this secret", field=SIGNATURE)
    return headers[ID]


def sealed(signing_secret: str, address_secret: str) -> str:
    """A signing secret as it is kept, in hex: readable only together with the secret of the address it is for."""
    key = b64decode(signing_secret.removeprefix(PREFIX))
    return bytes(a ^ b for a, b in zip(key, _pad(address_secret), strict=True)).hex()


def unsealed(kept: str, address_secret: str) -> str:
    """The signing secret that `sealed` kept.

    Raises:
        Unauthenticated: what was kept is not one.
    """
    try:
        key = bytes(a ^ b for a, b in zip(binascii.unhexlify(kept), _pad(address_secret), strict=True))
    except ValueError as fault:
        raise Unauthenticated("the signing secret of this address cannot be read; rotate it") from fault
    return PREFIX + b64encode(key).decode()


def _pad(address_secret: str) -> bytes:
    """As long as a key, and used for one key only: a new address secret comes with a new signing secret."""
    return hmac.new(address_secret.encode(), b"catalyst: signing secret of a webhook", hashlib.sha256).digest()
