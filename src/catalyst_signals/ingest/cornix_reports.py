"""Messages of a signal channel that are no new signals: what became of one, and what to do with one that is open.

Owns: how people report and advise. Knows nothing of prices and pairs.
Law: a report is never a signal, whatever stands in it; advice ("move SL to entry after TP1") may stand beside a plan.
"""

from __future__ import annotations

import re

_CONDITION = re.compile(r"\b(?:after|once|when|if|upon|until|as soon as)\b[^.\n]{0,120}", re.IGNORECASE)
_LEVEL = r"(?:take[ -]?profit(?: targets?)?|targets?|tps?|entry(?: targets?)?|entries) ?#?[0-9]{0,2}"
_STOP = r"(?:sl|stop(?:[ -]?loss)?)"
_DONE = "hit|reached|achieved|done|smashed|completed|filled|booked|triggered"
_HOPED = "".join(
    f"(?<!{word} )" for word in ("potential", "expected", "est", "est.", "take", "possible", "max", "estimated")
)

_REPORTS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{_LEVEL} ?(?:(?:was|is|has been|have been|got) )?(?:{_DONE})\b",
        rf"\b{_LEVEL} ?[✅☑✔](?![^\n]{{0,80}}[0-9])",
        rf"\ball (?:entry |take[ -]?profit )?targets?\b[^\n]{{0,20}}\b(?:{_DONE})\b",
        r"\bentered entry zone|\baverage entry price|\bclosed\b|\bcancell?ed\b|\bstopped out",
        rf"\b{_STOP} ?(?:was |is |got )?(?:(?:{_DONE})\b|[⛔❌](?![^\n]{{0,80}}[0-9]))",
        rf"\b{_LEVEL} ?[:=-]? ?[0-9][0-9.,]{{0,20}} ?[✅☑✔]",
    )
]
_BESIDE_NO_PLAN = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_HOPED}\b(?:profit|loss) ?[:=] ?[+-]?[0-9][0-9.,]{{0,20}} ?%",
        r"\bperiod ?:|\brunning ?[+-]?[0-9]|\+[0-9][0-9.]{0,20} ?(?:pips|%)",
        rf"\b(?:move|moved|moving|set|shift|change|adjust|updated?|raise|lower|trail)\b[^\n]{{0,20}}?\b{_STOP}\b",
        rf"\b{_STOP}\b[^\n0-9]{{0,12}}\b(?:be|b/e|break[ -]?even|to entry)\b",
        r"\b(?:take|secure|book) (?:some |partial |your )?(?:partials?|profits?)\b(?! ?(?:targets?\b|[0-9:=(]))",
        r"\bclose (?:half|partial|part|the|this|your|now|at|all)\b",
    )
]


def is_no_signal(text: str, *, has_plan: bool) -> bool:
    """Whether a message reports on an earlier signal, or advises and has no plan of its own."""
    said = _CONDITION.sub("", text)
    if any(pattern.search(said) for pattern in _REPORTS):
        return True
    return not has_plan and any(pattern.search(said) for pattern in _BESIDE_NO_PLAN)
