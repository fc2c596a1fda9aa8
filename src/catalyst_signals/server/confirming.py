"""What was read with a doubt waits until somebody has looked at it: the question, and the word that answers it.

Owns: that word. Knows nothing of what is in doubt. Law: nothing is remembered. The word is the minute of the first
posting and a hash of source, body and drafts: it fits one reading of one body, it says under which ids the signals are
stored, and a confirmation that is sent twice publishes once.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from catalyst_signals.errors import InvalidRequest
from catalyst_signals.events import hash_of_draft
from catalyst_signals.ingest import Reading

VALID_MINUTES = 24 * 60
_MINUTE_US = 60_000_000


def read_at(word: str | None, now_us: int) -> int:
    """When a body was first posted, in microseconds: now, unless its confirmation says an earlier minute.

    Raises:
        InvalidRequest: it is no confirmation, or older than a day.
    """
    if word is None:
        return now_us
    minute = word.partition("-")[0]
    if not (minute.isascii() and minute.isdigit() and len(minute) < 12):
        text = "`confirm` is not what this server gave; post without it and see"
        raise InvalidRequest(text, field="confirm", got=word[:80])
    if not now_us // _MINUTE_US - VALID_MINUTES <= int(minute) <= now_us // _MINUTE_US:
        raise InvalidRequest("`confirm` is older than a day; post without it and see", field="confirm", got=word[:80])
    return int(minute) * _MINUTE_US


def is_confirmed(word: str | None, reading: Reading, *, source_id: str, raw: bytes) -> bool:
    """Whether the signals of a reading may be published: nothing is in doubt, or somebody confirmed just these.

    Raises:
        InvalidRequest: the confirmation is for another body, or the body is now read in another way.
    """
    if not reading.doubts or word is None:
        return not reading.doubts
    if word != _word(word.partition("-")[0], reading, source_id, raw):
        text = "`confirm` is for another body, or for another reading of it; post without it and see"
        raise InvalidRequest(text, field="confirm", got=word[:80])
    return True


def question(reading: Reading, *, source_id: str, raw: bytes, now_us: int) -> dict[str, Any]:
    """What to ask the sender, beside the drafts."""
    word = _word(str(now_us // _MINUTE_US), reading, source_id, raw)
    says = "nothing is published yet: look at drafts and doubts, then post the same body again with"
    return {"message": f"{says} ?confirm={word} within 24 hours", "confirm": word}


def _word(minute: str, reading: Reading, source_id: str, raw: bytes) -> str:
    drafts = [{name: value for name, value in draft.items() if name != "id"} for draft in reading.drafts]
    said = b"\0".join((minute.encode(), source_id.encode(), raw.strip(), *map(hash_of_draft, drafts)))
    return f"{minute}-{sha256(said).hexdigest()[:24]}"
