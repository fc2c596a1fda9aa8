"""API keys: told from a typing mistake, kept hashed, looked up with the rights of the moment."""

from __future__ import annotations

import re

import pytest

from catalyst_signals.auth import Principal
from catalyst_signals.auth.api_keys import ApiKeys, hash_secret, new_key, new_secret, take_apart
from catalyst_signals.errors import Forbidden, Unauthenticated
from catalyst_signals.events import iso, now_us
from catalyst_signals.projections import Key


def made(**more: object) -> tuple[ApiKeys, str, Key]:
    """One key, as the server keeps it."""
    id, key, secret_hash = new_key("live")
    fields = {"user": "eve", "scopes": ("subscribe",), "channels": ("main",), "created_at": iso(now_us())} | more
    kept = Key(id=id, secret_hash=secret_hash, **fields)  # type: ignore[arg-type]
    return ApiKeys({id: kept}), key, kept


def test_a_key_has_its_form_and_its_secret_is_not_in_what_is_kept() -> None:
    """A stolen database opens nothing."""
    keys, key, kept = made()
    assert re.fullmatch(r"cat_live_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}", key)
    id, secret = take_apart(key) or ("", "")
    assert id == kept.id and secret not in repr(kept) and hash_secret(secret) == kept.secret_hash
    principal = keys.authenticate(key)
    assert principal is not None and principal.subject == "eve" and principal.key_id == id


def test_every_single_changed_character_is_found_by_the_checksum() -> None:
    """A mistyped key is told as such, without asking any store."""
    _, key, _ = made()
    for i in range(len("cat_live_"), len(key)):
        if key[i] != "_":
            assert take_apart(key[:i] + ("x" if key[i] != "x" else "y") + key[i + 1 :]) is None


def test_a_wrong_secret_and_an_unknown_id_are_told_the_same() -> None:
    """Nobody learns which ids there are."""
    keys, _, _ = made()
    _, other, _ = made()
    with pytest.raises(Unauthenticated, match="unknown or was revoked"):
        keys.authenticate(other)
    assert keys.authenticate("eyJhbGciOi.some.jwt") is None


def test_an_expired_key_says_when_it_expired() -> None:
    """Its owner knows that nothing is broken."""
    keys, key, _ = made(expires_at="2026-01-01T00:00:00.000000Z")
    with pytest.raises(Unauthenticated, match="expired at 2026-01-01"):
        keys.authenticate(key)


def test_only_admins_reach_the_servers_own_channels() -> None:
    """`*` is every channel of the users', not the key table."""
    reader = Principal(subject="eve", key_id="k", scopes=frozenset(("subscribe",)), channels=("*",))
    admin = Principal(subject="adam", key_id="k", scopes=frozenset(("subscribe", "admin")), channels=("*",))
    assert reader.may_use("main") and not reader.may_use("system") and not reader.may_use("ingest")
    assert admin.may_use("system") and admin.may_use("ingest")
    with pytest.raises(Forbidden, match="publish"):
        reader.require("publish")


def test_path_secrets_are_never_the_same() -> None:
    """A path secret is as good as a key."""
    assert len({new_secret()[0] for _ in range(100)}) == 100
