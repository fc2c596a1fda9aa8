"""What news are read from: feeds, filings, lines. Their keys, their dates, and that no body takes long.

Bodies and what becomes of them are in tests/fixtures/ingest. Covers `catalyst_signals.ingest.rss`,
`catalyst_signals.ingest.markup`, `catalyst_signals.ingest.edgar`, `catalyst_signals.ingest.edgar_forms`,
`catalyst_signals.ingest.edgar_text`, `catalyst_signals.ingest.jsonl`, `catalyst_signals.ingest.entries`,
`catalyst_signals.ingest.freqtrade_ws`, `catalyst_signals.ingest.freqtrade_events` and `catalyst_signals.stories`.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_signals.errors import CatalystError
from catalyst_signals.ingest import item_draft, read
from catalyst_signals.ingest.edgar_forms import ITEMS_8K, about_of
from catalyst_signals.ingest.markup import moment_of, words_of
from catalyst_signals.stories import accession_in, plain_title, plain_url

NAMES = ("rss", "edgar", "jsonl", "freqtrade_ws")
NOW_US = 1_790_000_000_000_000
PIECES = [
    "<item>", "<item><title>a</title>", "<item><title>", "</item>", "<![CDATA[", "<!--", "<script", "&lt;script&gt;",
    "&amp;", "&", "&nbsp;", "<!DOCTYPE", "<?xml ", "<link>", "<a b='", "<entry>", "<p>", "<", "(NASDAQ: A", "\n", " ",
    "Item 1.01 ", "item  ", "FILER:\n",
    "ab\n" + " " * 60, "(exact name of ", "COMPANY CONFORMED NAME:", "0000320193-24-",
    "ITEM INFORMATION: Other Events\n", '{"title": "a"}\n', '{"title":', "\t", "a - ", "http://", "4 - A (0000000001) ",
    '<ix:nonNumeric name="dei:TradingSymbol" ', "<issuerTradingSymbol> ", "<<" * 3, "{}\n", '{"type": "entry", ',
]  # fmt: skip
BEGINNINGS = [
    "", "<rss><channel>", '<?xml version="1.0"?><feed>', "<SEC-HEADER>\nCONFORMED SUBMISSION TYPE: 8-K\n", "FORM 8-K ",
    "<rss><channel><item><title>", "<rss><channel><item><description><![CDATA[", "{",
]  # fmt: skip


def items_of(adapter: str, body: str) -> list[dict[str, Any]]:
    """What an adapter makes of a text."""
    return read(adapter, body.encode(), "", ingest_id="i", now_us=NOW_US).items


def rss(*items: str) -> str:
    return f"<rss><channel><title>T</title>{''.join(items)}</channel></rss>"


def entry(title: str, url: str, text: str = "") -> str:
    return f"<item><title>{title}</title><link>{url}</link><description>{text}</description></item>"


@pytest.mark.parametrize("adapter", NAMES)
@pytest.mark.slow
def test_no_body_takes_long(adapter: str) -> None:
    """A quarter of a MiB that was made to be read slowly costs less than a second, whoever sends it."""
    slowest, which = 0.0, ""
    for piece in PIECES:
        for beginning in BEGINNINGS:
            body = beginning + piece * ((256 << 10) // len(piece))
            began = time.process_time()
            with suppress(CatalystError):
                items_of(adapter, body)
            took = time.process_time() - began
            slowest, which = max((slowest, which), (took, f"{beginning!r} {piece!r}"))
    assert slowest < 1, which


@given(st.lists(st.sampled_from([*PIECES, *BEGINNINGS, "</channel></rss>", "</feed>"]), max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_whatever_it_is_it_is_read_or_refused(body: str) -> None:
    """Never another exception."""
    for adapter in NAMES:
        with suppress(CatalystError):
            items_of(adapter, body)


def test_the_same_story_has_the_same_key_and_a_correction_too() -> None:
    one, tracked, corrected, other = (
        items_of("rss", rss(each))[0]
        for each in (
            entry("ACME wins", "https://www.n.example/a?id=1"),
            entry("Acme WINS!", "http://n.example/a/?utm_source=x&amp;id=1&amp;gclid=2#top"),
            entry("ACME wins", "https://www.n.example/a?id=1", "Corrected text."),
            entry("ACME loses", "https://www.n.example/a?id=1"),
        )
    )
    assert one["id"] == tracked["id"] == corrected["id"] != other["id"]
    assert item_draft(one).draft_hash == item_draft(corrected).draft_hash != item_draft(other).draft_hash
    assert one["id"].startswith("rss.i.")


def test_entries_come_the_oldest_first_and_too_many_are_refused() -> None:
    found = items_of("rss", rss(*(entry(f"n{n}", f"https://n.example/{n}") for n in range(3))))
    assert [item["title"] for item in found] == ["n2", "n1", "n0"]
    with pytest.raises(CatalystError, match="1000 entries"):
        items_of("rss", rss(*["<item><title>a</title></item>"] * 1001))


@pytest.mark.parametrize(
    ("text", "moment", "zoned"),
    [
        ("Thu, 26 Nov 2026 16:30:05 -0500", "2026-11-26T21:30:05.000000Z", True),
        ("Thu, 26 Nov 2026 16:30 EST", "2026-11-26T21:30:00.000000Z", True),
        ("26 Nov 2026 16:30:05 UT", "2026-11-26T16:30:05.000000Z", True),
        ("Thu, 26 Nov 26 16:30:05 GMT", "2026-11-26T16:30:05.000000Z", True),
        ("2026-11-26T16:30:05.1234567Z", "2026-11-26T16:30:05.123456Z", True),
        ("2026-11-26T16:30+01:00", "2026-11-26T15:30:00.000000Z", True),
        ("2026-11-26", "2026-11-26T00:00:00.000000Z", False),
        ("Thu, 26 Nov 2026 16:30:05", "2026-11-26T16:30:05.000000Z", False),
        ("Thu, 26 Nov 2026 16:30:05 CET", "2026-11-26T16:30:05.000000Z", False),
        ("today", None, False), ("", None, False), ("0001-01-01T00:00:00+14:00", None, False),
        ("Thu, 99 Nov 2026 16:30:05 GMT", None, False),
    ],
)  # fmt: skip
def test_dates_of_feeds(text: str, moment: str | None, zoned: bool) -> None:
    """A zone that is not known is not guessed: it is taken for UTC, and said to have been."""
    assert moment_of(text) == (moment, zoned)


@given(st.text(max_size=40))
def test_no_text_is_a_date_by_force(text: str) -> None:
    moment_of(text)


def test_html_becomes_its_words() -> None:
    assert words_of("<p>A&amp;B&nbsp;rise</p><script>if (a < b) x()</script><!-- no --><br/>5 < 6 &gt; 4") == (
        "A&B rise 5 < 6 > 4"
    )
    assert words_of("a <b>b</b>c &lt;p&gt;d&lt;/p&gt; <style>p {}</style>e") == "a bc d e"


@given(st.text(alphabet="<>&;!-abp /script", max_size=60))
def test_no_markup_breaks_the_reader(text: str) -> None:
    assert "\n" not in words_of(text)


def test_an_excerpt_is_short_and_whole_words() -> None:
    (item,) = items_of("rss", rss(entry("t", "https://n.example/", "word " * 200)))
    excerpt = item["source"]["excerpt"]
    assert len(excerpt) <= 280 and excerpt.endswith("word…")


@pytest.mark.parametrize(
    ("form", "numbers", "about"),
    [
        ("8-K", ["2.01", "9.01"], ("ma", "completed")), ("8-K", ["2.03"], ("other", "debt")),
        ("8-K", ["4.01"], ("other", "auditor")), ("8-K", ["5.05"], ("other", "ethics_code")),
        ("8-K", ["5.07"], ("other", "shareholder_vote")), ("8-K", ["3.02"], ("offering", "unregistered_sale")),
        ("8-K", ["9.01", "1.03"], ("distress", "bankruptcy")), ("4/A", [], ("insider", "form4")),
        ("SCHEDULE 13D", [], ("activist", "13d")), ("424B5", [], ("offering", "prospectus")),
        ("SC 13G/A", [], ("other", "13g")), ("10-K405", [], ("other", None)), ("8-K", [], ("other", None)),
    ],
)  # fmt: skip
def test_what_a_filing_is_about(form: str, numbers: list[str], about: tuple[str, str | None]) -> None:
    """Without the errors of the program that this vocabulary comes from."""
    found, _ = about_of(form, numbers)
    assert (found["type"], found.get("subtype")) == about


def test_every_item_of_an_8k_but_the_exhibits_says_what_it_is() -> None:
    assert all(words and subtype for _, subtype, words in ITEMS_8K.values()) and "9.01" not in ITEMS_8K


def test_an_8k_without_its_number_is_not_the_one_of_the_next_quarter() -> None:
    text = "FORM 8-K\nACME CORP\n(Exact name of registrant)\nItem 2.02 Results of Operations\nRevenue was {}.\n"
    first, again, next_one = (items_of("edgar", text.format(number))[0] for number in ("1", "1", "2"))
    assert first["id"] == again["id"] != next_one["id"]


def test_a_line_of_json_is_told_from_others_by_its_id_its_address_or_itself() -> None:
    lines = [
        {"id": 7, "title": "a"}, {"id": "7", "title": "b"}, {"title": "c", "url": "https://n.example/c"},
        {"title": "C", "url": "http://n.example/c/?utm_x=1"}, {"title": "d"}, {"title": "d", "rank": 2},
    ]  # fmt: skip
    found = [items_of("jsonl", json.dumps(line))[0]["id"] for line in lines]
    assert found[0] == found[1] == "jsonl.i.7" and found[2] == found[3] and found[4] != found[5]


def test_addresses_titles_and_numbers_in_one_form() -> None:
    assert plain_url("https://WWW.Example.com:443/a/?b=2&utm_medium=x&a=1&fbclid=9#f") == "example.com/a?a=1&b=2"
    assert plain_url("http://[") == "http://[" and plain_url("urn:x:1") == "urn:x:1"
    assert plain_title("ACME: Q3 “Überraschung” - Reuters") == "acme q3 uberraschung"
    assert accession_in(".../000032019324000123/x") == "0000320193-24-000123" and accession_in("12345") is None
