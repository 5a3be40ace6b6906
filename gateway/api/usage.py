"""What was used and charged: GET /v1/usage, /v1/usage/jobs and /v1/statement, as JSON, CSV or Parquet."""

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args

import msgspec
from litestar import Response, get
from litestar.response import Stream

from billing.customers.model import TIME_ZONE_DEFAULT
from billing.customers.register import customers
from billing.errors import ReportInvalid, UnknownWallet
from billing.kit.pool import tenant
from billing.kit.query import Conn
from billing.reports.files import jobs_csv, jobs_parquet, statement_csv, statement_parquet, usage_csv, usage_parquet
from billing.reports.jobs import LIMIT_MAX, jobs
from billing.reports.model import DIMENSIONS, STEPS, Ask, Format, StatementOf, ask
from billing.reports.period import Period, month_of, period_of, zone_of
from billing.reports.statement import statement
from billing.reports.usage import usage
from gateway.access.model import Reader
from gateway.api.reports import JobList, StatementDocument, UsageReport, job_list, statement_document, usage_report
from gateway.context import Gateway
from gateway.edge.caller import HttpRequest, gateway_of, header
from gateway.edge.described import Answer, Described, Parameter, between
from gateway.edge.files import Write, send_file
from gateway.edge.manager import reader
from gateway.edge.query import integer, query_of, single
from gateway.edge.replies import json_reply
from gateway.errors import InvalidRequest, NotFound, UnsupportedField

_FILTERS = ("project", "key", "model", "chip", "tier", "resolution", "task", "outcome")
_MEDIA: Mapping[str, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_FILES = ("text/csv", "application/vnd.apache.parquet")
_encode = msgspec.json.Encoder().encode

_PERIOD = (
    Parameter("month", "A month such as 2026-11, in place of `from` and `to`."),
    Parameter("from", "Where the period begins: 2026-11-01, or a time such as 2026-11-01T08:00:00+08:00."),
    Parameter("to", "Where it ends; this moment is not in it any more."),
    Parameter("time_zone", "Where days begin: an IANA name. Default: the organization's."),
    Parameter("format", "json, csv or parquet; default: what `Accept` names, else json.", Format),
)
_WHICH = (
    *(Parameter(name, f"Only of this {name}; may be given more than once.") for name in _FILTERS),
    Parameter("label", "Only jobs with this label: `label=team=a`. May be given once for each name."),
)
_USAGE = Described(
    tag="Usage",
    scope="usage:read",
    callers=True,
    answers={200: Answer("The report.", UsageReport, files=_FILES)},
    parameters=(
        *_PERIOD,
        Parameter("group_by", f"{', '.join((*STEPS, *DIMENSIONS))}, label:<name>; several with commas."),
        *_WHICH,
    ),
    errors=(InvalidRequest, UnsupportedField),
)
_JOBS = Described(
    tag="Usage",
    scope="usage:read",
    callers=True,
    answers={200: Answer("Jobs and refunds, in the order they were recorded.", JobList, files=_FILES)},
    parameters=(
        *_PERIOD,
        *_WHICH,
        Parameter("cursor", "`next_cursor` of the page before."),
        Parameter("limit", f"At most this many, 1 to {LIMIT_MAX}; default 100. A file has all of them.", between(1, LIMIT_MAX)),
    ),
    errors=(InvalidRequest, UnsupportedField),
)
_STATEMENT = Described(
    tag="Usage",
    scope="usage:read",
    callers=True,
    answers={200: Answer("The statement.", StatementDocument, files=_FILES)},
    parameters=(
        *_PERIOD,
        Parameter("asset", "A currency, or SEC: and a class of prepaid seconds. Default: the organization's currency."),
    ),
    errors=(InvalidRequest, UnsupportedField, NotFound),
)


@get("/v1/usage", operation_id="get_usage", opt={"described": _USAGE})
async def get_usage(request: HttpRequest) -> Response[bytes] | Stream:
    """What the organization used and was charged, by any dimensions: exact, up to this moment.

    The figures of a line are the sums of what /v1/usage/jobs lists for its `start`, `end` and groups.
    """
    caller, values = await reader(request), query_of(request, *_names(_USAGE))
    gateway, form = gateway_of(request), _format(request, values)
    with _named():
        async with tenant(gateway.pool, caller.org_id, readonly=True) as conn:
            want = await _asked(conn, caller, values)
            if form == "json":
                return json_reply(_encode(usage_report(want, await usage(conn, want))))
        write = usage_csv if form == "csv" else usage_parquet
        return await _file(gateway, caller, form, f"usage-{_days(want.period)}", lambda conn, to: write(conn, want, to))


@get("/v1/usage/jobs", operation_id="list_used_jobs", opt={"described": _JOBS})
async def list_used_jobs(request: HttpRequest) -> Response[bytes] | Stream:
    """The jobs and refunds behind a figure of /v1/usage."""
    caller, values = await reader(request), query_of(request, *_names(_JOBS))
    gateway, form = gateway_of(request), _format(request, values)
    limit, cursor = integer(values, "limit", default=100, least=1, most=LIMIT_MAX), single(values, "cursor")
    with _named():
        async with tenant(gateway.pool, caller.org_id, readonly=True) as conn:
            want = await _asked(conn, caller, values)
            if form == "json":
                return json_reply(_encode(job_list(await jobs(conn, want, limit=limit, cursor=cursor))))
        write = jobs_csv if form == "csv" else jobs_parquet
        return await _file(gateway, caller, form, f"jobs-{_days(want.period)}", lambda conn, to: write(conn, want, to))


@get("/v1/statement", operation_id="get_statement", opt={"described": _STATEMENT})
async def get_statement(request: HttpRequest) -> Response[bytes] | Stream:
    """What a wallet of the organization held, every movement with the job it belongs to, and what it held then."""
    caller, values = await reader(request), query_of(request, *_names(_STATEMENT))
    gateway, form = gateway_of(request), _format(request, values)
    with _named():
        async with tenant(gateway.pool, caller.org_id, readonly=True) as conn:
            period = await _period(conn, caller, values)
            of = StatementOf(caller.org_id, _book(caller), single(values, "asset") or caller.currency, period)
            if form == "json":
                return json_reply(_encode(statement_document(await statement(conn, of))))
        write = statement_csv if form == "csv" else statement_parquet
        return await _file(gateway, caller, form, f"statement-{_days(period)}", lambda conn, to: write(conn, of, to))


def _names(described: Described) -> tuple[str, ...]:
    return tuple(parameter.name for parameter in described.parameters)


@contextmanager
def _named() -> Generator[None]:
    """What billing refuses, as the client meets it: with the name of the parameter."""
    try:
        yield
    except ReportInvalid as error:
        raise InvalidRequest(error.detail, param=error.param) from error
    except UnknownWallet as error:
        raise NotFound(f"the organization has no wallet of {error.detail}") from error


def _format(request: HttpRequest, values: dict[str, list[str]]) -> str:
    """Raises InvalidRequest."""
    named = single(values, "format")
    if named is None:
        accepted = header(request, b"accept") or ""
        named = next((form for form, media in _MEDIA.items() if media in accepted), "json")
    if named not in get_args(Format):
        raise InvalidRequest(f"format is json, csv or parquet, not {named!r}", param="format")
    return named


def _book(caller: Reader) -> Literal["live", "test"]:
    return "live" if caller.livemode else "test"


async def _asked(conn: Conn, caller: Reader, values: dict[str, list[str]]) -> Ask:
    """The caller's own organization, whatever else is asked for. Raises ReportInvalid, InvalidRequest."""
    filters = {name: values[name] for name in _FILTERS if name in values}
    for label in values.get("label", []):
        name, equals, value = label.partition("=")
        if not name or not equals:
            raise ReportInvalid(f"label is name=value, not {label!r}", "label")
        filters.setdefault(f"label:{name}", []).append(value)
    filters["organization"] = [str(caller.org_id)]
    groups = [group for given in values.get("group_by", []) for group in given.split(",")]
    return ask(await _period(conn, caller, values), groups, filters, book=_book(caller))


async def _period(conn: Conn, caller: Reader, values: dict[str, list[str]]) -> Period:
    """Raises ReportInvalid, InvalidRequest."""
    month, start, end, zone = (single(values, name) for name in ("month", "from", "to", "time_zone"))
    if zone is None:
        found = (await customers(conn, [caller.org_id])).get(caller.org_id)
        zone = found.time_zone if found else TIME_ZONE_DEFAULT
    if month is not None and start is None and end is None:
        return month_of(month, zone_of(zone))
    if month is None and start is not None and end is not None:
        return period_of(start, end, zone_of(zone))
    raise ReportInvalid("say either month, or from and to", "month")


def _days(period: Period) -> str:
    return f"{period.start.astimezone(period.zone):%Y%m%d}-{period.end.astimezone(period.zone):%Y%m%d}"


async def _file(
    gateway: Gateway, caller: Reader, form: str, name: str, write: Callable[[Conn, Write], Awaitable[None]]
) -> Stream:
    """Raises ReportInvalid, UnknownWallet, Unavailable."""

    async def produce(to: Write) -> None:
        async with tenant(gateway.pool, caller.org_id, isolation="repeatable_read", readonly=True) as conn:
            await write(conn, to)

    return await send_file(f"{name}.{form}", _MEDIA[form], produce)
