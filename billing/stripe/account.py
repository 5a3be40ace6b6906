"""Stripe's own account: every movement of its balance, stored as Stripe lists it and booked here once.

What a customer paid or got back is booked by the verbs of payments; what is left for this page is what Stripe keeps (fees),
what it makes of the money (another currency), and what it pays to our bank.
"""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from billing.errors import UnknownAsset
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.model import PLATFORM
from billing.ledger.post import Posting, post_all
from billing.plans.model import MINOR
from billing.stripe import sql
from billing.stripe.postings import KINDS
from billing.stripe.sql import TransactionRow
from billing.stripe.wire import Transaction

BANK = frozenset({"payout", "payout_cancel", "payout_failure", "topup", "topup_reversal"})
"""Movements between Stripe and the bank."""
FEES = frozenset({"stripe_fee", "stripe_fx_fee", "network_cost", "tax_fee", "application_fee"})
"""What Stripe asks for beside a payment."""
PAID = frozenset({"charge", "payment"})
REFUNDED = frozenset({"refund", "payment_refund"})
CAME_BACK = frozenset({"refund_failure", "payment_failure_refund"})
SENT = frozenset({"transfer"})
TAKEN_BACK = frozenset({"transfer_refund"})
"""What payees are paid, and what is taken back of that."""


class Origin(msgspec.Struct, frozen=True):
    """What moved the balance, as it is booked: the transfer, and by how much in its own currency (paid in: above zero)."""

    transfer_id: UUID
    currency: str
    amount_minor: int


async def store_transaction(conn: Conn, one: Transaction) -> None:
    """As Stripe lists it; again changes nothing."""
    await sql.ADD_TRANSACTION.run(
        conn, one.id, one.type, one.source, one.currency.upper(), one.amount, one.fee,
        None if one.exchange_rate is None else repr(one.exchange_rate), one.description or "",
        datetime.fromtimestamp(one.created, UTC),
    )  # fmt: skip


async def book_transaction(conn: Conn, transaction_id: str) -> bool:
    """Books a stored movement once. False while what made it is not booked here, or is in a currency we keep no books in."""
    row = await sql.LOCK_TRANSACTION.one(conn, transaction_id)
    if row.booked_at is not None:
        return True
    postings = _own(row)
    origin = Origin(postings[0].id, row.currency, row.amount_minor) if postings else await _origin(conn, row)
    if origin is None:
        return False
    if row.fee_minor:
        postings.append(_posting("stripe_fee", row, {"amount": row.fee_minor * MINOR}))
    if row.currency != origin.currency:
        postings.append(_exchange(row, origin))
    try:
        await post_all(conn, postings)
    except UnknownAsset:
        return False
    await sql.TRANSACTION_BOOKED.run(conn, row.id, origin.transfer_id)
    return True


def _own(row: TransactionRow) -> list[Posting]:
    """What is booked by this movement and nothing before it."""
    if row.type in BANK:
        return [_posting("bank_payout", row, {"amount": -row.amount_minor * MINOR})]
    if row.type in FEES:
        return [_posting("stripe_fee", row, {"amount": -row.amount_minor * MINOR}, step="/own")]
    return []


def _posting(kind: str, row: TransactionRow, amounts: dict[str, int], *, step: str = "") -> Posting:
    return Posting(
        kind=kind,
        source=row.id + step,
        subject_id=PLATFORM,
        book="live",
        asset=row.currency,
        amounts=amounts,
        facts={"transaction": row.id, "type": row.type, "source": row.source_id},
    )


def _exchange(row: TransactionRow, origin: Origin) -> Posting:
    """What moved is in one currency, Stripe's balance in another: the difference in value is what stays on the exchange."""
    amounts = {"amount": origin.amount_minor * MINOR, "got": row.amount_minor * MINOR}
    posted = _posting("exchange", row, amounts)
    return msgspec.structs.replace(posted, asset=origin.currency, units=row.currency)


async def _origin(conn: Conn, row: TransactionRow) -> Origin | None:
    if row.type in PAID:
        payment = await sql.PAYMENT_OF_CHARGE.maybe(conn, row.source_id)
        if payment is None or payment.transfer_id is None:
            return None
        return Origin(payment.transfer_id, payment.currency, payment.received_minor)
    if row.type in REFUNDED | CAME_BACK:
        refund = await sql.REFUND_AT_STRIPE.maybe(conn, row.source_id)
        if refund is None or not refund.gone or (row.type in CAME_BACK and refund.state != "failed"):
            return None
        payment = await sql.PAYMENT.one(conn, refund.payment_id)
        assert payment.booked is not None
        if row.type in CAME_BACK:
            return Origin(
                derived_id(KINDS["returned"][payment.booked], row.source_id or ""), payment.currency, refund.amount_minor
            )
        if refund.ours:
            return Origin(derived_id("cash_refund_paid", str(refund.id)), payment.currency, -refund.amount_minor)
        return Origin(derived_id(KINDS["taken"][payment.booked], row.source_id or ""), payment.currency, -refund.amount_minor)
    return await (_sent if row.type in SENT | TAKEN_BACK else _disputed)(conn, row)


async def _sent(conn: Conn, row: TransactionRow) -> Origin | None:
    back = row.type in TAKEN_BACK
    found = await (sql.PAYOUT_REVERSED if back else sql.PAYOUT_SENT).maybe(conn, row.source_id)
    if found is None:
        return None
    transfer_id = derived_id("payout_reversed", row.source_id or "") if back else derived_id("payout_paid", str(found.id))
    return Origin(transfer_id, found.currency, (found.amount_micro if back else -found.amount_micro) // MINOR)


async def _disputed(conn: Conn, row: TransactionRow) -> Origin | None:
    dispute = await sql.DISPUTE.maybe(conn, row.source_id)
    if dispute is None:
        return None
    payment = await sql.PAYMENT.one(conn, dispute.payment_id)
    assert payment.booked is not None
    movement = "taken" if row.amount_minor < 0 else "returned"
    amount_minor = abs(row.amount_minor) if row.currency == payment.currency else dispute.amount_minor
    sign = -1 if row.amount_minor < 0 else 1
    return Origin(derived_id(KINDS[movement][payment.booked], row.id), payment.currency, sign * amount_minor)
