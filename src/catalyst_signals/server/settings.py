"""Every setting of the server, in one flat place, with its unit in its name.

Owns: names, defaults, and where they are read from: command-line flags, then `CATALYST_*`, then `catalyst.toml`.
"""

from __future__ import annotations

import platform
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from catalyst_signals.auth.api_keys import take_apart


def split_commas(value: object) -> object:
    """`a, b` as a list, for settings that stand in the environment."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """What `catalyst serve` can be told. An unknown name in `catalyst.toml` is an error."""

    model_config = SettingsConfigDict(
        env_prefix="CATALYST_", toml_file="catalyst.toml", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every one of this machine.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one and prints it.")
    processes: int = Field(
        1, ge=0, le=64, description="Processes that serve this port together, each on a core; 0 is one per core."
    )
    store_url: str = Field(
        "sqlite:///catalyst.db",
        description="Where the log is kept: `sqlite:///FILE`, `postgresql://...`, `mysql://...` or `memory:`.",
    )
    broker_url: str = Field(
        "memory:", description="How other processes are told that the log grew: `memory:` for one process."
    )
    cache_url: str = Field(
        "memory:", description="Where rate limits are counted and rehearsals kept; `memory:` is each process by itself."
    )
    node: str = Field(default_factory=platform.node, description="This process's name, in `welcome` and in logs.")
    key_env: str = Field(
        "live",
        pattern="^[a-z0-9]{1,12}$",
        description="The word in the keys made here: `cat_live_...`, so that a test key shows.",
    )
    admin_key: SecretStr = Field(
        SecretStr(""), description="The first admin key of an empty log, made before; then none is made and printed."
    )
    public_url: str = Field(
        "", description="How the world reaches this server, as `https://host`; for the URLs of webhooks."
    )
    allowed_origins: Annotated[list[str], NoDecode, BeforeValidator(split_commas)] = Field(
        default_factory=list,
        description="Web pages of other hosts that may open a WebSocket, as `https://host`, with commas between.",
    )
    event_loop: str = Field(
        "auto", pattern="^(auto|uvloop|asyncio)$", description="What runs the server; `auto` is uvloop where it exists."
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="How much is logged.")
    log_format: str = Field(
        "auto",
        pattern="^(auto|text|json)$",
        description="How a line looks on standard error; `auto` is text on a terminal and JSON elsewhere.",
    )
    log_file: str = Field("", description="A file that the log is written to as well, as JSON lines.")
    log_file_bytes: int = Field(16 << 20, ge=4096, description="How large that file grows before it is turned over.")
    log_file_count: int = Field(5, ge=1, le=1000, description="How many older ones of it are kept.")
    log_ship_url: str = Field(
        "", description="A central store that JSON lines are posted to: `https://user:password@host/index/_bulk`."
    )
    sentry_dsn: str = Field("", description="Where errors are reported to: the DSN of a Sentry project.")
    otlp_endpoint: str = Field(
        "", description="Where traces and numbers go by OpenTelemetry over HTTP: `http://collector:4318`."
    )
    ring_bytes: int = Field(20 << 20, ge=1 << 20, description="Memory for recent events of all channels together.")
    turn_ms: float = Field(4, gt=0, le=100, description="How long deliveries may hold the event loop at once.")
    poll_s: float = Field(
        1.0, gt=0, le=60, description="How often the store is asked whether it has more than was heard of."
    )
    queue_max: int = Field(
        10_000, ge=1, description="Drafts that may wait to be stored; beyond it publishing answers 503."
    )
    position_s: int = Field(10, ge=1, le=60, description="How often a subscriber is told through where it is complete.")
    message_bytes: int = Field(
        65_536, ge=1024, le=4 << 20, description="The largest WebSocket message a client may send."
    )
    body_bytes: int = Field(4 << 20, ge=1024, description="The largest body of a REST request.")
    publishes_in_flight: int = Field(
        64, ge=1, description="Publishes of one WebSocket that may be unanswered; then it is not read."
    )
    head_s: float = Field(10, gt=0, description="How long a client may take to send its request head.")
    body_s: float = Field(30, gt=0, description="How long a client may take to send its request body.")
    keep_alive_s: int = Field(
        5,
        ge=1,
        le=3600,
        description="How long a connection is kept for a next request; longer than a load balancer does.",
    )
    auth_s: float = Field(5, gt=0, description="How long a WebSocket may stay without a key.")
    silent_s: float = Field(
        40, gt=0, description="A WebSocket that takes messages but was not heard for this long is dead."
    )
    stall_s: float = Field(
        600, gt=0, description="How long a WebSocket that takes no messages is kept before it is closed."
    )
    trust_s: float = Field(5, gt=0, description="How long keys are trusted without the store confirming them.")
    skew_s: float = Field(
        2.0, ge=0, description="How far a publisher's clock may be off before its channels are told; 0 tells nothing."
    )
    drain_s: float = Field(10, gt=0, description="How long a stopping server takes at most.")
    address_connections: int = Field(
        1000, ge=0, description="WebSockets and streams that one address may have open on a process; 0 is no limit."
    )
    key_connect_rate: float = Field(200, ge=0, description="New connections a second of one key; 0 is no limit.")
    key_publish_rate: float = Field(
        1000, ge=0, description="Publishes a second of one key, each of up to 1,000 signals; 0 is no limit."
    )
    user_subscribe_rate: float = Field(1000, ge=0, description="Subscribes a second of one user; 0 is no limit.")
    user_replay_rate: float = Field(
        0,
        ge=0,
        description="Older events a second that are read for one user, ten seconds' worth at once; 0 is no limit.",
    )
    trusted_proxies: Annotated[list[str], NoDecode, BeforeValidator(split_commas)] = Field(
        default_factory=list,
        description="Proxies whose `X-Forwarded-For` says who the client is: addresses or networks as `10.0.0.0/8`.",
    )
    ingest_rate: float = Field(20, ge=0, description="Webhooks a second for each ingest secret; 0 is no limit.")
    ingest_burst: int = Field(200, ge=1, description="Webhooks at once for each ingest secret.")
    targets_allow: Annotated[list[str], NoDecode, BeforeValidator(split_commas)] = Field(
        default_factory=list,
        description="Networks such as `10.0.0.0/8` that targets may be in; all others must be public addresses.",
    )
    sec_user_agent: str = Field(
        "", max_length=200, description="Who reads the SEC's EDGAR here, as it asks for: `Name name@example.com`."
    )
    lease_s: float = Field(
        15, ge=1, le=300, description="How long a process that sends outside may be silent before another goes on."
    )
    retention_s: float = Field(60, gt=0, description="How often events that a channel no longer keeps are dropped.")
    retention_wait_s: float = Field(
        86_400, ge=0, description="How long such events are kept all the same for a worker that has not read them."
    )
    ledger_s: float = Field(
        2_592_000,
        ge=0,
        description="How long it is kept who was sent and has acknowledged what; 0 keeps nothing of it.",
    )
    scrub_s: float = Field(
        86_400, ge=0, description="How often the whole log is read in the background for damage; 0 is never."
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, *_: Any, **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Flags win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def model_post_init(self, context: Any) -> None:
        """Settings that contradict each other are found at start, not in the night."""
        if self.message_bytes > self.body_bytes:
            raise ValueError("message_bytes may not be larger than body_bytes")
        for each in (*self.trusted_proxies, *self.targets_allow):
            ip_network(each, strict=False)  # Says what is wrong with it.
        given = self.admin_key.get_secret_value()
        if given and take_apart(given) is None:
            raise ValueError("admin_key is no whole API key: copy it again, from `cat_` to its end")
