"""Ledger structs and account naming; pure. Amounts are in the smallest unit of their asset: micro-units or milliseconds."""

from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Literal
from uuid import UUID

import msgspec

from billing.kit.ids import derived_after, derived_id

Book = Literal["live", "test"]
Part = Literal["seconds", "money", "sponsor"]

_PARTS: dict[str, Part] = {
    "paid": "money", "promo": "money", "credit": "money",
    "pack": "seconds", "subscription": "seconds", "allowance": "seconds",
    "budget": "sponsor",
}  # fmt: skip
"""Which part of a hold a kind of grant pays for."""

TEST_FLOOR = -(2**60)
"""The test book is play money: its wallets may go as far below zero as anyone can test."""

PLATFORM = UUID("00000000-0000-0000-0000-000000000001")
"""The customer that owns our own wallets, such as the budget for free work."""

SECONDS = "SEC:"
"""What the code of every asset of prepaid seconds starts with; the rest is their class."""


class Seconds(msgspec.Struct, frozen=True):
    """Prepaid seconds to draw before money; one that is not covered costs at most `rate_micro_per_s`."""

    wallet_id: UUID
    duration_ms: int
    rate_micro_per_s: int


class Sponsor(msgspec.Struct, frozen=True):
    """Another wallet that must cover `amount_micro` too, all or nothing, where a free allowance is drawn on: a budget of ours."""

    wallet_id: UUID
    amount_micro: int


class HoldRequest(msgspec.Struct, frozen=True):
    """Set at most `amount_micro` of a wallet aside under `id` (the subject's own id, so a subject has one hold)."""

    id: UUID
    wallet_id: UUID
    amount_micro: int
    seconds: Seconds | None = None
    sponsor: Sponsor | None = None

    def digest(self) -> bytes:
        """What was asked for, in sixteen bytes: stored with the hold, so that a replay can be told from a conflict."""
        asked = (self.wallet_id, self.amount_micro, self.seconds, self.sponsor)
        return blake2b(msgspec.json.encode(asked), digest_size=16).digest()


class Held(msgspec.Struct, frozen=True):
    """`starts_at` is set where the sponsor's budget begins later: the work must wait for it."""

    id: UUID
    amount_micro: int
    seconds_ms: int = 0
    starts_at: datetime | None = None


class Draw(msgspec.Struct, frozen=True):
    """One account's part of a hold."""

    account_id: UUID
    amount: int


class Balance(msgspec.Struct, frozen=True):
    """A guarded account and the grant that it is. Spending keeps `posted - held ≥ floor`."""

    account_id: UUID
    wallet_id: UUID
    kind: str
    priority: int
    starts_at: datetime | None
    expires_at: datetime | None
    started: bool
    expired: bool
    issued: int | None
    basis_micro: int
    basis_asset: str | None
    created_at: datetime
    posted: int
    held: int
    floor: int

    @property
    def free(self) -> int:
        return self.posted - self.held - self.floor

    def recognised_micro(self, posted: int) -> int:
        """How much of the basis is earned when `posted` is left: a pure function, so the last draw takes the residue."""
        return self.basis_micro * (self.issued - posted) // self.issued if self.issued else 0


class HoldRow(msgspec.Struct, frozen=True):
    """One stored draw of a hold."""

    id: UUID
    seq: int
    account_id: UUID
    wallet_id: UUID
    kind: str
    book: str
    asset: str
    request: bytes
    amount: int
    captured: int
    refunded: int
    state: str
    starts_at: datetime | None

    @property
    def part(self) -> Part:
        return _PARTS[self.kind]


class OpenHold(msgspec.Struct, frozen=True):
    """A hold as it is stored and locked; `state` tells whether it is still open."""

    id: UUID
    draws: tuple[HoldRow, ...]

    @property
    def state(self) -> str:
        return self.draws[0].state

    @property
    def held_ms(self) -> int:
        return sum(draw.amount for draw in self.draws if draw.part == "seconds")

    @property
    def held_micro(self) -> int:
        return sum(draw.amount for draw in self.draws if draw.part == "money")


class CaptureRequest(msgspec.Struct, frozen=True):
    """Charge hold `id`. `payload` says how the amounts came about and is kept for ever."""

    id: UUID
    seconds_ms: int
    amount_micro: int
    sponsor_micro: int = 0
    payload: dict[str, int | str] = {}


class Captured(msgspec.Struct, frozen=True):
    """What was charged; `promo_micro` is the part of `amount_micro` that promotional credit paid."""

    id: UUID
    amount_micro: int
    transfer_id: UUID
    seconds_ms: int = 0
    promo_micro: int = 0


class Entry(msgspec.Struct, frozen=True):
    """A leg of a transfer; `path` names an account of ours and is empty for a wallet's."""

    account_id: UUID
    asset: str
    amount: int
    path: str = ""


class Released(msgspec.Struct, frozen=True):
    id: UUID


class RefundRequest(msgspec.Struct, frozen=True):
    """Give part of a captured hold back. A hold is refunded once per `reason`, which is an id such as that of a finding.

    `owed_micro`: the most that may go back to an account that is owed; a document has given the rest back already.
    """

    hold_id: UUID
    seconds_ms: int
    amount_micro: int
    reason: str
    owed_micro: int | None = None


class Refunded(msgspec.Struct, frozen=True):
    """What was given back; `promo_micro` is the part of `amount_micro` that went to promotional credit."""

    hold_id: UUID
    amount_micro: int
    transfer_id: UUID
    seconds_ms: int = 0
    promo_micro: int = 0


class StatementLine(msgspec.Struct, frozen=True):
    """One entry of an account as a statement shows it."""

    at: str
    kind: str
    account: str
    amount: int
    asset: str
    subject_id: UUID


class WalletState(msgspec.Struct, frozen=True):
    wallet_id: UUID
    book: str
    asset: str
    posted: int
    held: int


class Finding(msgspec.Struct, frozen=True):
    """A broken invariant: which rule, on what, and by how much."""

    rule: str
    subject: str
    detail: str


@lru_cache(maxsize=16_384)
def wallet_id(customer_id: UUID, book: Book, asset: str) -> UUID:
    return derived_id("wallet", customer_id, f"{book}/{asset}")


def paid_account_id(wallet: UUID) -> UUID:
    return derived_id("account", wallet, "paid")


def credit_account_id(wallet: UUID) -> UUID:
    """Postpaid: what is used and not yet invoiced stands here, below zero."""
    return derived_id("account", wallet, "credit")


def payable_account_id(wallet: UUID) -> UUID:
    """What we owe a payee; nothing is held or charged here."""
    return derived_id("account", wallet, "payable")


def grant_account_id(wallet: UUID, kind: str, source: str) -> UUID:
    return derived_id("account", wallet, f"{kind}/{source}")


@lru_cache(maxsize=4096)
def platform_path(name: str, book: str, asset: str, *dimensions: str) -> str:
    return ":".join((name, book, asset, *dimensions))


@lru_cache(maxsize=4096)
def platform_account_id(name: str, book: str, asset: str, *dimensions: str) -> UUID:
    """An append-only account of ours, such as `revenue:usage` or `asset:clearing`."""
    return derived_id("account", platform_path(name, book, asset, *dimensions))


def capture_transfer_id(hold_id: UUID) -> UUID:
    """A hold can have one capture: its transfer id is derived from it."""
    return derived_after("capture", hold_id)
