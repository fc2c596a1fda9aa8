"""What has to be said of a draft beside what its sender said: the `note`.

Owns: how several remarks become one. Knows nothing of what they say. Law: none of them is lost to another.
"""

from __future__ import annotations

from typing import Any

from catalyst_signals.kinds import TEXT_CHARS_MAX


def add_note(draft: dict[str, Any], *notes: str) -> None:
    """The remarks stand in the draft's note, before what is said there already."""
    said = [*notes, *([draft["note"]] if draft.get("note") else [])]
    if said:
        draft["note"] = "; ".join(said)[:TEXT_CHARS_MAX]
