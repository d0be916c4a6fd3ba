"""The only list of knobs. Each has its meaning beside it; the reference page is generated from here.

Rules: unknown fields are refused; durations carry their unit in the name; secrets are written ``env.NAME`` or
``file:PATH`` and stand here as those words, never as values.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from penstock.config.schema_aws import AwsConfig
from penstock.config.schema_cache import CacheConfig, SemanticCacheConfig
from penstock.config.schema_dialects import DialectName, TensorName
from penstock.config.schema_images import ImagesConfig
from penstock.config.schema_kept import LedgerConfig, StateConfig
from penstock.config.schema_later import (
    BatchesConfig,
    FilesConfig,
    JobsConfig,
    RerankConfig,
    ResponsesConfig,
)
from penstock.config.schema_media import (
    MediaConfig,
    ReasoningStoreConfig,
    StructuredOutputConfig,
    UploadsConfig,
)
from penstock.config.schema_offer import DataPolicyConfig

Positive = Annotated[int, Meta(ge=1)]
Usd = float | str
"""Dollars as YAML reads them: read as decimal text by ``rates.usd_price``, never calculated with."""


def _doc(text: str) -> Meta:
    return Meta(description=text)


class RetryConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Retries of one target, beyond the first try that every target of a chain gets."""

    max_retries: Annotated[int, Meta(ge=0, le=10), _doc("Retries beyond a target's first try.")] = 1
    backoff_initial_ms: Annotated[
        int, Meta(ge=0), _doc("First back-off; doubles each retry, full jitter.")
    ] = 100
    backoff_max_ms: Annotated[int, Meta(ge=0), _doc("Ceiling of one back-off.")] = 5000


class NetworkConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The way to a provider."""

    base_url: Annotated[
        str | None,
        _doc("As the vendor's SDK takes it: OpenAI's with /v1, Anthropic's and Gemini's without version."),
    ] = None
    connect_timeout_ms: Annotated[Positive, _doc("DNS, TCP, TLS and proxy together.")] = 5_000
    first_byte_timeout_ms: Annotated[
        Positive | None, _doc("Until the reply's head. Default: 60000 for a stream, 600000 otherwise.")
    ] = None
    idle_timeout_ms: Annotated[Positive, _doc("Between two pieces of a body.")] = 60_000
    total_timeout_ms: Annotated[Positive, _doc("One attempt, from its start to its last byte.")] = 900_000
    proxy: Annotated[
        str | None, _doc("http://host:port; with user and password: env.NAME, where the whole URL stands.")
    ] = None
    ca_file: Annotated[
        str | None, _doc("PEM bundle to trust instead of the system's; from the configuration's folder.")
    ] = None
    max_connections: Annotated[
        Positive, _doc("Open connections to this provider; further calls wait within the connect timeout.")
    ] = 1024
    retry: Annotated[RetryConfig, _doc("Retries of one target.")] = RetryConfig()


class KeyConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One credential of a provider."""

    value: Annotated[str, _doc("env.NAME or file:PATH; never the secret itself.")]
    name: Annotated[str | None, _doc("Default: the variable's or the file's name.")] = None
    weight: Annotated[float, Meta(gt=0), _doc("Share of calls, relative to the provider's other keys.")] = 1.0
    models: Annotated[tuple[str, ...], _doc("Models this key may be used for; * is a wildcard.")] = ("*",)


class QueueConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fair queue before a provider that can only serve so many calls at a time."""

    max_concurrent: Annotated[
        Positive,
        _doc("Calls that run at this provider at once, from each process of the gateway; further ones wait."),
    ]
    max_waiting: Annotated[Positive, _doc("Calls that wait; one more is refused at once.")] = 1_000
    max_waiting_per_key: Annotated[
        Positive | None, _doc("Calls of one virtual key that wait; default: max_waiting.")
    ] = None
    interactive_share: Annotated[
        Positive, _doc("Tokens that interactive calls get for each one of batch, while both wait.")
    ] = 9


class ProviderConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One provider. Known names imply dialect and base_url."""

    keys: Annotated[tuple[KeyConfig, ...], _doc("Credentials, chosen by weight.")] = ()
    dialect: Annotated[DialectName | None, _doc("Wire format; known names imply it.")] = None
    models: Annotated[dict[str, str], _doc("Alias -> the provider's own model id.")] = field(
        default_factory=dict[str, str]
    )
    network: Annotated[NetworkConfig, _doc("Timeouts, proxy, TLS, retries.")] = NetworkConfig()
    project: Annotated[str | None, _doc("Vertex: the Google Cloud project.")] = None
    location: Annotated[
        str | None, _doc("Vertex, Bedrock: a region such as us-east5; Vertex also: global.")
    ] = None
    credentials: Annotated[str | None, _doc("Vertex: file:PATH of a service-account key.")] = None
    aws: Annotated[
        AwsConfig | None,
        _doc("Bedrock: an identity to sign with; an API key stands in keys, and so may id:secret[:token]."),
    ] = None
    api_version: Annotated[
        str | None,
        _doc("Anthropic: pin 2023-06-01 or 2026-10-21; default: chosen per request."),
    ] = None
    passthrough_fields: Annotated[
        tuple[str, ...],
        _doc(
            "Gateway fields (models, provider, reasoning ...) this upstream knows itself and gets unchanged."
        ),
    ] = ()
    tensors: Annotated[
        dict[TensorName, str],
        _doc(
            "KServe: the names of a model's tensors (input, output, seed, steps, width ...); labels of a classifier, "
            "comma-separated, and its threshold; mime of pictures."
        ),
    ] = field(default_factory=dict[TensorName, str])
    tokenizer: Annotated[
        str | None,
        _doc(
            "tokenizer.json, from the configuration's folder: turns arrays of tokens into words before they are embedded."
        ),
    ] = None
    batches: Annotated[
        Literal["auto", "native", "own"],
        _doc(
            "native: it has a batch service of its dialect's kind, own: it has none; auto: openai, anthropic and gemini have one."
        ),
    ] = "auto"
    uploads: Annotated[UploadsConfig, _doc("Large files of a request, in the provider's own store.")] = (
        UploadsConfig()
    )
    raw: Annotated[
        bool,
        _doc(
            "Callers reach all of this provider below /raw/<name>/: with our key, and every right that it has."
        ),
    ] = False
    completions: Annotated[
        bool | None,
        _doc(
            "The provider (dialect openai) has the legacy /completions: such calls go there as they are. Default: only "
            "OpenAI's own models that take nothing else."
        ),
    ] = None
    data_policy: Annotated[
        DataPolicyConfig | None, _doc("Its terms, by your contract with it; default: the catalogue's.")
    ] = None
    queue: Annotated[
        QueueConfig | None,
        _doc("Calls that wait for this provider: fair between virtual keys, interactive before batch."),
    ] = None


class TargetConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target with its own parameters."""

    model: Annotated[str, _doc("provider/model")]
    params: Annotated[
        dict[str, Any], _doc("Parameters that replace the caller's for this target, by OpenAI's names.")
    ] = field(default_factory=dict[str, Any])


TargetRef = str | TargetConfig


class FallbackConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chain for calls that name ``primary``. The same target twice is tried twice, with another key where there is one."""

    primary: Annotated[TargetRef, _doc("provider/model, or {model, params}.")]
    secondary: Annotated[TargetRef | None, _doc("Tried when the primary failed.")] = None
    tertiary: Annotated[TargetRef | None, _doc("Tried when the secondary failed.")] = None
    fallbacks: Annotated[tuple[TargetRef, ...], _doc("Further targets, in order.")] = ()


class RouteConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A named route: a caller asks for ``model: "<id>"``."""

    id: Annotated[str, _doc("The name callers use as model.")]
    primary: Annotated[TargetRef, _doc("provider/model, or {model, params}.")]
    fallbacks: Annotated[tuple[TargetRef, ...], _doc("Tried in order when the primary failed.")] = ()
    max_attempts: Annotated[
        Positive | None, _doc("Ceiling over all targets and retries; default: the chain's sum.")
    ] = None


class RateLimitConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """GCRA limits of one virtual key."""

    requests_per_minute: Annotated[Positive | None, _doc("Calls admitted per minute.")] = None
    tokens_per_minute: Annotated[
        Positive | None, _doc("Tokens per minute, estimated at admission and corrected afterwards.")
    ] = None
    burst: Annotated[
        Positive | None, _doc("Calls that pass at once from idle; default: one minute's worth.")
    ] = None


class BudgetConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be spent in one calendar window."""

    limit_usd: Annotated[Usd, _doc("Dollars a window, in decimals.")]
    period: Annotated[
        Literal["day", "week", "month"], _doc("Windows begin at local midnight; weeks on Monday.")
    ] = "month"
    timezone: Annotated[str, _doc("Whose midnight: an IANA name such as Europe/Berlin.")] = "UTC"
    mode: Annotated[
        Literal["hard", "soft"], _doc("hard: never above; soft: running calls may use the overdraft.")
    ] = "hard"
    overdraft_percent: Annotated[
        int, Meta(ge=0, le=100), _doc("Of the limit, for running calls of a soft budget.")
    ] = 0
    name: Annotated[str | None, _doc("Told in refusals and alerts; default: the period.")] = None


class GovernedConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an organisation, a team, a virtual key or a user may do. What stands above it holds for it as well."""

    budgets: Annotated[tuple[BudgetConfig, ...], _doc("What may be spent; several hold together.")] = ()
    rate_limit: Annotated[RateLimitConfig | None, _doc("Requests and tokens per minute.")] = None
    max_concurrent: Annotated[Positive | None, _doc("Calls that may run at once.")] = None
    models: Annotated[
        tuple[str, ...],
        _doc("Models allowed, as provider/model or route id; * is a wildcard; a leading ! denies and wins."),
    ] = ("*",)
    providers: Annotated[
        tuple[str, ...], _doc("Providers allowed; * is a wildcard; a leading ! denies and wins.")
    ] = ("*",)
    tags: Annotated[
        dict[str, str],
        _doc("Kept on every entry's metadata, for grouping; a caller's own words do not replace them."),
    ] = field(default_factory=dict[str, str])


class OrganisationConfig(GovernedConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The root of a tree of teams."""

    name: Annotated[str, _doc("Shown in the ledger.")]


class TeamConfig(GovernedConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Virtual keys that spend together."""

    name: Annotated[str, _doc("Shown in the ledger.")]
    organisation: Annotated[str | None, _doc("The organisation that it belongs to.")] = None


class UserConfig(GovernedConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One person below a virtual key: who calls says so in x-penstock-user, or in the body's user."""

    name: Annotated[str, _doc("As the caller says it; * is everybody else, each for himself.")]


class PreviousKeyConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rotated secret that is still taken for a while."""

    key: Annotated[str, _doc("env.NAME, file:PATH, or sha256:HEX.")]
    until: Annotated[str, _doc("ISO date or date-time from which it is refused.")]


class VirtualKeyConfig(GovernedConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that callers present."""

    name: Annotated[str, _doc("Who it stands for; shown in the ledger.")]
    key: Annotated[
        str, _doc("env.NAME, file:PATH, or sha256:HEX (what `penstock keys new NAME --print` says).")
    ]
    team: Annotated[str | None, _doc("The team that it belongs to.")] = None
    provider_keys: Annotated[
        tuple[str, ...], _doc("provider.key names to spend on; none at others that models does not name.")
    ] = ()
    expires: Annotated[
        str | None,
        _doc("ISO date or date-time from which the key is refused (UTC unless it says otherwise)."),
    ] = None
    previous: Annotated[
        tuple[PreviousKeyConfig, ...], _doc("Secrets before a rotation, until their grace period ends.")
    ] = ()
    priority: Annotated[
        Literal["interactive", "batch"],
        _doc("Which of two waiting calls goes first; a call may ask for less."),
    ] = "interactive"
    users: Annotated[tuple[UserConfig, ...], _doc("Budgets and limits of single users of this key.")] = ()


class WebhookConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where alerts are posted, signed and retried."""

    url: Annotated[str, _doc("http(s)://…, or env.NAME or file:PATH where the whole URL stands.")]
    secret: Annotated[
        str,
        _doc(
            "env.NAME or file:PATH: whsec_ and Base64, as standardwebhooks.com says; other text is used as it is."
        ),
    ]


class AlertsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a budget runs out, and who is told."""

    at_percent: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=1000)], ...], _doc("Shares of a limit, told once a window.")
    ] = (50, 80, 95, 100)
    webhooks: Annotated[
        tuple[WebhookConfig, ...], _doc("Alerts go to the log and the metrics in any case.")
    ] = ()


class ServerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The gateway's own door."""

    host: Annotated[
        str, _doc("Address to listen on; anything but loopback needs virtual keys or --open.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), _doc("Port; 0 picks a free one.")] = 8080
    admin_key: Annotated[str | None, _doc("env.NAME or file:PATH; without it /admin/* is not mounted.")] = (
        None
    )
    max_body_bytes: Annotated[Positive, _doc("Larger bodies get 413.")] = 100 * 1024 * 1024
    hold_back_ms: Annotated[
        int, Meta(ge=0), _doc("How long 200 is held back waiting for the first content event.")
    ] = 10_000
    drain_timeout_ms: Annotated[int, Meta(ge=0), _doc("How long SIGTERM waits for running streams.")] = 30_000
    total_timeout_ms: Annotated[
        Positive, _doc("One call: all attempts, back-offs and fallbacks together.")
    ] = 900_000
    max_attempts: Annotated[
        Positive | None, _doc("Ceiling over all targets and retries of a call; default: the chain's sum.")
    ] = None
    keep_alive_ms: Annotated[Positive, _doc("How long an idle caller's connection stays open.")] = 75_000
    workers: Annotated[
        int, Meta(ge=1, le=64), _doc("Processes on one port; budgets, limits and key cool-downs are shared.")
    ] = 1
    max_connections: Annotated[
        Positive,
        _doc(
            "Callers' connections open at once; more get 503. Each takes a file descriptor, and a second one while its call "
            "runs: see `ulimit -n`."
        ),
    ] = 10_000


class CurrencyConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another currency to show costs in; the ledger itself stays in dollars."""

    usd: Annotated[Usd, _doc("Dollars for one unit of it, in decimals: EUR: {usd: 1.08}.")]
    date: Annotated[str, _doc("The day of the rate, shown beside every figure: 2026-11-20.")]


class PriceOverride(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A price of your own, in decimal dollars per million tokens; it wins over the catalogue."""

    model: Annotated[str, _doc("provider/model")]
    usd_per_million: Annotated[dict[str, str], _doc("Unit (input, cache_read, output, ...) -> decimal text.")]
    starts: Annotated[
        str | None,
        _doc(
            "ISO date or date-time from which it holds (UTC unless it says otherwise); default: always. "
            "A model may have several prices with different starts."
        ),
    ] = field(name="from", default=None)


class ComputeConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Compute of your own, by the name that posted costs and meters use."""

    usd_per_hour: Annotated[Usd, _doc("What one of them costs an hour, in decimal dollars.")]
    owned: Annotated[
        int, Meta(ge=0), _doc("How many are paid for around the clock: what they do not use is idle cost.")
    ] = 0


class StorageConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Storage of your own, by the name that posted costs use."""

    usd_per_gb_month: Annotated[Usd, _doc("What a gigabyte (10^9 bytes) costs a month, in decimal dollars.")]


class EgressConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Traffic that you pay for, by the name that posted costs use."""

    usd_per_gb: Annotated[Usd, _doc("What a gigabyte (10^9 bytes) costs, in decimal dollars.")]


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration file."""

    providers: Annotated[dict[str, ProviderConfig], _doc("Providers by name.")] = field(
        default_factory=dict[str, ProviderConfig]
    )
    fallbacks: Annotated[tuple[FallbackConfig, ...], _doc("Chains for calls that name their primary.")] = ()
    routes: Annotated[tuple[RouteConfig, ...], _doc("Named routes.")] = ()
    mcp: Annotated[tuple[RouteConfig, ...], _doc("Another name for routes.")] = ()
    organisations: Annotated[tuple[OrganisationConfig, ...], _doc("Roots of teams.")] = ()
    teams: Annotated[tuple[TeamConfig, ...], _doc("Virtual keys that spend together.")] = ()
    virtual_keys: Annotated[
        tuple[VirtualKeyConfig, ...],
        _doc("Keys that callers present; none configured: any credential is accepted."),
    ] = ()
    cache: Annotated[CacheConfig, _doc("Answers that are kept, and calls that are joined.")] = CacheConfig()
    semantic_cache: Annotated[SemanticCacheConfig | None, _doc("Answers to requests that mean the same.")] = (
        None
    )
    prices: Annotated[tuple[PriceOverride, ...], _doc("Own prices.")] = ()
    compute: Annotated[dict[str, ComputeConfig], _doc("Compute of your own, by name.")] = field(
        default_factory=dict[str, ComputeConfig]
    )
    storage: Annotated[dict[str, StorageConfig], _doc("Storage of your own, by name.")] = field(
        default_factory=dict[str, StorageConfig]
    )
    egress: Annotated[dict[str, EgressConfig], _doc("Traffic that you pay for, by name.")] = field(
        default_factory=dict[str, EgressConfig]
    )
    server: Annotated[ServerConfig, _doc("The gateway's own door.")] = ServerConfig()
    ledger: Annotated[LedgerConfig, _doc("The record of every attempt.")] = LedgerConfig()
    alerts: Annotated[AlertsConfig, _doc("When a budget runs out, and who is told.")] = AlertsConfig()
    files: Annotated[FilesConfig, _doc("What callers upload.")] = FilesConfig()
    batches: Annotated[BatchesConfig, _doc("Batches of calls.")] = BatchesConfig()
    jobs: Annotated[JobsConfig, _doc("Calls that are answered later.")] = JobsConfig()
    responses: Annotated[ResponsesConfig, _doc("Responses that are kept.")] = ResponsesConfig()
    rerank: Annotated[RerankConfig, _doc("Ranking.")] = RerankConfig()
    state: Annotated[StateConfig, _doc("What several nodes share.")] = StateConfig()
    images: Annotated[ImagesConfig, _doc("Pictures that are made for callers.")] = ImagesConfig()
    structured_output: Annotated[StructuredOutputConfig, _doc("Answers in a strict schema.")] = (
        StructuredOutputConfig()
    )
    media: Annotated[MediaConfig, _doc("What callers name by its address.")] = MediaConfig()
    reasoning_store: Annotated[ReasoningStoreConfig, _doc("The reasoning behind tool calls.")] = (
        ReasoningStoreConfig()
    )
    currencies: Annotated[dict[str, CurrencyConfig], _doc("Other currencies, by their code.")] = field(
        default_factory=dict[str, CurrencyConfig]
    )


__all__ = [
    "AlertsConfig",
    "AwsConfig",
    "BatchesConfig",
    "BudgetConfig",
    "CacheConfig",
    "ComputeConfig",
    "Config",
    "CurrencyConfig",
    "DataPolicyConfig",
    "DialectName",
    "EgressConfig",
    "FallbackConfig",
    "FilesConfig",
    "GovernedConfig",
    "ImagesConfig",
    "JobsConfig",
    "KeyConfig",
    "LedgerConfig",
    "MediaConfig",
    "NetworkConfig",
    "OrganisationConfig",
    "PreviousKeyConfig",
    "PriceOverride",
    "ProviderConfig",
    "QueueConfig",
    "RateLimitConfig",
    "ReasoningStoreConfig",
    "RerankConfig",
    "ResponsesConfig",
    "RetryConfig",
    "RouteConfig",
    "SemanticCacheConfig",
    "ServerConfig",
    "StateConfig",
    "StorageConfig",
    "TargetConfig",
    "TargetRef",
    "TeamConfig",
    "UploadsConfig",
    "Usd",
    "UserConfig",
    "VirtualKeyConfig",
    "WebhookConfig",
]
