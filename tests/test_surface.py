"""What people import, frozen: a name may be added, with its line in CHANGELOG.md; none is renamed or taken away.

Covers `catalyst_signals` and, from outside, `catalyst_signals.__main__`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import catalyst_signals
from catalyst_signals.client import Catalyst, connect
from catalyst_signals.errors import CatalystError, every_error
from catalyst_signals.filters import parse

ROOT = Path(__file__).parent.parent

SURFACE = """
Catalyst CatalystError CaughtUp Draft Event Extent Filter Gap Position Receipt Signal State Stats Stream
__version__ connect errors parse_filter to_records
"""
ERRORS = """
request_invalid json_invalid draft_invalid filter_invalid name_invalid unsupported too_large unauthenticated forbidden
not_found unknown_channel conflict id_conflict id_taken position_lost epoch_changed position_ahead position_too_old
range_untrusted overloaded rate_limited too_slow draining unavailable store_unavailable store_full history_rewritten
"""


def test_the_public_names_are_these() -> None:
    """People's bots outlive our refactorings."""
    assert sorted(catalyst_signals.__all__) == SURFACE.split()
    assert dir(catalyst_signals) == SURFACE.split()


def test_each_public_name_is_there_and_is_the_real_one() -> None:
    """They are fetched when asked for; a typing mistake in the table would show only then."""
    for name in catalyst_signals.__all__:
        assert getattr(catalyst_signals, name) is not None
    assert catalyst_signals.connect is connect
    assert catalyst_signals.Catalyst is Catalyst
    assert catalyst_signals.parse_filter is parse
    assert catalyst_signals.CatalystError is catalyst_signals.errors.CatalystError is CatalystError
    assert not hasattr(catalyst_signals, "nonsense")


def test_the_version_is_the_one_in_pyproject() -> None:
    """It is static: an exported tree without git has one too."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert catalyst_signals.__version__ == tomllib.load(file)["project"]["version"]


def test_wire_names_of_errors_are_unique_and_frozen() -> None:
    """Clients match these names, never texts."""
    names = [error.name for error in every_error()]
    assert len(names) == len(set(names))
    assert set(names) >= set(ERRORS.split())


def test_what_may_be_tried_again_closes_with_a_code_that_reconnects() -> None:
    """docs/protocol.md: 1001 1006 1011 1012 and 4000-4499 reconnect. A client may go by the code alone."""
    for error in every_error():
        reconnects = error.close_code in (1001, 1006, 1011, 1012) or 4000 <= error.close_code <= 4499
        assert reconnects or not error.retry, error.name
