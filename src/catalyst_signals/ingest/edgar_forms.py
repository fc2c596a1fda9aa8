"""What a filing with the SEC is about, by its form and the items of an 8-K, and one filing as an item.

Owns: those two tables and an item's shape. Knows nothing of feeds or texts. Law: what it is about is said by form and
items alone; what it means is for who reads it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

ITEMS_8K: dict[str, tuple[str, str, str]] = {
    "1.03": ("distress", "bankruptcy", "bankruptcy or receivership"),
    "4.02": ("distress", "restatement", "earlier statements can no longer be relied on"),
    "2.04": ("distress", "acceleration", "an obligation falls due early"),
    "2.06": ("distress", "impairment", "a material impairment"),
    "3.01": ("compliance", "deficiency", "a notice of delisting"),
    "2.01": ("ma", "completed", "an acquisition or disposal is completed"),
    "5.01": ("ma", "change_of_control", "a change of control"),
    "3.02": ("offering", "unregistered_sale", "an unregistered sale of shares"),
    "2.02": ("earnings", "results", "results of operations"),
    "1.01": ("contract", "agreement", "a material agreement"),
    "1.02": ("contract", "terminated", "a material agreement ended"),
    "1.05": ("other", "cybersecurity", "a cybersecurity incident"),
    "5.02": ("management", "officers", "directors or officers change"),
    "2.03": ("other", "debt", "a direct financial obligation"),
    "2.05": ("other", "exit_costs", "costs of an exit or disposal"),
    "1.04": ("mining", "safety", "mine safety"),
    "3.03": ("other", "holders_rights", "rights of holders change"),
    "4.01": ("other", "auditor", "another auditor"),
    "5.03": ("other", "bylaws", "articles, bylaws or fiscal year change"),
    "5.05": ("other", "ethics_code", "the code of ethics changes"),
    "5.07": ("other", "shareholder_vote", "a vote of the shareholders"),
    "7.01": ("other", "disclosure", "a disclosure under Regulation FD"),
    "8.01": ("other", "event", "other events"),
}
"""Item -> type, subtype and words; of several, the first here is what a filing is about. 9.01 are only exhibits."""


HEADS_8K = {
    "1.01": "entry into a material", "1.02": "termination of a material", "1.03": "bankruptcy or receivership",
    "1.04": "mine safety", "1.05": "material cybersecurity", "2.01": "completion of acquisition",
    "2.02": "results of operations", "2.03": "creation of a direct", "2.04": "triggering events",
    "2.05": "costs associated", "2.06": "material impairment", "3.01": "notice of delisting",
    "3.02": "unregistered sale", "3.03": "material modification", "4.01": "changes in registrant",
    "4.02": "non-reliance", "5.01": "changes in control", "5.02": "departure of directors",
    "5.03": "amendments to articles", "5.04": "temporary suspension", "5.05": "amendments to the registrant",
    "5.06": "change in shell", "5.07": "submission of matters", "5.08": "shareholder director nominations",
    "7.01": "regulation fd", "8.01": "other events", "9.01": "financial statements",
}  # fmt: skip
"""Item -> how the SEC's own heading of it begins; by it a heading is told from a mention of another filing's item."""

FORMS: tuple[tuple[str, str, str], ...] = (
    (r"[345](?:/A)?", "insider", "form{}"), (r"(?:SC|SCHEDULE) 13D(?:/A)?", "activist", "13d"),
    (r"(?:SC|SCHEDULE) 13G(?:/A)?", "other", "13g"), (r"424B\d", "offering", "prospectus"),
    (r"144(?:/A)?", "insider", "form144"), (r"D(?:/A)?", "offering", "exempt"),
    (r"(?:S|F)-[13](?:MEF|ASR)?(?:/A)?", "offering", "registration"), (r"(?:SC TO|SC 14D9).*", "ma", "tender_offer"),
    (r"(?:DEFM|PREM)14A", "ma", "proxy"), (r"S-4(?:/A)?|425", "ma", "merger"),
    (r"25(?:-NSE)?", "compliance", "delisting"), (r"NT 10-[KQ](?:/A)?", "compliance", "late_filing"),
    (r"10-[KQ](?:T)?(?:/A)?|20-F(?:/A)?", "other", "periodic_report"),
)  # fmt: skip


class Filer(NamedTuple):
    """Somebody whom a filing is of; `role` as EDGAR says it (`Filer`, `Issuer`, `Reporting`, `Subject`), or empty."""

    cik: str
    name: str
    role: str = ""


def filing(
    *, accession: str, form: str, filers: list[Filer], numbers: list[str], url: str = "", published: str = "",
    filed: str = "", excerpt: str = "", symbols: list[str] | None = None, key: str = "",
) -> dict[str, Any]:  # fmt: skip
    """One filing as an item, under its accession number, or under `key` where it is told without one."""
    form = form.strip().upper()[:32]
    numbers = list(dict.fromkeys(numbers)) if form.startswith("8-K") else []
    about, words = about_of(form, numbers)
    first = named_by(filers)
    title = f"{form} {first.name or 'unnamed filer'}" + (f": {words}" if words else "")
    source = {
        "name": "SEC EDGAR", "kind": "filing", "url": url, "external_id": accession, "published_at": published,
        "title": title, "excerpt": excerpt,
    }  # fmt: skip
    what: dict[str, Any] = {"form": form, "accession": accession, "items": numbers, "filed": filed}
    what["filers"] = [{part: value for part, value in filer._asdict().items() if value} for filer in filers]
    item: dict[str, Any] = {
        "id": accession or key,
        "title": title, "source": {part: value for part, value in source.items() if value}, "catalyst": about,
        "filing": {part: value for part, value in what.items() if value},
    }  # fmt: skip
    if first.cik:
        item["cik"] = first.cik
    return item | ({"instrument": {"symbol": symbols[0]}} if symbols and len(symbols) == 1 else {})


def named_by(filers: list[Filer]) -> Filer:
    """Who a filing is about: the issuer, not the owner who reports."""
    order = {"Issuer": 0, "Subject": 0, "": 1, "Filer": 1}
    return min(filers, key=lambda filer: order.get(filer.role, 2), default=Filer("", ""))


def about_of(form: str, numbers: list[str]) -> tuple[dict[str, str], str]:
    """What a filing is about, by its form and the items of an 8-K, and the same in words."""
    for number, (type, subtype, words) in ITEMS_8K.items():
        if number in numbers:
            return {"type": type, "subtype": subtype}, words
    for pattern, type, subtype in FORMS:
        if re.fullmatch(pattern, form):
            return {"type": type, "subtype": subtype.format(form.removesuffix("/A").lower())}, ""
    return {"type": "other"}, ""
