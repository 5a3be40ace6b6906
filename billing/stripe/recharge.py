"""Recharge wallets that run low, up to what the customer allows in a month; and stop, with a word, where that fails."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from billing.kit.query import Conn
from billing.plans.events import tell
from billing.stripe import sql
from billing.stripe.model import AMOUNT_MINOR_MAX, Payer, Payment, payment_id
from billing.stripe.sql import LowWallet

BY_HAND = "authentication_required"
"""What a bank says that wants to see its customer."""


class Recharge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When less than `threshold_micro` is left, `amount_minor` is charged, up to `month_max_minor` in a month."""

    threshold_micro: Annotated[int, Meta(ge=0, le=10**15)]
    amount_minor: Annotated[int, Meta(ge=1, le=AMOUNT_MINOR_MAX)]
    month_max_minor: Annotated[int, Meta(ge=1, le=10**11)]


async def set_paying(
    conn: Conn, customer_id: UUID, *, collects: Literal["send", "charge"], recharge: Recharge | None, return_url: str
) -> Payer:
    """How the customer pays from now on; what was paused goes on. The customer must be known."""
    await sql.ADD_PAYER.run(conn, customer_id)
    await sql.PAYER_PAYS.run(
        conn, customer_id, collects, recharge and recharge.threshold_micro, recharge and recharge.amount_minor,
        recharge and recharge.month_max_minor, return_url,
    )  # fmt: skip
    return await sql.PAYER.one(conn, customer_id)


async def paying(conn: Conn, customer_id: UUID) -> Payer:
    """How the customer pays. The customer must be known."""
    await sql.ADD_PAYER.run(conn, customer_id)
    return await sql.PAYER.one(conn, customer_id)


async def note_recharges(conn: Conn, limit: int = 100) -> int:
    """Notes a payment for each wallet that has too little left, in the caller's transaction. Returns how many. A janitor's work.

    One at a time for each customer; safe to run twice and on two machines.
    """
    noted = 0
    for low in await sql.LOCK_LOW_WALLETS.all(conn, limit):
        if low.month_minor + low.recharge_minor > low.month_max_minor:
            facts = {"reason": "month_max", "month": low.month, "month_max_minor": low.month_max_minor, "currency": low.currency}
            await tell(conn, "recharge.paused", f"{low.customer_id}/{low.month}/{low.month_max_minor}", low.customer_id, facts)
            continue
        await _note(conn, low)
        noted += 1
    return noted


async def recharge_failed(conn: Conn, payment: Payment, reason: str) -> None:
    """What follows from a recharge that did not succeed: a page, once, where the bank wants its customer; else it stops."""
    if reason == BY_HAND and payment.flow == "saved":
        by_hand = payment_id(payment.customer_id, f"recharge/{payment.id}/by_hand")
        payer = await sql.PAYER.one(conn, payment.customer_id)
        await sql.ADD_PAYMENT.run(
            conn, by_hand, payment.customer_id, "recharge", "", "checkout", ["card"], payment.currency, payment.amount_minor,
            payer.return_url, False,
        )  # fmt: skip
        return
    if await sql.PAUSE.run(conn, payment.customer_id, reason):
        facts = {"reason": reason, "currency": payment.currency, "amount_minor": payment.amount_minor}
        await tell(conn, "recharge.paused", str(payment.id), payment.customer_id, facts)


async def _note(conn: Conn, low: LowWallet) -> None:
    await sql.ADD_PAYMENT.run(
        conn, payment_id(low.customer_id, f"recharge/{low.nth}"), low.customer_id, "recharge", "", "saved", [low.method_id],
        low.currency, low.recharge_minor, low.return_url, False,
    )  # fmt: skip
