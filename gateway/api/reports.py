"""The documents of usage and statements: what billing reports, with the names the API has for it."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from billing.reports.jobs import Page
from billing.reports.model import Ask, JobLine, Movement, UsageRow
from billing.reports.statement import Statement
from gateway.video import public_id

Micro = Annotated[int, Meta(description="Micro-units (10⁻⁶) of the currency.")]
OF_JOBS = ("capture", "refund")
"""Movements whose subject is a job."""


class UsageLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sums of the jobs between `start` and `end`; only what was grouped by is there. Refunds have been taken off.

    `gross_micro` is the price of what was delivered: `granted_micro` of it was paid by promotional credit, `net_micro` by the
    organization's money, the rest by prepaid seconds.
    """

    start: datetime
    end: datetime
    period: str = ""
    organization: UUID | None = None
    project: UUID | None = None
    key: UUID | None = None
    model: str | None = None
    chip: str | None = None
    tier: str | None = None
    resolution: str | None = None
    task: str | None = None
    outcome: str | None = None
    labels: dict[str, str | None] = {}
    currency: str
    jobs: int
    failed_jobs: int
    refunds: int
    requested_ms: int
    delivered_ms: int
    billed_ms: int
    seconds_ms: Annotated[int, Meta(description="Of what is billed, paid by packs, subscriptions and allowances.")]
    images: int
    queue_ms: int
    run_ms: int
    gross_micro: Micro
    granted_micro: Micro
    net_micro: Micro


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """A usage report. Lines come by time, then by group."""

    object: Literal["usage"] = "usage"
    start: datetime
    end: datetime
    time_zone: str
    group_by: tuple[str, ...]
    data: list[UsageLine]


class UsedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job as it was charged, or a refund of it with negative figures."""

    at: datetime
    job: Annotated[str, Meta(pattern="^job_[0-9a-f]{32}$")]
    kind: Literal["charge", "refund"]
    project: UUID
    key: UUID
    model: str
    chip: str
    tier: str
    resolution: str
    task: str
    outcome: str
    labels: dict[str, str]
    end_user: str
    currency: str
    price_version: UUID
    requested_ms: int
    delivered_ms: int
    billed_ms: int
    seconds_ms: int
    images: int
    queue_ms: int
    run_ms: int
    attempts: int
    gross_micro: Micro
    granted_micro: Micro
    net_micro: Micro


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """A page; `next_cursor` is null on the last one."""

    object: Literal["list"] = "list"
    data: list[UsedJob]
    next_cursor: str | None


class MovementLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one event moved, and the balance after it. `job` is there for charges and refunds, `transfer` names the entry."""

    at: datetime
    kind: str
    job: str | None
    transfer: UUID | None
    source: Annotated[str, Meta(description="What was drawn on or filled: paid, promo, credit, pack, subscription, allowance.")]
    amount: int
    balance: int


class StatementDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`opening` + the movements = `closing`, in micro-units, or in milliseconds where the asset is prepaid seconds."""

    object: Literal["statement"] = "statement"
    asset: str
    start: datetime
    end: datetime
    opening: int
    closing: int
    movements: list[MovementLine]


_labels = msgspec.json.Decoder(dict[str, str | None])
_strings = msgspec.json.Decoder(dict[str, str])


def usage_report(want: Ask, rows: list[UsageRow]) -> UsageReport:
    groups = (*([want.step] if want.step else ()), *want.groups, *(f"label:{name}" for name in want.label_groups))
    return UsageReport(
        start=want.period.start,
        end=want.period.end,
        time_zone=want.period.zone.key,
        group_by=groups,
        data=[_usage_line(row) for row in rows],
    )


def _usage_line(row: UsageRow) -> UsageLine:
    fields = msgspec.structs.asdict(row)
    fields["labels"] = _labels.decode(row.labels)
    return UsageLine(**fields)


def job_list(page: Page) -> JobList:
    return JobList(data=[_used_job(row) for row in page.rows], next_cursor=page.next)


def _used_job(row: JobLine) -> UsedJob:
    fields = {name: value for name, value in msgspec.structs.asdict(row).items() if name in UsedJob.__struct_fields__}
    fields["labels"] = _strings.decode(row.labels)
    return UsedJob(job=public_id(row.subject), **fields)


def statement_document(found: Statement) -> StatementDocument:
    return StatementDocument(
        asset=found.asset,
        start=found.start,
        end=found.end,
        opening=found.opening,
        closing=found.closing,
        movements=[_movement(one) for one in found.movements],
    )


def _movement(one: Movement) -> MovementLine:
    job = public_id(one.subject) if one.subject and one.kind in OF_JOBS else None
    return MovementLine(
        at=one.at, kind=one.kind, job=job, transfer=one.transfer, source=one.grant, amount=one.amount, balance=one.balance
    )
