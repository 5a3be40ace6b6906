"""What is asked of a report and what it answers; pure."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Literal, get_args
from uuid import UUID

import msgspec

from billing.errors import ReportInvalid
from billing.reports.period import Period, Step

Format = Literal["json", "csv", "parquet"]
Dimension = Literal["organization", "project", "key", "model", "chip", "tier", "resolution", "task", "outcome"]

STEPS: tuple[str, ...] = get_args(Step)
DIMENSIONS: tuple[str, ...] = get_args(Dimension)
IDS = ("organization", "project", "key")
LABEL = "label:"
ROWS_MAX = 100_000
"""How many rows a report has at most where it is not streamed."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A period, what to group by and what to leave out. No filter of a dimension means all of it."""

    period: Period
    book: Literal["live", "test"] = "live"
    step: Step | None = None
    groups: tuple[str, ...] = ()
    label_groups: tuple[str, ...] = ()
    ids: Mapping[str, tuple[UUID, ...]] = {}
    names: Mapping[str, tuple[str, ...]] = {}
    labels: Mapping[str, str] = {}


class UsageRow(msgspec.Struct, frozen=True):
    """One line of a usage report. What was not grouped by is null; `start` and `end` bound the jobs it stands for.

    `labels` is a JSON object of the labels that were grouped by.
    """

    start: datetime
    end: datetime
    period: str
    organization: UUID | None
    project: UUID | None
    key: UUID | None
    model: str | None
    chip: str | None
    tier: str | None
    resolution: str | None
    task: str | None
    outcome: str | None
    labels: bytes
    currency: str
    jobs: int
    failed_jobs: int
    refunds: int
    requested_ms: int
    delivered_ms: int
    billed_ms: int
    seconds_ms: int
    images: int
    queue_ms: int
    run_ms: int
    gross_micro: int
    granted_micro: int
    net_micro: int


class MarginRow(msgspec.Struct, frozen=True):
    """Revenue and compute cost, each in its own currency. `revenue_micro` leaves out what promotional money paid."""

    start: datetime
    end: datetime
    period: str
    organization: UUID | None
    model: str | None
    chip: str | None
    currency: str
    cost_currency: str
    jobs: int
    failed_jobs: int
    refunds: int
    revenue_micro: int
    cost_micro: int


class TrueUp(msgspec.Struct, frozen=True):
    """What suppliers billed for a pool's month beyond what its attempts were accrued at: no cost of any one job."""

    pool: str
    month: date
    currency: str
    amount_micro: int


class JobLine(msgspec.Struct, frozen=True):
    """One usage row: a job, or a refund with negative figures."""

    at: datetime
    subject: UUID
    kind: str
    organization: UUID
    project: UUID
    key: UUID
    model: str
    chip: str
    tier: str
    resolution: str
    task: str
    outcome: str
    labels: bytes
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
    gross_micro: int
    granted_micro: int
    net_micro: int
    series: UUID


class StatementOf(msgspec.Struct, frozen=True):
    """A wallet and a period. The asset is a currency, or `SEC:` and a class of prepaid seconds."""

    customer_id: UUID
    book: Literal["live", "test"]
    asset: str
    period: Period


class Movement(msgspec.Struct, frozen=True):
    """One line of a statement: what a transfer moved on the wallet's accounts of one kind, and the balance after it.

    The first line is the opening, the last the closing balance; they have no transfer.
    """

    at: datetime
    kind: str
    subject: UUID | None
    transfer: UUID | None
    grant: str
    amount: int
    balance: int


def ask(period: Period, groups: Sequence[str], filters: Mapping[str, Sequence[str]], *, book: Literal["live", "test"]) -> Ask:
    """Reads what a client wrote: `groups` such as day, model, label:team; `filters` by dimension. Raises ReportInvalid."""
    step: Step | None = None
    plain: list[str] = []
    labels: list[str] = []
    for group in groups:
        if group in ("month", "day", "hour"):
            if step is not None and step != group:
                raise ReportInvalid(f"group_by takes one of {step} and {group}", "group_by")
            step = group
        elif group in DIMENSIONS:
            plain.append(group)
        elif group.startswith(LABEL) and len(group) > len(LABEL):
            labels.append(group.removeprefix(LABEL))
        else:
            known = ", ".join((*STEPS, *DIMENSIONS, "label:<name>"))
            raise ReportInvalid(f"there is no group {group!r}; there are: {known}", "group_by")
    ids: dict[str, tuple[UUID, ...]] = {}
    names: dict[str, tuple[str, ...]] = {}
    wanted: dict[str, str] = {}
    for name, values in filters.items():
        if name in IDS:
            ids[name] = tuple(_id(name, value) for value in values)
        elif name in DIMENSIONS:
            names[name] = tuple(values)
        elif name.startswith(LABEL) and len(name) > len(LABEL):
            if len(values) != 1:
                raise ReportInvalid(f"{name} takes one value", name)
            wanted[name.removeprefix(LABEL)] = values[0]
        else:
            raise ReportInvalid(f"there is no filter {name!r}; there are: {', '.join((*DIMENSIONS, 'label:<name>'))}", name)
    return Ask(
        period=period, book=book, step=step, groups=tuple(dict.fromkeys(plain)), label_groups=tuple(dict.fromkeys(labels)),
        ids=ids, names=names, labels=wanted,
    )  # fmt: skip


def _id(name: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ReportInvalid(f"{name} must be an id, not {text!r}", name) from error
