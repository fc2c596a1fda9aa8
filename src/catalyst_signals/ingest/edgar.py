"""The SEC's EDGAR: its feeds of filings (all current ones, or of one company) and the text of a submission.

Owns: where a feed says which filing an entry is. Forms are in edgar_forms.py, texts in edgar_text.py. Law: one filing
is one item, under its accession number, however often a feed lists it: a Form 4 stands there for the issuer and for
each owner.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading
from catalyst_signals.ingest.edgar_forms import Filer, filing, named_by
from catalyst_signals.ingest.edgar_text import FILERS_MAX, filing_in
from catalyst_signals.ingest.entries import entries_of, link_of
from catalyst_signals.ingest.markup import decoded, moment_of, parsed, text_under, under
from catalyst_signals.stories import accession_in

_TITLE = re.compile(
    r"(?P<form>\S[^()]{0,30}?)\s{1,4}-\s{1,4}(?P<name>.{1,200}?)\s{0,4}\((?P<cik>\d{10})\)"
    r"\s{0,4}(?:\((?P<role>[\w ]{1,30})\))?"
)
_ITEM = re.compile(r"(?<![\d.])([1-9]\.0\d)(?!\d)")
_ITEM_HEAD = re.compile(r"\bitem\s{1,4}([1-9]\.0\d)(?!\d)", re.IGNORECASE)
_FILED = re.compile(r"Filed:\s{0,4}(\d{4}-\d{2}-\d{2})")
_ROLES = {"Filed by": "Reporting"}


class Edgar:
    """What the SEC publishes of filings."""

    name = "edgar"
    PASTE: ClassVar[str] = """\
Catalyst reads EDGAR by itself (say who you are in CATALYST_SEC_USER_AGENT, the SEC asks for it):

  catalyst ingest add edgar --every 10 \\
    --pull 'https://www.sec.gov/cgi-bin/browse-edgar?action=getcurrent&type=8-K&output=atom'

or post a feed or a filing's text:

  curl --data-binary @0000320193-24-000123.txt {url}
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The filings of a feed, the oldest first, or the one whose text this is.

        Raises:
            InvalidDraft: it is neither; says why.
        """
        text = decoded(raw)
        head = text[:4000].lower()
        if "<feed" not in head and "<rss" not in head and "<rdf" not in head:
            return Reading(drafts=[], items=[filing_in(text)])
        found: dict[str, list[dict[str, Any]]] = {}
        for each in reversed(_filings_of(parsed(text))):
            found.setdefault(each["accession"], []).append(each)
        return Reading(drafts=[], items=[_joined(entries) for entries in found.values()])


def _filings_of(root: Element) -> list[dict[str, Any]]:
    """What each entry says, as `filing` takes it; an entry that names no filing is none.

    Raises:
        InvalidDraft: this is a feed, but none of EDGAR's.
    """
    feed = next(under(root, "channel"), root)
    company = next(under(feed, "company-info"), None)
    entries = entries_of(root, feed)
    found = [said for entry in entries if (said := _said(entry, feed, company))["accession"]]
    if entries and not found:
        text = "none of the entries of this feed names a filing: there is no accession number"
        raise InvalidDraft(text, field="accession-number", allowed="EDGAR's feeds; other ones are for `rss`")
    return found


def _said(entry: Element, feed: Element, company: Element | None) -> dict[str, Any]:
    content = next((each for each in under(entry, "content", "xbrlfiling") if len(each)), entry)
    summary = text_under(entry, "summary", "description")
    url = link_of(entry, feed) or text_under(content, "filing-href")
    said = _TITLE.match(text_under(entry, "title"))
    of_company = company if company is not None else content
    name = said["name"] if said else text_under(of_company, "conformed-name", "companyname")
    cik = said["cik"] if said else text_under(of_company, "cik", "ciknumber")
    role = (said["role"] or "") if said else ""
    filed = _FILED.search(summary)
    category = next((term for each in under(entry, "category") if (term := each.get("term", ""))), "")
    return {
        "accession": _accession(entry, content, summary, url), "url": url,
        "form": category or text_under(content, "filing-type", "formtype") or (said["form"] if said else ""),
        "filers": [Filer(cik.zfill(10) if cik else "", name, _ROLES.get(role, role))] if cik or name else [],
        "numbers": _ITEM_HEAD.findall(summary) + _ITEM.findall(text_under(content, "items-desc")),
        "published": moment_of(text_under(entry, "updated", "pubdate"))[0] or "",
        "filed": text_under(content, "filing-date") or (filed[1] if filed else ""),
    }  # fmt: skip


def _accession(entry: Element, content: Element, summary: str, url: str) -> str:
    """The number of a filing; EDGAR's feed of a company has spelt its element both ways."""
    element = text_under(content, "accession-number", "accession-nunber", "accessionnumber")
    said = (element, text_under(entry, "id", "guid"), summary, url)
    return next((found for text in said if (found := accession_in(text))), "")


def _joined(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """One filing that a feed lists for several filers: the issuer names it, for that is whose shares it is about."""
    filers = list({filer.cik or filer.name: filer for each in entries for filer in each["filers"]}.values())
    first = named_by(filers)
    best = next((each for each in entries if first in each["filers"]), entries[0])
    return filing(**(best | {"filers": sorted(filers, key=lambda filer: filer != first)[:FILERS_MAX]}))
