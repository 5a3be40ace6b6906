"""Ledger structs and account naming; pure."""

from typing import Literal
from uuid import UUID

import msgspec

from billing.kit.ids import derived_id

Book = Literal["live", "test"]

TEST_FLOOR_MICRO = -(2**60)
"""The test book is play money: its wallets may go as far below zero as anyone can test."""


class Balance(msgspec.Struct, frozen=True):
    """A guarded account. Invariant: `posted - held ≥ floor`."""

    account_id: UUID
    wallet_id: UUID
    posted_micro: int
    held_micro: int
    floor_micro: int

    @property
    def free_micro(self) -> int:
        return self.posted_micro - self.held_micro - self.floor_micro


class HoldRequest(msgspec.Struct, frozen=True):
    """Set `amount_micro` of a wallet aside under `id` (the subject's own id, so a subject has one hold)."""

    id: UUID
    wallet_id: UUID
    amount_micro: int


class Held(msgspec.Struct, frozen=True):
    id: UUID
    amount_micro: int


class Draw(msgspec.Struct, frozen=True):
    """One account's part of a hold."""

    account_id: UUID
    amount_micro: int


class CaptureRequest(msgspec.Struct, frozen=True):
    """Charge `amount_micro` of hold `id` to revenue. `payload` says how the amount came about and is kept for ever."""

    id: UUID
    amount_micro: int
    revenue_account_id: UUID
    payload: dict[str, int | str]


class Captured(msgspec.Struct, frozen=True):
    id: UUID
    amount_micro: int
    transfer_id: UUID


class Released(msgspec.Struct, frozen=True):
    id: UUID


class Added(msgspec.Struct, frozen=True):
    id: UUID


class HoldRow(msgspec.Struct, frozen=True):
    """One stored draw of a hold."""

    id: UUID
    seq: int
    account_id: UUID
    asset: str
    amount_micro: int
    captured_micro: int
    state: str


class StatementLine(msgspec.Struct, frozen=True):
    """One entry of an account as a statement shows it."""

    at: str
    kind: str
    account: str
    amount_micro: int
    asset: str
    subject_id: UUID


class WalletState(msgspec.Struct, frozen=True):
    wallet_id: UUID
    book: str
    asset: str
    posted_micro: int
    held_micro: int


class Finding(msgspec.Struct, frozen=True):
    """A broken invariant: which rule, on what, and by how much."""

    rule: str
    subject: str
    detail: str


def wallet_id(customer_id: UUID, book: Book, asset: str) -> UUID:
    return derived_id("wallet", customer_id, f"{book}/{asset}")


def paid_account_id(wallet: UUID) -> UUID:
    return derived_id("account", wallet, "paid")


def platform_account_id(name: str, book: str, asset: str) -> UUID:
    """An append-only account of ours, such as `revenue:usage` or `asset:clearing`."""
    return derived_id("account", name, f"{book}/{asset}")


def capture_transfer_id(hold_id: UUID) -> UUID:
    """A hold can have one capture: its transfer id is derived from it."""
    return derived_id("capture", hold_id)
