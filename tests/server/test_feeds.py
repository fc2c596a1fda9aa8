"""What Catalyst fetches by itself: no item is lost or doubled, whatever the feed, the bot or we ourselves do.

Covers catalyst_signals.workers.feeds, catalyst_signals.workers.bots, catalyst_signals.server.pulling and
catalyst_signals.server.pulls through real servers, real feeds and a bot's WebSocket on this machine. The bot here
speaks freqtrade's protocol as its documentation and its consumer have it; it is not freqtrade.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.feed_server import FeedServer
from tests.running import RunningServer
from tests.sink import until

HERE: dict[str, Any] = {"targets_allow": "127.0.0.0/8", "lease_s": 1}
ENTRY = {
    "type": "entry", "trade_id": 1, "exchange": "Binance", "pair": "BTC/USDT", "direction": "Long", "open_rate": 100.5,
    "limit": 100.5, "order_type": "limit", "leverage": 1.0, "open_date": "2026-11-26T09:30:00+00:00", "amount": 1.0,
    "sub_trade": False,
}  # fmt: skip


class BotServer:
    """freqtrade's `/api/v1/message/ws`: a token in the query, a subscription, and what it is told to say."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.subscribed: list[list[str]] = []
        self._links: list[ServerConnection] = []
        self._server = serve(self._talk, "127.0.0.1", 0, process_request=self._let_in)
        self.port = self._server.socket.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/api/v1/message/ws"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self.hang_up()

    def _let_in(self, link: ServerConnection, request: Request) -> Response | None:
        said = parse_qs(urlsplit(request.path).query).get("token")
        return None if said == [self.token] else link.respond(403, "no")

    def _talk(self, link: ServerConnection) -> None:
        try:
            asked = json.loads(link.recv())
            assert asked["type"] == "subscribe"
            self._links.append(link)
            self.subscribed.append(asked["data"])
            for _ in link:
                pass
        except ConnectionClosed:
            return

    def say(self, message: dict[str, Any]) -> None:
        for link in self._links:
            link.send(json.dumps(message))

    def hang_up(self) -> None:
        links, self._links = self._links, []
        for link in links:
            link.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that may fetch from this machine."""
    with RunningServer(tmp_path_factory.mktemp("feeds"), **HERE) as running:
        yield running


@pytest.fixture
def feed() -> Iterator[FeedServer]:
    with FeedServer() as running:
        yield running


def add(server: RunningServer, **body: object) -> dict[str, Any]:
    with server.http() as http:
        answer = http.post("/v1/ingest", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


def remove(server: RunningServer, made: dict[str, Any]) -> None:
    with server.http() as http:
        assert http.delete(f"/v1/ingest/{made['id']}").status_code == 200


def events(server: RunningServer, made: dict[str, Any], channel: str = "items") -> list[dict[str, Any]]:
    """What of one source is in the log."""
    with server.http() as http:
        found = http.get(f"/v1/channels/{channel}/events", params={"after": 0, "limit": 10_000}).json()["events"]
    return [each for each in found if each["id"].startswith(f"{made['adapter']}.{made['id']}.")]


def titles(server: RunningServer, made: dict[str, Any]) -> list[str]:
    return [each["data"]["title"] for each in events(server, made)]


def pull(server: RunningServer, made: dict[str, Any]) -> dict[str, Any]:
    with server.http() as http:
        found = http.get("/v1/ingest").json()["ingest"]
    state: dict[str, Any] = next(each["pull"] for each in found if each["id"] == made["id"])
    return state


def wait_for_more(feed: FeedServer, asked: int) -> None:
    until(lambda: len(feed.asked) > asked)


def test_what_a_feed_has_and_gets_becomes_items_once_in_its_order(server: RunningServer, feed: FeedServer) -> None:
    feed.titles = ["a", "b"]
    made = add(server, adapter="rss", url=feed.url, every_s=1, channel="items")
    until(lambda: titles(server, made) == ["a", "b"])
    feed.titles.append("c")
    until(lambda: titles(server, made) == ["a", "b", "c"])
    until(lambda: len(feed.asked) >= 5)
    assert titles(server, made) == ["a", "b", "c"]
    assert {each["type"] for each in events(server, made)} == {"item.received"}
    assert any("if-none-match" in each for each in feed.asked) and feed.asked[0]["user-agent"].startswith("catalyst")
    now = pull(server, made)
    assert (now["state"], now["items"], now["every_s"]) == ("closed", 3, 1) and now["last_ok"]
    remove(server, made)
    count = len(feed.asked)
    time.sleep(1.5)
    assert len(feed.asked) <= count + 1


def test_a_feed_without_etags_brings_nothing_twice(server: RunningServer, feed: FeedServer) -> None:
    feed.way, feed.titles = "forgets", ["x"]
    made = add(server, adapter="rss", url=feed.url, every_s=1)
    until(lambda: len(feed.asked) >= 3)
    assert titles(server, made) == ["x"]
    remove(server, made)


def test_a_corrected_text_is_the_same_item(server: RunningServer, feed: FeedServer) -> None:
    entry = "<rss><channel><item><title>T</title><link>https://n.example/1</link><description>{}</description></item>{}"
    end = "<item><title>New</title><link>https://n.example/2</link></item></channel></rss>"
    feed.body = entry.format("first", "</channel></rss>").encode()
    made = add(server, adapter="rss", url=feed.url, every_s=1)
    until(lambda: titles(server, made) == ["T"])
    feed.body = entry.format("corrected", end).encode()
    until(lambda: titles(server, made) == ["T", "New"])
    with server.http() as http:
        again = http.post(made["url"], content=feed.body)
        assert again.status_code in (200, 201), again.text
    assert titles(server, made) == ["T", "New"]
    remove(server, made)


def test_only_what_is_new_is_taken_where_that_was_asked(server: RunningServer, feed: FeedServer) -> None:
    old = "<item><title>Old</title><pubDate>Thu, 26 Nov 2020 09:00:00 GMT</pubDate></item>"
    new = "<item><title>New</title><pubDate>Thu, 26 Nov 2099 09:00:00 GMT</pubDate></item>"
    feed.body = f"<rss><channel>{new}{old}</channel></rss>".encode()
    made = add(server, adapter="rss", url=feed.url, every_s=1, backlog=False)
    until(lambda: titles(server, made) == ["New"])
    remove(server, made)


@pytest.mark.slow
def test_a_broken_feed_says_why_and_keeps_no_other_waiting(server: RunningServer, feed: FeedServer) -> None:
    with FeedServer() as hanging, FeedServer() as page:
        hanging.way, page.way, feed.titles = "hangs", "page", ["quick"]
        slow = add(server, adapter="rss", url=hanging.url, every_s=1)
        wrong = add(server, adapter="rss", url=page.url, every_s=1)
        until(lambda: len(hanging.asked) == 1)
        began_s = time.monotonic()
        made = add(server, adapter="rss", url=feed.url, every_s=1)
        until(lambda: titles(server, made) == ["quick"])
        assert time.monotonic() - began_s < 3
        until(lambda: pull(server, wrong)["state"] != "closed", within_s=15)
        assert "<html>" in pull(server, wrong)["last_error"]
        page.way, page.titles = "good", ["there again"]
        until(lambda: titles(server, wrong) == ["there again"], within_s=30)
        until(lambda: pull(server, wrong)["state"] == "closed")
        for each in (slow, wrong, made):
            remove(server, each)


def test_what_cannot_be_fetched_is_refused_when_it_is_asked_for(server: RunningServer) -> None:
    with server.http() as http:
        for body, field in (
            ({"adapter": "tradingview", "url": "https://example.com/"}, "url"),
            ({"adapter": "rss", "url": "ftp://example.com/"}, "url"),
            ({"adapter": "rss", "url": "http://10.0.0.1/feed"}, "url"),
            ({"adapter": "rss", "url": "http://[::1]/feed"}, "url"),
            ({"adapter": "rss", "url": "http:///feed"}, "url"),
            ({"adapter": "rss", "url": "https://example.com/", "every_s": 0.5}, "every_s"),
            ({"adapter": "rss", "url": "https://example.com/", "token": "x"}, "token"),
            ({"adapter": "freqtrade_ws", "url": "ws://127.0.0.1:1/"}, "token"),
            ({"adapter": "freqtrade_ws", "url": "http://127.0.0.1:1/", "token": "x"}, "url"),
            ({"adapter": "rss", "token": "x"}, "token"),
        ):  # fmt: skip
            answer = http.post("/v1/ingest", json=body)
            assert (answer.status_code, answer.json().get("field")) == (400, field), (body, answer.text)


def test_the_sec_is_not_asked_without_saying_who_asks(server: RunningServer) -> None:
    made = add(server, adapter="edgar", url="https://www.sec.gov/cgi-bin/browse-edgar?output=atom", every_s=60)
    until(lambda: "CATALYST_SEC_USER_AGENT" in pull(server, made).get("last_error", ""))
    assert pull(server, made)["requests"] == 0
    remove(server, made)


def test_secrets_of_a_url_and_tokens_are_shown_and_logged_nowhere(tmp_path: Path, feed: FeedServer) -> None:
    feed.titles = ["s"]
    url = f"http://ann:pass-canary@127.0.0.1:{feed.port}/feed.xml?api_key=query-canary&q=1"
    with RunningServer(tmp_path, log_level="debug", **HERE) as server, BotServer("token-canary") as bot_server:
        made = add(server, adapter="rss", url=url, every_s=1)
        bot = add(server, adapter="freqtrade_ws", url=bot_server.url, token="token-canary")
        gone = add(server, adapter="freqtrade_ws", url="ws://127.0.0.1:1/", token="token-canary")
        until(lambda: titles(server, made) == ["s"])
        until(lambda: bot_server.subscribed and "last_error" in pull(server, gone))
        assert feed.asked[0]["path"].endswith("api_key=query-canary&q=1") and "authorization" in feed.asked[0]
        with server.http() as http:
            said = str([made, bot, gone]) + http.get("/v1/ingest").text + http.get("/metrics").text
        assert "q=1" in said and "canary" not in said and "canary" not in server.log


def test_a_bots_trades_become_signals_once_over_a_lost_connection(server: RunningServer) -> None:
    with BotServer("let-me-in") as bot:
        with server.http() as http:
            http.put("/v1/channels/bot", json={}).raise_for_status()
        made = add(server, adapter="freqtrade_ws", url=bot.url, token="let-me-in", channel="bot")
        until(lambda: len(bot.subscribed) == 1)
        assert "entry" in bot.subscribed[0] and "analyzed_df" not in bot.subscribed[0]
        bot.say(ENTRY)
        bot.say(ENTRY | {"type": "entry_fill"})
        bot.say({"type": "status", "status": "running"})
        bot.say({"type": "entry", "pair": "ETH/USDT", "trade_id": 2})  # Says no direction: refused, and kept as such.
        until(lambda: len(events(server, made, "bot")) == 1)
        bot.hang_up()
        until(lambda: len(bot.subscribed) == 2, within_s=10)
        bot.say(ENTRY)
        bot.say(
            ENTRY
            | {"type": "exit", "is_final_exit": False, "close_rate": 110.0, "close_date": "2026-11-26T10:30:00+00:00"}
        )
        until(lambda: len(events(server, made, "bot")) == 2)
        found = events(server, made, "bot")
        assert [each["data"]["action"] for each in found] == ["open", "close"]
        with server.http() as http:
            kept = http.get("/v1/channels/ingest/events", params={"after": 0, "limit": 10_000}).json()["events"]
        refused = [each for each in kept if each["data"].get("ingest") == made["id"] and "refused" in each["data"]]
        assert len(refused) == 1
        remove(server, made)


def test_a_wrong_token_is_said(server: RunningServer) -> None:
    with BotServer("right") as bot:
        made = add(server, adapter="freqtrade_ws", url=bot.url, token="wrong")
        until(lambda: "token" in pull(server, made).get("last_error", ""))
        remove(server, made)


@pytest.mark.slow
def test_a_kill_while_fetching_loses_and_doubles_nothing(tmp_path: Path, feed: FeedServer) -> None:
    feed.way = "forgets"
    with RunningServer(tmp_path, **HERE) as server:
        made = add(server, adapter="rss", url=feed.url, every_s=1)
        for round in range(4):
            feed.titles += [f"r{round}-{n}" for n in range(60)]
            asked = len(feed.asked)
            wait_for_more(feed, asked)
            time.sleep(0.004 * round)
            server.kill()
            server.start()
        until(lambda: len(titles(server, made)) == len(feed.titles), within_s=20)
        assert titles(server, made) == feed.titles
