"""Notifications for people, by apprise: Discord, Telegram, Slack, e-mail, ntfy, PagerDuty and a few more.

Owns: the library, which of its services and options may be used, and what its refusals mean. Knows nothing of when.
Laws: the library runs in threads of its own; it reaches public addresses only, no files and no commands; what it logs
goes nowhere, since it may hold secrets.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from catalyst_signals.errors import InvalidRequest, MissingDriver, Unsupported
from catalyst_signals.workers.messages import Message, Outcome
from catalyst_signals.workers.outside import NOT_PUBLIC, Network, apart, only_public
from catalyst_signals.workers.webhooks import outcome_of
from catalyst_signals.workers.wording import text_of

WITHIN_S = 25.0  # Longer than the library's own time-outs of 4 s each for connecting and reading.
DIGEST_EVENTS_MAX = 1000  # Only the first few are written out.

_MAIL = "to cc bcc from name smtp mode reply user pass"
# Scheme -> the options its URL may have. Others reach files (`template`, `pgp...`, `attach`) or do not concern us.
OPTIONS: dict[str, frozenset[str]] = {
    scheme: frozenset(f"{options} format overflow verify cto rto".split())
    for scheme, options in {
        "discord": "tts avatar footer thread ping botname", "tgram": "silent preview topic thread to mdv",
        "slack": "to footer blocks timestamp mode", "mailto": _MAIL, "mailtos": _MAIL,
        "ntfy": "priority xtags tags mode to auth", "ntfys": "priority xtags tags mode to auth",
        "pagerduty": "group class region severity", "gotify": "priority", "gotifys": "priority",
        "pover": "priority sound", "json": "method", "jsons": "method",
    }.items()
}  # fmt: skip
PER_MINUTE = {"tgram": 20, "discord": 30, "slack": 60, "mailto": 30, "mailtos": 30}
_STATUS = re.compile(r"error=(\d{3})\b")


async def check(url: str) -> None:
    """Pass if a notification may go by this URL.

    Raises:
        InvalidRequest: says what is wrong, without the URL. Unsupported: the extra `notify` is not installed here.
    """
    scheme = scheme_of(url)
    if scheme not in OPTIONS:
        raise InvalidRequest(
            "targets of this kind are not known", field="url", got=scheme, allowed=["https", "http", *OPTIONS]
        )
    try:
        options = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:
        raise InvalidRequest("`url` cannot be read", field="url") from None
    for name, _ in options:
        if name.lower() not in OPTIONS[scheme]:
            raise InvalidRequest(
                f"`{scheme}` targets have no such option", field="url", got=name, allowed=sorted(OPTIONS[scheme])
            )
    if not await apart(lambda: _understood(url)):
        raise InvalidRequest(
            f"`{scheme}:` is followed by what that service needs; see https://github.com/caronc/apprise/wiki",
            field="url", got=f"{scheme}://...",
        )  # fmt: skip


def scheme_of(url: str) -> str:
    """What stands before `://`."""
    return url.partition("://")[0].lower()


def _understood(url: str) -> bool:
    try:
        return _opened(url) is not None
    except MissingDriver as error:
        raise Unsupported(error.message, field="url", got=scheme_of(url)) from error
    except Exception:  # Some of its parsers fall over what is not a URL of theirs.
        return False


def _opened(url: str) -> Any:
    """The library's object for a URL; None: it does not understand it."""
    try:
        import apprise
    except ImportError as error:
        raise MissingDriver(
            "notifications need apprise: pip install 'catalyst-signals[notify]'", field="url", got=scheme_of(url)
        ) from error
    for name in ("apprise", "urllib3", "requests"):
        logging.getLogger(name).propagate = False  # Their lines hold URLs, and those hold secrets.
    asset = apprise.AppriseAsset(
        app_id="Catalyst", app_desc="Catalyst", async_mode=False, http_redirects=False, pgp_autogen=False,
        pem_autogen=False, storage_mode=apprise.PersistentStoreMode.MEMORY,
    )  # fmt: skip
    return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)


class Notifier:
    """One URL of apprise's. One message at a time: a thread that hangs keeps this target waiting and no other."""

    at_most = DIGEST_EVENTS_MAX
    holds_when_limited = True

    def __init__(self, url: str, networks: Sequence[Network]) -> None:
        self.per_minute = PER_MINUTE.get(scheme_of(url))
        self._url = url
        self._service: Any = None  # Opened where it is used: the library takes more than a second to load.
        self._networks = networks
        self._under_way: tuple[str, asyncio.Task[Outcome]] | None = None

    async def send(self, message: Message) -> Outcome:
        """Tell it once. What took too long is not sent again while nobody knows how it ends."""
        if self._under_way is not None and self._under_way[0] != message.id:
            if not (await asyncio.wait({self._under_way[1]}, timeout=WITHIN_S))[0]:
                return Outcome("later", "the message before this one still hangs")
            self._under_way = None
        if self._under_way is None:
            text = text_of(message)
            self._under_way = (message.id, asyncio.create_task(apart(lambda: self._send(text))))
        _, task = self._under_way
        done, _ = await asyncio.wait({task}, timeout=WITHIN_S)
        if not done:
            return Outcome("later", f"it did not answer within {WITHIN_S:g} s")
        self._under_way = None
        return task.result()

    def _send(self, text: str) -> Outcome:
        """In a thread of its own."""
        heard = _Heard(threading.get_ident())
        logger = logging.getLogger("apprise")
        logger.addHandler(heard)
        try:
            self._service = self._service or _opened(self._url)
            with only_public(self._networks) as refused:
                said = self._service.notify(body=text, title="", body_format="text")
        except MissingDriver as error:
            return Outcome("later", error.message)
        except Exception as error:  # A plugin's own fault; its text may hold the URL.
            return Outcome("later", f"{type(self._service).__name__} failed: {type(error).__name__}")
        finally:
            logger.removeHandler(heard)
        if said:
            return Outcome("sent")
        if heard.status:
            return outcome_of(heard.status)
        return Outcome("later", NOT_PUBLIC if refused else "it could not be told; `apprise -vv URL` says more")


class _Heard(logging.Handler):
    """The HTTP status of a refusal: the library tells it nowhere but in its log."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread
        self.status = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Lines of other threads are about others."""
        found = _STATUS.search(record.getMessage()) if record.thread == self._thread else None
        if found is not None:
            self.status = int(found[1])
