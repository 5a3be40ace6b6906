"""What settles an invoice beside Stripe, and suppliers' bills; pure."""

from datetime import date, datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

Kind: TypeAlias = Literal["wire", "write_off"]


class Settlement(msgspec.Struct, frozen=True):
    """A wire for an invoice, or what is given up of one. `invoice_minor` of it is the invoice's, the rest is in the wallet."""

    id: UUID
    kind: Kind
    reference: str
    customer_id: UUID
    invoice_id: UUID
    currency: str
    amount_minor: int
    invoice_minor: int
    reason: str
    created_at: datetime
    undone_at: datetime | None = None
    undone_because: str | None = None

    @property
    def wallet_minor(self) -> int:
        return self.amount_minor - self.invoice_minor


class SupplierBill(msgspec.Struct, frozen=True):
    """All that was billed for a pool's month so far; what its attempts had been accrued at, and what this bill has added."""

    id: UUID
    pool: str
    month: date
    reference: str
    currency: str
    billed_micro: int
    accrued_micro: int
    booked_micro: int
    created_at: datetime
