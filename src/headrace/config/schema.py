"""The settings themselves: every key, its type, its default and the precedent of that default."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace.config.disconnect import Disconnect, parse_disconnect
from headrace.config.providers import Protocol
from headrace.config.quantities import parse_bytes, parse_flag, parse_path, parse_seconds, parse_workers
from headrace.config.secret import Secret
from headrace.errors import ConfigError

_YEAR = 366 * 86_400.0

# `description` completes "expected …" in an error; `parse` reads a string before the type is checked.
Seconds = Annotated[
    float,
    Meta(gt=0, le=_YEAR, description="a duration above 0, such as 30, 30s, 5m or 1h", extra={"parse": parse_seconds}),
]
SecondsOrZero = Annotated[
    float,
    Meta(ge=0, le=_YEAR, description="a duration, such as 0, 30, 30s, 5m or 1h", extra={"parse": parse_seconds}),
]
Bytes = Annotated[
    int,
    Meta(ge=1, le=2**50, description="a size above 0, such as 8388608, 8MB or 32MiB", extra={"parse": parse_bytes}),
]
Count = Annotated[int, Meta(ge=1, le=10**9, description="a whole number, at least 1")]
CountOrZero = Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")]
Flag = Annotated[bool, Meta(description="true or false", extra={"parse": parse_flag})]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a whole number from 0 to 65535")]
Workers = Annotated[
    int, Meta(ge=1, le=256, description="a whole number from 1 to 256, or auto", extra={"parse": parse_workers})
]
Text = Annotated[str, Meta(min_length=1, description="a string")]
# Braces would decide where a cluster keeps the keys.
KeyPrefix = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$", description="1 to 64 letters, digits and . _ : -")]
Directory = Annotated[str | None, Meta(description="the path of a directory", extra={"parse": parse_path})]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    Meta(description="one of debug, info, warning, error", extra={"parse": str.lower}),
]
Streaming = Annotated[Literal["native", "force"], Meta(description="one of native, force")]
Backpressure = Annotated[Literal["none", "pause"], Meta(description="one of none, pause")]
ProducerLoss = Annotated[Literal["fail", "continue"], Meta(description="one of fail, continue")]
Speed = Annotated[Literal["recorded", "instant"], Meta(description="one of recorded, instant")]
OnDisconnect = Annotated[
    Disconnect | None,
    Meta(description="cancel, continue or grace(seconds)", extra={"parse": parse_disconnect}),
]


class CallSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be set for all models and again under one model's `params`."""

    # Four deadlines (P20): a reasoning model thinks for minutes before its first token and not between two of them.
    # Twice the OpenAI client's 5 s.
    connect_timeout: Seconds = 10.0
    # As aiohttp's total timeout, 5 minutes.
    ttft_timeout: Seconds = 300.0
    # Twice nginx's proxy_read_timeout, which too counts between two reads.
    stream_idle_timeout: Seconds = 120.0
    # Three times the OpenAI client's 10 minutes for a whole request.
    total_timeout: Seconds = 1800.0
    # As the OpenAI client: 2 retries, 0.5 s doubled up to 8 s, with jitter (P21).
    retries: CountOrZero = 2
    retry_backoff: SecondsOrZero = 0.5
    retry_backoff_max: SecondsOrZero = 8.0
    # What a slow reader does to the upstream (P23): nothing, since the log keeps what it has not read yet.
    backpressure: Backpressure = "none"
    # What one read hands to a reader: less would pause for every reader that lags by one write.
    pause_lag: Count = 1000
    # As write_timeout: a reader that takes nothing is cut by then.
    pause_timeout: Seconds = 30.0
    # Continuing costs the prompt a second time, and not every model server can.
    on_producer_loss: ProducerLoss = "fail"
    # None: the default of the API shape that was called (P8).
    on_disconnect: OnDisconnect = None


class Model(CallSettings, frozen=True, kw_only=True):
    """One entry of `model_list`, complete: the global settings are already filled in.

    `upstream_model` is the model server's own name for it; for `replay` it is the absolute path of the recording.
    `base_url` has no slash at its end and is empty for `local` and `replay`;
    a supervisor fills it, and the key, where the embedded model is a process of its own.
    """

    name: str
    upstream_model: str
    provider: str = "openai"
    protocol: Protocol = "openai"
    base_url: str = ""
    api_key: Secret | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    # `force`: the model server cannot stream; ask for the whole answer and stream that.
    stream: Streaming = "native"
    # `replay` only.
    speed: Speed = "recorded"
    wildcard: str = ""
    """The entry's own name, where the model was asked for by another that fits it."""

    @property
    def pattern(self) -> str:
        """The name in the configuration: a caller can make up many that fit a wildcard, but not this one."""
        return self.wildcard or self.name


class ApiKey(msgspec.Struct, frozen=True):
    """A key that callers may present; `name` is safe to log and stays the same when keys are reordered."""

    name: str
    key: Secret


class Config(CallSettings, frozen=True, kw_only=True):
    """Everything that can be set. Built by `load`; `Config()` alone has the defaults and no model."""

    models: tuple[Model, ...] = ()

    # Loopback: a server without keys must not be reachable from elsewhere by accident (P33).
    host: Text = "127.0.0.1"
    # uvicorn's and vLLM's.
    port: Port = 8000
    log_level: LogLevel = "info"
    # One process needs no store beside it, and its embedded model no second process.
    workers: Workers = 1
    # None: streams end with the server.
    data: Directory = None
    # Prompts are personal data (P36).
    log_content: Flag = False
    # It shows nothing that its visitor's own key does not open.
    playground: Flag = True

    # WHATWG HTML 9.2.7: a comment line "every 15 seconds or so" (P14).
    keepalive_seconds: Seconds = 15.0
    # A third of what Heroku's router allows before the first byte, a sixth of nginx's proxy_read_timeout (P13).
    header_hold: SecondsOrZero = 10.0
    # Half of nginx's send_timeout: a reader that is cut here can resume (P23).
    write_timeout: Seconds = 30.0
    # Under Kubernetes' terminationGracePeriodSeconds of 30 (P11).
    drain_timeout: SecondsOrZero = 25.0
    # Renewed every 3 s: two renewals may be lost (P3).
    lease_seconds: Seconds = 10.0
    # resumable-stream keeps a day in Redis; memory is dearer.
    retention_seconds: Seconds = 3600.0
    # None: the memory of this process.
    redis_url: Secret | None = None
    # What one stream may keep while the store is away: 15,000 tokens; and for how long, which outlasts the failover of
    # a managed Redis.
    store_outage_buffer: Bytes = 4 * 2**20
    store_outage_timeout: Seconds = 30.0
    # So that one server can be shared with others.
    redis_prefix: KeyPrefix = "headrace:"
    # None: the log is gone when its retention is over.
    archive_url: Secret | None = None

    # As Anthropic's limit for a Messages request: images come inside the JSON (P24).
    max_request_bytes: Bytes = 32 * 2**20
    # Twice gRPC's default message of 4 MiB: one line can hold an image (P15).
    max_upstream_line_bytes: Bytes = 8 * 2**20
    # A record of one token takes about 270 bytes, and models answer with up to 128,000 tokens.
    max_stream_log_bytes: Bytes = 64 * 2**20
    # 64 streams of full length, on a machine with 2 GiB.
    max_log_bytes: Bytes = 2**30
    # The C10k number: one stream read by a large audience on one node.
    max_readers_per_stream: Count = 10_000
    # The least number of concurrent streams that RFC 9113 6.5.2 recommends to allow per connection.
    max_running_per_key: Count = 100

    api_keys: tuple[ApiKey, ...] = ()
    no_auth: Flag = False
    secret: Secret | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()

    # As llama.cpp's own server; 4 slots of the embedded model need about 330 MB in all.
    local_slots: Count = 4
    # Four waiting per slot, then 429: a slot takes a few seconds per answer.
    local_queue: Annotated[int, Meta(ge=0, le=10**6, description="a whole number, at least 0")] = 16
    # Tokens per slot, prompt and answer together: a quarter of what the embedded model can take, for memory.
    local_context: Annotated[int, Meta(ge=256, le=8192, description="a whole number from 256 to 8192")] = 2048

    def resolve(self, model: str) -> Model | None:
        """The model that serves this name: the exact name first, then the longest wildcard; None if there is none.

        A wildcard's answer carries the requested name, and its `upstream_model` has what stood for the `*`; where the
        whole name is `*`, without the provider's prefix if the caller wrote one.
        """
        if not model or "*" in model:
            return None
        wildcards: list[Model] = []
        for entry in self.models:
            if entry.name == model:
                return entry
            if entry.name.endswith("*") and model.startswith(entry.name[:-1]):
                wildcards.append(entry)
        if not wildcards:
            return None
        return _filled(max(wildcards, key=lambda entry: len(entry.name)), model)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names that a model list can show: wildcards are not among them."""
        return tuple(entry.name for entry in self.models if not entry.name.endswith("*"))

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The patterns, such as `*` or `groq/*`."""
        return tuple(entry.name for entry in self.models if entry.name.endswith("*"))

    @property
    def supervised(self) -> bool:
        """Whether it takes more than one process."""
        return self.workers > 1 or self.data is not None

    def check_access(self) -> None:
        """Refuse to be reachable by strangers without keys (P33); call it before binding.

        Raises:
            ConfigError: The host is not loopback and there are neither keys nor `no_auth`; the message names the
                three ways out. Or the access settings contradict each other.
        """
        if self.api_keys and self.no_auth:
            raise ConfigError("api_keys and no_auth contradict each other: remove one of them")
        if self.api_keys:
            return
        if "*" in self.cors_origins:
            raise ConfigError(
                'cors_origins: "*" without api_keys would let every web page use this server: '
                "name the origins, or set api_keys"
            )
        if not self.no_auth and not is_loopback(self.host):
            raise ConfigError(
                f"host {self.host} can be reached from other machines and no API keys are set. Either set keys "
                "(api_keys, or HEADRACE_API_KEYS=name=key,…), or bind loopback (host: 127.0.0.1), "
                "or say that it is meant to be open (--no-auth, no_auth: true)"
            )


def is_loopback(host: str) -> bool:
    """Whether binding this host accepts connections of this machine only; names but `localhost` count as not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _filled(entry: Model, requested: str) -> Model | None:
    matched = requested[len(entry.name) - 1 :]
    if entry.name == "*":
        matched = matched.removeprefix(f"{entry.provider}/")
    if not matched:
        return None
    upstream = entry.upstream_model[:-1] + matched if entry.upstream_model.endswith("*") else entry.upstream_model
    return msgspec.structs.replace(entry, name=requested, upstream_model=upstream, wildcard=entry.name)
