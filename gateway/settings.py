"""Every setting of every process, on one page, read once.

Sources, the later one wins: default < file (TOML) < environment (`TALLYLIGHT_PORT=8080`) < flags.
A secret is given directly or as a path to read it from: `dsn_file = "…"` in the file, `TALLYLIGHT_DSN_FILE=…` in the environment.
"""

import os
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

PREFIX = "TALLYLIGHT_"
# Ours, but no settings: what the command needs as a client, and the knobs of the test suite.
CLIENT_VARIABLES = frozenset({"TALLYLIGHT_API_KEY", "TALLYLIGHT_BASE_URL"})
TEST_PREFIX = "TALLYLIGHT_TEST_"
LINK_SECRET_MIN = 32
OPERATOR_TOKEN_MIN = 32
WEBHOOK_SECRET_MIN = 32
SIGN_IN_SECRET_MIN = 32

MIB = 1 << 20
Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=366 * 86400)]
Bytes = Annotated[int, Meta(ge=0)]
Percent = Annotated[int, Meta(ge=0, le=100)]


class SettingsError(Exception):
    """A setting is unknown, malformed, missing or at odds with another; the sentence names it and says what is accepted."""

    code = "settings_invalid"


class Secret:
    """Text that never shows itself in a log, a traceback or an error; the empty secret is false."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret('***')" if self._text else "Secret('')"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled: it would leave the process in clear")


class ReplicaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Triton server of the fleet, as whoever declares it describes it: settings, an operator, Kubernetes."""

    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Letters, digits, dots and dashes, 100 at most.")
    ]
    url: Annotated[str, Meta(pattern=r"^[^/\s]+:[0-9]+$", max_length=300, description="Its gRPC endpoint, host:port.")]
    models: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=256, description="Catalogue names of the models it has or may hold.")
    ]
    slots: Annotated[int, Meta(ge=1, le=1024, description="Jobs it runs at the same time.")] = 1
    accelerator: Annotated[str, Meta(min_length=1, max_length=100, description="Its chip, as the catalogue calls it.")] = "cpu"
    price_micro_usd_per_hour: (
        Annotated[int, Meta(ge=0, le=10**12, description="What it costs; null: what the catalogue says of the chip.")] | None
    ) = None
    loads: Annotated[
        bool, Meta(description="Triton runs with --model-control-mode=explicit: models are loaded as jobs need them.")
    ] = False
    models_max: Annotated[int, Meta(ge=1, le=256, description="So many models at a time; null: all of them.")] | None = None
    labels: Annotated[dict[str, str], Meta(max_length=64, description="For people.")] = {}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The one configuration object; `Settings.load` reads it, nothing else reads the environment."""

    dsn: Secret = Secret()
    """PostgreSQL, as a URL: postgresql://user:password@host:5432/database."""
    host: str = "127.0.0.1"
    """Address the API listens on."""
    port: Port = 8080
    workers: Count = 1
    """API processes."""
    public_url: str = ""
    """How clients reach the API, for links in answers; empty: the scheme and host of the request."""

    media_url: Annotated[str, Meta(pattern=r"^(file:///|s3://[^/])", description="file:///folder or s3://bucket/prefix")] = (
        "file:///var/lib/tallylight/media"
    )
    """Where artifacts are stored."""
    s3_endpoint: str = ""
    """Empty: Amazon's own for the region."""
    s3_region: str = ""
    s3_access_key: Secret = Secret()
    s3_secret_key: Secret = Secret()
    s3_allow_http: bool = False
    """Accept an endpoint without TLS."""
    link_secret: Secret = Secret()
    """HMAC key of signed artifact links, LINK_SECRET_MIN characters or more; the same in every API process."""
    link_ttl_s: Count = 3600
    """How long a signed link works."""
    artifact_retention_s: Count = 7 * 86400
    """How long an artifact is kept after its job ended."""
    spool_dir: str = ""
    """Where artifacts wait while they are written and verified; empty: the system's folder for temporary files."""
    disk_free_min_bytes: Bytes = 512 * MIB
    """No job is accepted while less than this is free where artifacts are kept on disk, and none is started while it is
    less in the spool."""

    catalogue_dir: str = ""
    """Models, accelerators and prices; empty: the catalogue in the package."""
    replicas: tuple[ReplicaSettings, ...] = ()
    """The part of the fleet that settings declare; in the environment as JSON. Operators and Kubernetes declare more."""
    operator_token: Secret = Secret()
    """What operators send as a bearer token to /v1/fleet, OPERATOR_TOKEN_MIN characters or more; empty: nobody may use it."""
    kubernetes_selector: str = ""
    """Label selector of the pods that are replicas; empty: Kubernetes is not asked. See gateway/fleet/discover.py."""
    kubernetes_namespace: str = ""
    """Empty: the namespace this process runs in."""
    kubernetes_url: str = "https://kubernetes.default.svc"
    kubernetes_account_dir: str = "/var/run/secrets/kubernetes.io/serviceaccount"
    """Where the token and the authority of the cluster lie."""
    kubernetes_poll_s: Seconds = 5.0
    queue_deadline_s: Count = 172800
    """A job that did not start by then is given up and its hold released."""
    admission_waiting_max: Count = 4096
    """Requests that may wait for the next admission flush of one process; more are answered 503."""
    lease_ttl_s: Seconds = 12.0
    """A runner that did not renew its lease for this long has lost the job."""
    heartbeat_s: Seconds = 3.0
    """How often a runner renews its leases."""
    stall_s: Seconds = 60.0
    """An attempt whose model reported nothing for this long is ended."""
    attempt_deadline_s: Seconds = 3600.0
    """The longest one attempt may take."""
    attempts_max: Count = 3
    """Attempts of one job before it has failed."""
    late_start_credit_percent: Percent = 25
    """How much of its price a job gets back as credit that started later than promised; 0: nothing."""
    cancel_confirm_s: Seconds = 5.0
    """A replica whose model works on for this long after a cancellation is put in quarantine."""
    breaker_pause_s: Seconds = 30.0
    """How long a model that keeps failing on a replica is left alone there; doubles up to twenty times that."""
    quarantine_probe_s: Seconds = 30.0
    """How often a replica that the dispatcher put in quarantine is tried with a sample of its own."""
    model_load_s: Seconds = 600.0
    """The longest a model may take to load, or to unload."""
    poll_s: Seconds = 1.0
    """How often work is looked for when no notification arrives."""

    auth_ttl_ms: Annotated[int, Meta(ge=0)] = 500
    """How long a process may trust what it read about an API key; a revoked key works at most this much longer."""
    reads_per_s: Annotated[int, Meta(ge=0)] = 500
    """How often a process answers GET requests of one key, in a second and for one more in advance; 0: always."""
    request_body_max_bytes: Count = 64 * MIB
    """The largest request, an upload."""
    json_body_max_bytes: Count = 16 * MIB
    """The largest JSON request."""

    webhook_secret: Secret = Secret()
    """The secrets that sign webhooks are derived from it, WEBHOOK_SECRET_MIN characters or more; the same in every API and clerk
    process; another one changes them all. Empty: there are no webhooks."""
    sign_in_secret: Secret = Secret()
    """Seals second factors and the secrets of sign-in providers, SIGN_IN_SECRET_MIN characters or more; the same in every API
    process; with another one people enrol anew. Empty: nobody signs in, and management is by keys alone."""
    trusted_proxies: tuple[str, ...] = ()
    """Proxies in front of the API, as blocks such as 10.1.0.0/16: what they say in X-Forwarded-For and X-Forwarded-Proto is
    believed, so that keys restricted to networks see the client's address. In the environment as JSON."""
    egress_networks: tuple[str, ...] = ()
    """Blocks such as 10.1.0.0/16 that URLs named by customers may lead to although they are private, also without TLS: an
    operator's own object store. In the environment as JSON. Whoever has a key can reach what is in them."""

    stripe_api_key: Secret = Secret()
    """Secret or restricted key of the Stripe account that takes payments; empty: none are taken."""
    stripe_webhook_secret: Secret = Secret()
    """What Stripe signs messages to /stripe/webhook with."""
    stripe_url: str = ""
    """Where Stripe is; empty: its own address. Tests have one of their own."""

    pool_min: Count = 2
    """Database connections each process keeps open."""
    pool_max: Count = 8
    statement_timeout_ms: Count = 5000

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_dir: str = ""
    """Folder in which API workers share their metrics; empty: a temporary one."""
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Where dispatch and clerk show their metrics; 0: nowhere."""

    def __post_init__(self) -> None:
        for sentence in _contradictions(self):
            raise SettingsError(sentence)

    @classmethod
    def load(cls, argv_overrides: Mapping[str, object], env: Mapping[str, str] = os.environ, file: Path | None = None) -> Self:
        """Read all sources; a flag whose value is None was not given. Raises SettingsError."""
        values = {**_from_file(file), **_from_environment(env), **_from_flags(argv_overrides)}
        return msgspec.convert(values, cls)

    def require(self, *names: str) -> None:
        """Raise SettingsError unless each named setting is given: what one process needs another may leave empty."""
        for name in names:
            if not getattr(self, name):
                hint = f" or {PREFIX}{name.upper()}_FILE" if _FIELDS[name] is Secret else ""
                raise SettingsError(f"{name} is not set: give {PREFIX}{name.upper()}{hint}, or {name} in the configuration file")

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Build the complete environment of a child process with these settings: `base`, with ours in place of its own.

        Secrets are in it in clear: hand it to a child, never to a log.
        """
        kept = {name: value for name, value in base.items() if not _is_setting(name)}
        return kept | {PREFIX + name.upper(): _as_text(getattr(self, name)) for name in _FIELDS}


def _contradictions(s: Settings) -> Iterator[str]:
    if s.heartbeat_s * 2 >= s.lease_ttl_s:
        yield f"lease_ttl_s ({s.lease_ttl_s}) must exceed twice heartbeat_s ({s.heartbeat_s}): a job outlives one lost heartbeat"
    if s.stall_s > s.attempt_deadline_s:
        yield f"stall_s ({s.stall_s}) must not exceed attempt_deadline_s ({s.attempt_deadline_s})"
    if s.pool_min > s.pool_max:
        yield f"pool_min ({s.pool_min}) must not exceed pool_max ({s.pool_max})"
    if s.json_body_max_bytes > s.request_body_max_bytes:
        larger, smaller = s.json_body_max_bytes, s.request_body_max_bytes
        yield f"json_body_max_bytes ({larger}) must not exceed request_body_max_bytes ({smaller}), which limits every request"
    if s.link_ttl_s > s.artifact_retention_s:
        yield f"link_ttl_s ({s.link_ttl_s}) must not exceed artifact_retention_s ({s.artifact_retention_s}): the file is gone"
    if s.link_secret and len(s.link_secret.reveal()) < LINK_SECRET_MIN:
        yield f"link_secret must have {LINK_SECRET_MIN} characters or more: it signs every artifact link"
    if s.operator_token and len(s.operator_token.reveal()) < OPERATOR_TOKEN_MIN:
        yield f"operator_token must have {OPERATOR_TOKEN_MIN} characters or more: it commands the fleet"
    if s.webhook_secret and len(s.webhook_secret.reveal()) < WEBHOOK_SECRET_MIN:
        yield f"webhook_secret must have {WEBHOOK_SECRET_MIN} characters or more: every webhook's secret is derived from it"
    if s.sign_in_secret and len(s.sign_in_secret.reveal()) < SIGN_IN_SECRET_MIN:
        yield f"sign_in_secret must have {SIGN_IN_SECRET_MIN} characters or more: it seals what people sign in with"
    if s.webhook_secret and not s.link_secret:
        yield "webhook_secret needs link_secret: what is told of a finished job has links to its files"
    if bool(s.s3_access_key) != bool(s.s3_secret_key):
        yield "s3_access_key and s3_secret_key must be given together, or neither: then the machine's own identity is used"
    if s.stripe_webhook_secret and not s.stripe_api_key:
        yield "stripe_webhook_secret is given without stripe_api_key: a message is never believed, what it names is asked for"
    if s.stripe_url.startswith("http://") and not re.match(r"http://(127\.0\.0\.1|localhost)[:/]", s.stripe_url):
        yield "stripe_url has no TLS: use https://; only a Stripe on this machine may do without"
    if s.s3_endpoint.startswith("http://") and not s.s3_allow_http:
        yield "s3_endpoint has no TLS: use https://, or set s3_allow_http = true"
    for name in ("trusted_proxies", "egress_networks"):
        for block in getattr(s, name):
            try:
                ip_network(block)
            except ValueError as cause:
                yield f"{name} must be blocks such as 10.1.0.0/16: {cause}"
    names = [replica.name for replica in s.replicas]
    if len(names) != len(set(names)):
        yield f"replicas must have different names, got {', '.join(sorted(names))}"


_FIELDS: Mapping[str, Any] = types.MappingProxyType(get_type_hints(Settings, include_extras=True))


def _from_file(file: Path | None) -> dict[str, object]:
    if file is None:
        return {}
    try:
        table = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise SettingsError(f"{file} cannot be read as a TOML configuration: {cause}") from cause
    spelled = {name: f"{name} in {file}" for name in table}
    return _read(table, spelled, base=file.parent)


def _from_environment(env: Mapping[str, str]) -> dict[str, object]:
    ours = {variable.removeprefix(PREFIX).lower(): variable for variable in env if _is_setting(variable)}
    texts: dict[str, object] = {name: env[variable] for name, variable in ours.items()}
    for name in texts:
        if get_origin(_FIELDS.get(name)) is tuple:
            try:
                texts[name] = msgspec.json.decode(env[ours[name]])
            except msgspec.DecodeError as cause:
                raise SettingsError(f"{ours[name]} must be a JSON list: {cause}") from cause
    return _read(texts, ours, base=Path())


def _from_flags(overrides: Mapping[str, object]) -> dict[str, object]:
    given = {name: value for name, value in overrides.items() if value is not None}
    return _read(given, {name: "--" + name.replace("_", "-") for name in given}, base=Path())


def _read(values: Mapping[str, object], spelled: Mapping[str, str], base: Path) -> dict[str, object]:
    """Turn one source into values of fields. `spelled`: what the source itself calls each key."""
    read: dict[str, object] = {}
    for key, given in values.items():
        name = key.removesuffix("_file")
        from_file = name != key and _FIELDS.get(name) is Secret
        if not from_file and key not in _FIELDS:
            raise SettingsError(f"{spelled[key]} is no setting{_closest(key)}")
        if from_file and name in values:
            raise SettingsError(f"{spelled[key]} and {spelled[name]} are both given: give one")
        if from_file:
            read[name] = _secret_from(base / str(given), spelled[key])
        else:
            read[key] = _converted(given, _FIELDS[key], spelled[key])
    return read


def _converted(given: object, kind: Any, spelled: str) -> object:  # noqa: ANN401 - a type form has no type before Python 3.14
    if kind is Secret:
        if not isinstance(given, str | Secret):
            raise SettingsError(f"{spelled} must be text")
        return given if isinstance(given, Secret) else Secret(given)
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as cause:
        raise SettingsError(f"{spelled} must be {_accepted(kind, cause)}; got {given!r}") from cause


def _accepted(kind: Any, cause: msgspec.ValidationError) -> str:  # noqa: ANN401 - as above
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    described = [meta.description for meta in get_args(kind)[1:] if isinstance(meta, Meta) and meta.description]
    return described[0] if described else str(cause).removeprefix("Expected ").partition(", got ")[0]


def _secret_from(path: Path, spelled: str) -> Secret:
    try:
        return Secret(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsError(f"{spelled} must be the path of a readable text file: {cause}") from cause


def _closest(key: str) -> str:
    import difflib  # noqa: PLC0415 - only on the way to an error

    found = difflib.get_close_matches(key, _FIELDS, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _is_setting(variable: str) -> bool:
    return variable.startswith(PREFIX) and not variable.startswith(TEST_PREFIX) and variable not in CLIENT_VARIABLES


def _as_text(value: object) -> str:
    match value:
        case Secret():
            return value.reveal()
        case bool():
            return "true" if value else "false"
        case tuple():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
