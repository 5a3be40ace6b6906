"""Payees, agreements, statements and counts; pure. Amounts are micro-units, shares are millionths (ppm)."""

import re
from collections.abc import Sequence
from datetime import date, datetime
from hashlib import sha256
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from billing.kit.apportion import apportion
from billing.kit.ids import derived_id

WHOLE_PPM = 1_000_000
PROBLEMS_MAX = 100
AMOUNT_MICRO_MAX = 10**15
NETWORK = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
"""Names of networks and pools: they become part of accounts' names."""

IncomeKind: TypeAlias = Literal["ad", "drama"]
PayoutState: TypeAlias = Literal["due", "sent", "paid", "failed"]
Waiting: TypeAlias = Literal["", "held", "destination", "verification", "balance"]
PAYOUT_CHANGES: dict[PayoutState, tuple[PayoutState, ...]] = {
    "due": ("sent", "failed"),
    "sent": ("paid", "failed"),
    "paid": (),
    "failed": (),
}


class Payee(msgspec.Struct, frozen=True):
    """Somebody we owe, on a payable account of the ledger.

    `connected`: it is paid by transfers to its account at Stripe, who says whether it is `verified`, and in `requirements`
    what is missing. `held`: why nothing is sent to it. `short_since`: it waits until Stripe's balance covers what it is owed.
    """

    id: UUID
    reference: str
    name: str
    currency: str
    threshold_micro: int
    verified: bool
    destination: str | None
    connected: bool
    requirements: list[str]
    held: str | None
    short_since: datetime | None
    customer_id: UUID | None
    version: int

    @property
    def waits_for(self) -> Waiting:
        """Why it is not paid whatever it is owed, in a word; empty where only the threshold is in the way."""
        if self.held is not None:
            return "held"
        if self.destination is None:
            return "destination"
        if not self.verified:
            return "verification"
        return "balance" if self.short_since is not None else ""


class PayeeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different; what is not given stays. `held`: why nothing is sent to it from now on; null lets it go on.
    `customer_id`: whose organization reads its statements.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    threshold_micro: Annotated[int, Meta(ge=1, le=10**15)] | UnsetType = UNSET
    verified: bool | UnsetType = UNSET
    destination: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType | None = UNSET
    held: Annotated[str, Meta(min_length=1, max_length=500)] | UnsetType | None = UNSET
    customer_id: UUID | UnsetType | None = UNSET


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payee's part of an income."""

    payee: UUID
    ppm: int


class Agreement(msgspec.Struct, frozen=True):
    """How a subject's income is split from a day on; what the parties do not get is the platform's. No parties: it has ended."""

    id: UUID
    subject: str
    kind: IncomeKind
    currency: str
    effective_on: date
    parties: tuple[Party, ...] | None


class IncomeRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a statement. `id` is the network's own; a row below zero `takes_back` part of an earlier one, by its id."""

    id: str
    subject: str
    occurred_on: date
    currency: str
    amount_micro: int
    takes_back: str | None = None


class IncomeStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a network says it owes us for a period; `reference` is its name of the statement."""

    network: str
    reference: str
    currency: str
    total_micro: int
    rows: tuple[IncomeRow, ...]

    @property
    def id(self) -> UUID:
        return statement_id(self.network, self.reference)

    def digest(self) -> bytes:
        return sha256(msgspec.json.encode(self)).digest()

    def row_id(self, row: str) -> UUID:
        return derived_id("income", f"{self.network}/{row}")


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a row; row 0 is the file as a whole."""

    row: int
    what: str


class ViewPool(msgspec.Struct, frozen=True):
    """What creators share of a period, by views. `closed_at` is set once it was shared."""

    id: UUID
    name: str
    starts_on: date
    ends_on: date
    currency: str
    pool_micro: int
    closes_at: datetime
    closed_at: datetime | None


class Payout(msgspec.Struct, frozen=True):
    """`connected`: it is a transfer at Stripe, `outside_id` its id there. `reversed_micro` came back after it was paid."""

    id: UUID
    payee_id: UUID
    currency: str
    amount_micro: int
    destination: str
    state: PayoutState
    outside_id: str | None
    reason: str | None
    created_at: datetime
    ended_at: datetime | None
    connected: bool
    reversed_micro: int


class Accrual(msgspec.Struct, frozen=True):
    """What a payee got of an income, about a subject, or of a pool's revision; below zero where it gave back."""

    id: UUID
    created_at: datetime
    amount_micro: int
    basis: str
    subject: str | None
    pool_id: UUID | None
    revision: int | None


class TakenIn(msgspec.Struct, frozen=True):
    """A statement as it was taken in; `settled`: the network has paid it."""

    id: UUID
    network: str
    reference: str
    currency: str
    total_micro: int
    settled: bool
    created_at: datetime
    rows: int


def statement_id(network: str, reference: str) -> UUID:
    return derived_id("income_statement", f"{network}/{reference}")


def split(amount_micro: int, parties: Sequence[Party]) -> list[int]:
    """What each party gets of an income ≥ 0, then what the platform keeps: they sum to it, by largest remainder."""
    return apportion(amount_micro, [*(party.ppm for party in parties), WHOLE_PPM - sum(party.ppm for party in parties)])


def split_back(amount_micro: int, taken_micro: int, more_micro: int, parties: Sequence[Party]) -> list[int]:
    """What each gives back when `more_micro` of an income is taken back, of which `taken_micro` was before.

    It is the difference of what they had and what is left to them, so that taking all back in any steps leaves nobody anything.
    A part may be below zero by the one unit that rounding moves to it.
    """
    had = split(amount_micro - taken_micro, parties)
    left = split(amount_micro - taken_micro - more_micro, parties)
    return [before - after for before, after in zip(had, left, strict=True)]


def check_parties(parties: Sequence[Party]) -> str | None:
    """What is wrong with them, if anything."""
    if not parties:
        return "an agreement has at least one party"
    if len({party.payee for party in parties}) != len(parties):
        return "a payee is a party once"
    if any(type(party.ppm) is not int or not 0 < party.ppm <= WHOLE_PPM for party in parties):
        return f"a share is 1 to {WHOLE_PPM} millionths"
    if sum(party.ppm for party in parties) > WHOLE_PPM:
        return "the shares come to more than the whole"
    return None
