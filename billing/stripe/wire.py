"""What is read of Stripe's objects; pure. Amounts are in minor units, times in Unix seconds, currencies in small letters."""

from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

Metadata: TypeAlias = dict[str, str]

PAYMENT, REFUND, PAYOUT = "tallylight_payment", "tallylight_refund", "tallylight_payout"
"""Under which names our own ids travel in the metadata of what we create."""


class Transaction(msgspec.Struct, frozen=True):
    """A movement of Stripe's balance. `source` is the charge, refund, dispute or payout that made it."""

    id: str
    type: str
    currency: str
    amount: int
    fee: int
    created: int
    source: str | None = None
    exchange_rate: float | None = None
    description: str | None = None


class Charge(msgspec.Struct, frozen=True):
    """`balance_transaction` is null until Stripe has booked it."""

    id: str
    payment_intent: str | None = None
    balance_transaction: Transaction | str | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why the last attempt to pay did not succeed."""

    code: str | None = None
    decline_code: str | None = None
    message: str | None = None


class Intent(msgspec.Struct, frozen=True):
    """A PaymentIntent."""

    id: str
    status: str
    amount: int
    currency: str
    amount_received: int = 0
    customer: str | None = None
    metadata: Metadata = {}
    client_secret: str | None = None
    latest_charge: Charge | str | None = None
    last_payment_error: Failure | None = None
    cancellation_reason: str | None = None

    @property
    def payment_id(self) -> UUID | None:
        return own_id(self.metadata, PAYMENT)

    @property
    def charge(self) -> Charge | None:
        return self.latest_charge if isinstance(self.latest_charge, Charge) else None

    @property
    def failure(self) -> str:
        """One word of why it is not paid."""
        last = self.last_payment_error
        return (last and (last.decline_code or last.code)) or self.cancellation_reason or self.status


class Checkout(msgspec.Struct, frozen=True):
    """A Checkout session. `url` is null once it is over."""

    id: str
    status: Literal["open", "complete", "expired"] | None = None
    url: str | None = None
    mode: str | None = None
    payment_intent: str | None = None
    customer: str | None = None
    metadata: Metadata | None = None

    @property
    def payment_id(self) -> UUID | None:
        return own_id(self.metadata or {}, PAYMENT)


class Refund(msgspec.Struct, frozen=True):
    """Either of the transactions may be missing at first: the money has left with one and come back with the other."""

    id: str
    amount: int
    currency: str
    status: str | None = None
    payment_intent: str | None = None
    metadata: Metadata | None = None
    balance_transaction: Transaction | str | None = None
    failure_balance_transaction: Transaction | str | None = None
    failure_reason: str | None = None
    reason: str | None = None

    @property
    def refund_id(self) -> UUID | None:
        return own_id(self.metadata or {}, REFUND)


class Dispute(msgspec.Struct, frozen=True):
    id: str
    amount: int
    currency: str
    status: str
    reason: str
    payment_intent: str | None = None
    balance_transactions: tuple[Transaction, ...] = ()


class Requirements(msgspec.Struct, frozen=True):
    """What Stripe still asks for; `disabled_reason` where that is in the way."""

    currently_due: tuple[str, ...] | None = None
    disabled_reason: str | None = None


class Account(msgspec.Struct, frozen=True):
    """A connected account. It may be paid once it may receive transfers and have them paid to its bank."""

    id: str
    payouts_enabled: bool = False
    capabilities: dict[str, str] = {}
    requirements: Requirements | None = None

    @property
    def verified(self) -> bool:
        return self.payouts_enabled and self.capabilities.get("transfers") == "active"

    @property
    def missing(self) -> tuple[str, ...]:
        """What it lacks, in Stripe's words."""
        due = (self.requirements and self.requirements.currently_due) or ()
        reason = self.requirements and self.requirements.disabled_reason
        return due or ((reason,) if reason else ())


class Reversal(msgspec.Struct, frozen=True):
    """What was taken back of a transfer."""

    id: str
    amount: int


class Reversals(msgspec.Struct, frozen=True):
    """The newest ten."""

    data: tuple[Reversal, ...] = ()
    has_more: bool = False


class Transfer(msgspec.Struct, frozen=True):
    """Money for a connected account, which has it at once."""

    id: str
    amount: int
    currency: str
    destination: str | None = None
    metadata: Metadata = {}
    reversals: Reversals = Reversals()

    @property
    def payout_id(self) -> UUID | None:
        return own_id(self.metadata, PAYOUT)


class Funds(msgspec.Struct, frozen=True):
    currency: str
    amount: int


class Balance(msgspec.Struct, frozen=True):
    """What of the platform's balance can be paid now."""

    available: tuple[Funds, ...]


class Moved(msgspec.Struct, frozen=True):
    """A movement with what made it, of which this is read where it is a reversal."""

    id: str
    source: "TransferReversal | None" = None


class TransferReversal(msgspec.Struct, frozen=True):
    id: str
    transfer: str | None = None


class Card(msgspec.Struct, frozen=True):
    brand: str
    last4: str
    exp_month: int
    exp_year: int


class Method(msgspec.Struct, frozen=True):
    """A PaymentMethod that is attached to a customer."""

    id: str
    type: str
    customer: str | None = None
    card: Card | None = None

    @property
    def label(self) -> str:
        return f"{self.card.brand} ···· {self.card.last4}" if self.card else self.type

    @property
    def expires(self) -> str:
        return f"{self.card.exp_year:04d}-{self.card.exp_month:02d}" if self.card else ""


def own_id(metadata: Metadata, name: str) -> UUID | None:
    """The id of ours that metadata carries; None where others wrote there."""
    try:
        return UUID(metadata[name])
    except (KeyError, ValueError):
        return None
