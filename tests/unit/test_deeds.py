"""What a deed may say. The rest, from outside: tests/server/test_deeds.py.

That covers `catalyst_signals.server.deeds`, `catalyst_signals.server.deliveries` and `catalyst_signals.cli.deliveries`;
those of publishing cover `catalyst_signals.server.publishing`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_signals.deeds import check_deed, deed_draft, deeds_of
from catalyst_signals.errors import InvalidDraft, InvalidRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(("what", "reason", "fills", "outcome", "id", "qty", "price", "fee", "liquidity"))


@given(JSON | st.dictionaries(FIELDS, JSON | st.sampled_from(("executed", "shown")), max_size=6))
def test_whatever_comes_is_a_deed_or_is_refused_by_name(sent: Any) -> None:
    """Never anything but InvalidRequest; and what is taken is its own normal form."""
    try:
        deed = check_deed(sent)
    except InvalidRequest as refused:
        assert refused.field is not None and refused.message
    else:
        assert check_deed(deed) == deed


@pytest.mark.parametrize(
    ("fee", "kept"),
    [("0", "0"), (0, "0"), ("-0.00", "0"), (Decimal("-0.02"), "-0.02"), ("1e-2", "0.01"), (3, "3"), ("-7", "-7")],
)
def test_a_fee_may_be_nothing_or_a_rebate(fee: Any, kept: str) -> None:
    """All else that is counted is more than nothing."""
    deed = check_deed({"what": "executed", "fills": [{"qty": 1, "price": "2", "fee": fee}]})
    assert deed["fills"][0]["fee"] == kept
    for name in ("qty", "price"):
        with pytest.raises(InvalidDraft) as refused:
            check_deed(
                {"what": "executed", "fills": [{"qty": 1, "price": "2", name: fee if fee in (0, "0") else "-1"}]}
            )
        assert refused.value.field == f"fills[0].{name}"


def test_the_deeds_of_a_signal_are_found_by_what_their_ids_begin_with() -> None:
    """One signal's are no other's, whatever its id holds, and one user's are no other's."""
    signals = [("main", "a"), ("main", "a/b"), ("main", "ab"), ("crypto", "a")]
    marks = [deeds_of(*signal) for signal in signals]
    assert len(set(marks)) == len(marks)
    of_ann, of_bob = (deeds_of("main", "a", who) for who in ("ann", "bob"))
    assert of_ann.startswith(marks[0]) and of_bob.startswith(marks[0]) and of_ann != of_bob
    about = {"channel": "main", "id": "a", "seq": 7, "version": 1}
    draft = deed_draft({"what": "shown"}, id="d-1", who="ann", signal=about)
    later = deed_draft({"what": "shown"}, id="d-1", who="ann", signal=about | {"seq": 9, "version": 2})
    assert draft.id.startswith(of_ann) and draft.id == later.id and draft.draft_hash == later.draft_hash
