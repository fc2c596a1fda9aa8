"""A pull as an admin asks for it and sees it: what Catalyst fetches for a source, and how that goes.

Owns: what may be asked, and what is shown. Who fetches is pulling.py's and workers/. Law: a token goes in and never out
again, and what looks like a secret in a URL is blanked.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from catalyst_signals.errors import InvalidRequest
from catalyst_signals.ingest import redact
from catalyst_signals.projections import Pull, Source
from catalyst_signals.server.node import Node
from catalyst_signals.workers.outside import NotAllowed, NotReached, ascii_name, checked, split

ITEMS_ONLY = frozenset(("rss", "edgar", "jsonl"))  # What they read are no signals.
SCHEMES = {"rss": "http", "edgar": "http", "jsonl": "http", "freqtrade_ws": "ws"}
EVERY_S = (1.0, 86_400.0)
URL_CHARS_MAX, TOKEN_CHARS_MAX = 2000, 512
LOOK_UP_S = 3.0


async def pull_of(
    node: Node, adapter: str, url: str, every_s: float, token: str, *, backlog: bool
) -> Pull | None:  # fmt: skip
    """What is to be fetched; None where the sender posts.

    Raises:
        InvalidRequest: this cannot be fetched; says what can.
    """
    if not url:
        if token:
            raise InvalidRequest("`token` is for a `url` that is fetched", field="token", allowed="with `url`")
        return None
    scheme = SCHEMES.get(adapter)
    if scheme is None:
        text = f"{adapter} is posted to us, not fetched: leave out `url`"
        raise InvalidRequest(text, field="url", allowed=sorted(SCHEMES))
    if not EVERY_S[0] <= every_s <= EVERY_S[1]:
        raise InvalidRequest("`every_s` is 1 to 86400 seconds", field="every_s", got=every_s, allowed="1-86400")
    if len(token) > TOKEN_CHARS_MAX or (token and scheme != "ws") or (not token and scheme == "ws"):
        text = "`token` is the bot's `ws_token`, and for freqtrade_ws alone"
        raise InvalidRequest(text, field="token", allowed=f"1-{TOKEN_CHARS_MAX} characters")
    await _check(node, url, scheme)
    return Pull(url, every_s, token, backlog)


async def _check(node: Node, url: str, scheme: str) -> None:
    """Pass if it is an address that may be reached, or whose name is not known at this moment."""
    if len(url) > URL_CHARS_MAX or not url.startswith((f"{scheme}://", f"{scheme}s://")):
        allowed = f"{scheme}s://host/path, {scheme}://host/path"
        raise InvalidRequest(f"`url` reads {scheme}s://host/path", field="url", allowed=allowed)
    parts = split("http" + url.removeprefix(scheme))
    name, port = ascii_name(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(LOOK_UP_S):
            await checked(name, port, [ip_network(each, strict=False) for each in node.settings.targets_allow])
    except NotAllowed as error:
        raise InvalidRequest(f"`url`: {error}", field="url", allowed="a public address") from None
    except (NotReached, TimeoutError):
        return


def options_of(adapter: str, pull: Pull | None, options: dict[str, str]) -> dict[str, str]:
    """A bot that is followed says its orders and then their fills: the fills are the same trades once more."""
    return {"fills": "ignore"} | options if pull is not None and adapter == "freqtrade_ws" else options


def shown(node: Node, source: Source) -> dict[str, Any]:
    """What there is to tell of a source's pull: where and how often, and how it went."""
    pull = source.pull
    if pull is None:
        return {}
    state = node.feeds.shown(source.id) if node.feeds is not None else {}
    return {"pull": {"url": _plain(pull.url), "every_s": pull.every_s, "backlog": pull.backlog} | state}


def _plain(url: str) -> str:
    parts = urlsplit(url)
    return redact(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
