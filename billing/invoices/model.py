"""Invoices and credit notes as documents; pure. Everything on one is frozen when it is issued."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from billing.kit.apportion import nearest
from billing.plans.calendar import Period
from billing.plans.model import MINOR
from billing.plans.tax import Party, Treatment, tax

Kind = Literal["invoice", "credit_note"]
LineKind = Literal["usage", "minimum", "commitment", "subscription", "pack", "unused", "returned", "rest", "credit"]
Unit = Literal["ms", "image", "one"]


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A line before rounding: `amount_micro` is what the ledger says. `period`: when it was used, if not in the invoice's own."""

    kind: LineKind
    title: str
    amount_micro: int
    quantity: int = 1
    unit: Unit = "one"
    price_micro: int = 0
    period: Period | None = None
    facts: dict[str, int | str] = {}


class Line(Draft, frozen=True, kw_only=True):
    """`amount_minor` is `amount_micro` in minor units, so that lines sum to the total; it is `net_minor` + any tax inside."""

    amount_minor: int
    net_minor: int
    tax_minor: int


class JobOfLine(msgspec.Struct, frozen=True):
    """A job that a line of a document charges, by what it was charged on account, and what came back of that."""

    line: int
    subject_id: UUID
    ordered_at: datetime
    charged_micro: int
    refunded_micro: int


class Sums(msgspec.Struct, frozen=True):
    """`rounding_micro` is what the minor units of all lines are more than their micro-units."""

    lines: tuple[Line, ...]
    net_minor: int
    tax_minor: int
    total_minor: int
    rounding_micro: int


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice, or a credit note, whose amounts are then what is given back. `paid_minor` was paid before it was issued."""

    id: UUID
    kind: Kind
    number: str
    seller_code: str
    seller: Party
    customer_id: UUID
    buyer: Party
    language: str
    currency: str
    time_zone: str
    issued_on: date
    due_on: date
    period: Period | None
    treatment: Treatment
    lines: tuple[Line, ...]
    net_minor: int
    tax_minor: int
    total_minor: int
    paid_minor: int
    rounding_micro: int
    payment: str = ""
    corrects: str = ""
    reason: str = ""

    @property
    def due_minor(self) -> int:
        return self.total_minor - self.paid_minor


def add_up(drafts: list[Draft], treatment: Treatment) -> Sums:
    """Rounds once: lines to minor units by largest remainder, then the tax on their sum."""
    amounts, _ = nearest([draft.amount_micro for draft in drafts], MINOR)
    taxed = tax(amounts, treatment)
    lines = tuple(
        Line(**msgspec.structs.asdict(draft), amount_minor=amount, net_minor=net, tax_minor=part)
        for draft, amount, net, part in zip(drafts, amounts, taxed.net, taxed.tax, strict=True)
    )
    rounding = sum(amounts) * MINOR - sum(draft.amount_micro for draft in drafts)
    return Sums(lines, taxed.net_minor, taxed.tax_minor, taxed.total_minor, rounding)
