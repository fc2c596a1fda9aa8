"""What this process fetches: how workers/feeds.py is put to work here, and how what it brings is stored.

Owns: who we say that we are, and what of a document is new. What an admin asks for is in sources.py, what a message
posted to us becomes in inbox.py: a bot's message is taken as if it had been posted.
"""

from __future__ import annotations

import os
import secrets
from ipaddress import ip_network
from typing import Any

from catalyst_signals.errors import CatalystError, InvalidRequest
from catalyst_signals.events import Batch, Refused, Stored, now_us, parse_iso
from catalyst_signals.ingest import item_draft, read
from catalyst_signals.projections import Source
from catalyst_signals.server.inbox import ITEMS, Body, keep_refused, take
from catalyst_signals.server.node import Node
from catalyst_signals.server.readiness import version
from catalyst_signals.workers import Lease
from catalyst_signals.workers.feeds import FEEDS, Feeds
from catalyst_signals.workers.outside import NotReached, apart


def open_feeds(node: Node) -> Feeds:
    """What this process fetches, which hears of every event from here on."""
    holder = f"{node.settings.node}.{os.getpid()}.{secrets.token_hex(4)}"  # Nobody else's, also after a restart.
    feeds = Feeds(
        Lease(node.store, FEEDS, holder, ttl_s=node.settings.lease_s),
        sources=lambda: node.state.sources,
        take=lambda source, raw, content_type, known: _take(node, source, raw, content_type, known),
        networks=[ip_network(each, strict=False) for each in node.settings.targets_allow],
        agent=lambda host: _agent(node, host),
    )
    node.follower.fold(None, feeds.fold)
    return feeds


def _agent(node: Node, host: str) -> str:
    """Who we say that we are.

    Raises:
        NotReached: the SEC lets nobody in who does not say who they are.
    """
    if host == "sec.gov" or host.endswith(".sec.gov"):
        if not node.settings.sec_user_agent:
            raise NotReached("the SEC asks who you are: set CATALYST_SEC_USER_AGENT=`Name name@example.com`")
        return node.settings.sec_user_agent
    return f"catalyst-signals/{version()}"


async def _take(node: Node, source: Source, raw: bytes, content_type: str, known: set[str]) -> int:
    """Store what a document or a bot's message says; how much of it is new.

    Raises:
        InvalidRequest: it cannot be read. CatalystError: it could not be stored; safe to try again.
    """
    if source.adapter == "freqtrade_ws":
        return await _message(node, source, raw, content_type)
    now = now_us()
    reading = await apart(
        lambda: read(source.adapter, raw, content_type, ingest_id=source.id, now_us=now, options=source.options)
    )
    items = [item for item in reading.items if item["id"] not in known and _is_wanted(source, item)]
    stored = 0
    if items:
        drafts = [item_draft(node.stories.grouped(item, source.subject)) for item in items]
        batch = Batch(channel=ITEMS, subject=source.subject, drafts=drafts)
        (result,) = await node.publisher.submit([batch])
        stored = _new_of(result)
    known.clear()
    known.update(item["id"] for item in reading.items)
    return stored


async def _message(node: Node, source: Source, raw: bytes, content_type: str) -> int:
    body = Body(source.adapter, raw, content_type)
    try:
        return 1 if (await take(node, source, body, None)).status_code == 201 else 0
    except InvalidRequest as error:
        await keep_refused(node, source, body, error)
        raise


def _new_of(result: Stored | Refused) -> int:
    if isinstance(result, Refused):
        error: CatalystError = result.error
        raise error
    return len(result.events)


def _is_wanted(source: Source, item: dict[str, Any]) -> bool:
    """Whether an item is not from before the source was made, where only what is new was asked for."""
    if source.pull is None or source.pull.backlog:
        return True
    published, made = parse_iso(item["source"].get("published_at", "")), parse_iso(source.created_at)
    return published is None or made is None or published >= made
