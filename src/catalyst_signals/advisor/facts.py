"""What of a server is switched on, as the checklists name it: from its settings, and from what it has seen.

Owns: the words of `on` in `checklists.toml` (listed there). Law: of a setting's value it has the scheme only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

SWITCHES = {
    "log_file": "log_file", "log_ship_url": "log_ship", "sentry_dsn": "sentry", "otlp_endpoint": "otlp",
}  # fmt: skip
STANDBY = ("require_durability=disk+standby", "require_durability=disk%2bstandby")
URLS = {"store_url": "store", "broker_url": "broker", "cache_url": "cache"}


def facts_of(settings: Mapping[str, object], **seen: bool) -> frozenset[str]:
    """By settings without their prefix and in small letters; what is not given is not on.

    `seen` is what no setting says: running, metrics_scraped, systemd, nodes.
    """
    told = {name: text for name, value in settings.items() if (text := str(value or "").strip())}
    facts = {fact for name, fact in SWITCHES.items() if name in told}
    facts |= {name for name, is_so in seen.items() if is_so}
    for name, kind in URLS.items():
        facts |= {f"{kind}:{scheme}" for scheme in _schemes(told.get(name, ""))}
    facts |= set(_of_the_store(told.get("store_url", "")))
    if told.get("public_url", "").lower().startswith("https://"):
        facts.add("https")
    return frozenset(facts)


def _schemes(url: str) -> Iterator[str]:
    """`redis+pubsub+sentinel` is Redis Pub/Sub too; TLS makes no other thing of it."""
    scheme = url.partition(":")[0].lower()
    words = scheme.replace("rediss", "redis").split("+") if scheme else []
    yield from ("+".join(words[: count + 1]) for count in range(len(words)))


def _of_the_store(url: str) -> Iterator[str]:
    place, _, query = url.partition("?")
    parameters = [each.lower() for each in query.split("&")]
    hosts = place.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if not place.lower().startswith(("postgresql", "mysql")):
        return
    if "," in hosts or any(each in STANDBY for each in parameters):
        yield "store:standby"
    if any(each.startswith("replica=") and each != "replica=" for each in parameters):
        yield "store:replica"
