"""What was used and charged: GET /v1/usage, /v1/usage/jobs and /v1/statement, as JSON, CSV or Parquet."""

from collections.abc import Mapping
from typing import get_args
from zoneinfo import ZoneInfo

import msgspec
from litestar import Response, get
from litestar.response import Stream

from billing.customers.model import TIME_ZONE_DEFAULT
from billing.customers.register import customers
from billing.errors import ReportInvalid, UnknownWallet
from billing.kit.query import Conn
from billing.reports.files import (
    jobs_csv,
    jobs_parquet,
    statement_csv,
    statement_parquet,
    usage_csv,
    usage_parquet,
)
from billing.reports.jobs import LIMIT_MAX, jobs
from billing.reports.model import Ask, Format, StatementOf, ask
from billing.reports.parquet import require_parquet
from billing.reports.period import Period, buckets, month_of, period_of, zone_of
from billing.reports.statement import statement
from billing.reports.usage import usage
from gateway.access.model import Caller
from gateway.api.reports import JobList, StatementDocument, UsageReport, job_list, statement_document, usage_report
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, header
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.files import Write, send_file
from gateway.edge.query import integer, query_of, single
from gateway.edge.replies import json_reply
from gateway.errors import InvalidRequest, NotFound

_FILTERS = ("project", "key", "model", "chip", "tier", "resolution", "task", "outcome")
_MEDIA: Mapping[str, str] = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_ANSWERED = ("application/json", "text/csv", "application/vnd.apache.parquet")
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
    answers={200: Answer("The report.", UsageReport, media=_ANSWERED)},
    parameters=(
        *_PERIOD,
        Parameter("group_by", "month, day, hour, organization, project, key, model, chip, tier, resolution, task, outcome, label:<name>; several with commas."),
        *_WHICH,
    ),
    errors=(InvalidRequest,),
)
_JOBS = Described(
    tag="Usage",
    answers={200: Answer("Jobs and refunds, in the order they were recorded.", JobList, media=_ANSWERED)},
    parameters=(
        *_PERIOD,
        *_WHICH,
        Parameter("cursor", "`next_cursor` of the page before."),
        Parameter("limit", f"At most this many, 1 to {LIMIT_MAX}; default 100. A file has all of them.", int),
    ),
    errors=(InvalidRequest,),
)
_STATEMENT = Described(
    tag="Usage",
    answers={200: Answer("The statement.", StatementDocument, media=_ANSWERED)},
    parameters=(*_PERIOD, Parameter("asset", "The wallet's currency, or SEC: and a class of prepaid seconds. Default: the organization's currency.")),
    errors=(InvalidRequest, NotFound),
)  # fmt: skip


@get("/v1/usage", operation_id="get_usage", opt={"described": _USAGE})
async def get_usage(request: HttpRequest) -> Response[bytes] | Stream:
    """What the organization used and was charged, by any dimensions: exact, up to this moment.

    The figures of a line are the sums of the jobs that /v1/usage/jobs lists for its `start`, `end` and groups.
    """
    caller = await authenticate(request)
    values = query_of(request, *_names(_USAGE))
    file = _format(request, values)
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        want = await _asked(conn, caller, values)
        if file == "json":
            async with conn.transaction(readonly=True):
                return json_reply(_encode(usage_report(want, await _refusing(usage(conn, want)))))
    return await _file(request, file, f"usage-{_days(want.period)}", want, {"csv": usage_csv, "parquet": usage_parquet}[file])
