"""Payments, refunds and disputes, and the states they go through; pure."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from billing.kit.ids import derived_id
from billing.plans.model import MINOR

Purpose: TypeAlias = Literal["top_up", "recharge", "pack", "subscription", "invoice"]
Flow: TypeAlias = Literal["intent", "checkout", "saved"]
State: TypeAlias = Literal["created", "open", "succeeded", "failed"]
DisputeState: TypeAlias = Literal["open", "won", "lost"]
Booked: TypeAlias = Literal["wallet", "receivable"]
MethodKind: TypeAlias = Literal["card", "alipay", "wechat_pay"]

TRANSITIONS: dict[State, tuple[State, ...]] = {
    "created": ("open", "succeeded", "failed"),
    "open": ("succeeded", "failed"),
    "failed": ("succeeded",),
    "succeeded": (),
}
"""A payment is noted, known to Stripe, and then paid or given up. Money that arrives all the same is always booked."""

AMOUNT_MINOR_MAX = 99_999_999
"""The largest amount that Stripe takes at once."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be paid and how. `subject` names the pack, plan or invoice, whose price is then the amount.

    intent: the customer's own page confirms it. checkout: a page of Stripe's. saved: `methods` is one saved method, charged
    while the customer is away.
    """

    purpose: Purpose = "top_up"
    subject: str = ""
    amount_minor: Annotated[int, Meta(ge=0, le=AMOUNT_MINOR_MAX)] = 0
    flow: Flow = "checkout"
    methods: tuple[str, ...] = ("card",)
    return_url: str = ""
    saves: bool = False


class Payment(msgspec.Struct, frozen=True):
    """A payment that was asked for. `booked` is where its money went; `refused`: why it did not buy what it was for."""

    id: UUID
    customer_id: UUID
    purpose: Purpose
    subject: str
    flow: Flow
    methods: list[str]
    currency: str
    amount_minor: int
    return_url: str
    saves: bool
    state: State
    intent_id: str | None
    session_id: str | None
    charge_id: str | None
    received_minor: int
    transfer_id: UUID | None
    booked: Booked | None
    failure: str
    refused: str
    created_at: datetime
    ended_at: datetime | None
    tries: int

    @property
    def amount_micro(self) -> int:
        return self.amount_minor * MINOR


class PaymentRefund(msgspec.Struct, frozen=True):
    """Money of a payment that is given back. `ours`: asked for here and not at Stripe; `gone`: it has left Stripe."""

    id: UUID
    payment_id: UUID
    amount_minor: int
    reason: str
    ours: bool
    state: State
    stripe_id: str | None
    gone: bool
    created_at: datetime
    tries: int


class Payer(msgspec.Struct, frozen=True):
    """A customer as Stripe knows it, and how it wants to pay."""

    customer_id: UUID
    stripe_id: str | None
    lost: int
    told: bytes
    tax_id_state: str
    method_id: str | None
    collects: Literal["send", "charge"]
    threshold_micro: int | None
    recharge_minor: int | None
    month_max_minor: int | None
    return_url: str
    paused: str


class SavedMethod(msgspec.Struct, frozen=True):
    """What a customer has saved, as people see it."""

    id: str
    kind: str
    label: str
    expires: str


class Started(msgspec.Struct, frozen=True):
    """A payment and what the customer needs to go on with it: a secret for its own page, or the address of Stripe's."""

    payment: Payment
    client_secret: str | None = None
    url: str | None = None


_UNION = frozenset((
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MT",
    "NL", "PL", "PT", "RO", "SE", "SI", "SK",
))  # fmt: skip
_TAX_IDS = {
    "AU": "au_abn", "CA": "ca_bn", "CH": "ch_vat", "CN": "cn_tin", "GB": "gb_vat", "HK": "hk_br", "IN": "in_gst", "JP": "jp_cn",
    "KR": "kr_brn", "NO": "no_vat", "NZ": "nz_gst", "SG": "sg_gst", "TW": "tw_vat", "US": "us_ein",
}  # fmt: skip


def tax_id_kind(country: str) -> str | None:
    """What Stripe calls a tax number of that country; None where it knows none of ours."""
    return "eu_vat" if country in _UNION else _TAX_IDS.get(country)


def payment_id(customer_id: UUID, source: str) -> UUID:
    return derived_id("stripe_payment", customer_id, source)


def refund_id(payment: UUID, source: str) -> UUID:
    return derived_id("stripe_refund", payment, source)


def key_of(what: str, id: UUID | str) -> str:
    """The idempotency key of a request: the same for ever, so that sending it again is the same request."""
    return f"tallylight-{what}-{id}"
