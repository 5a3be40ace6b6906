"""Disputes: what the customer's bank takes back is taken from the customer, and returned if we win."""

from billing.kit.query import Conn
from billing.ledger.post import post_all
from billing.plans.events import EventKind, tell
from billing.stripe import sql
from billing.stripe.account import book_transaction, store_transaction
from billing.stripe.model import DisputeState, Payment
from billing.stripe.postings import posting
from billing.stripe.wire import Dispute, Transaction

_STATES: dict[str, DisputeState] = {"won": "won", "lost": "lost", "warning_closed": "won", "prevented": "won"}
"""What Stripe calls it; anything else is open."""
_TOLD: dict[DisputeState, EventKind] = {"open": "dispute.opened", "won": "dispute.won", "lost": "dispute.lost"}


async def book_dispute(conn: Conn, told: Dispute) -> bool:
    """Books what the dispute has moved so far, in the caller's transaction. False for a payment that is not ours.

    The wallet may fall below zero; until it is filled again it holds nothing. The payment must have been booked before.
    """
    known = await sql.PAYMENT_OF_INTENT.maybe(conn, told.payment_intent) if told.payment_intent else None
    payment = await sql.LOCK_PAYMENT.one(conn, known.id) if known else None
    if payment is None or payment.booked is None:
        return False
    stored = await sql.DISPUTE.maybe(conn, told.id)
    taken_minor = max(sum(-_sign(one) * _amount(told, payment, one) for one in told.balance_transactions), 0)
    state = _STATES.get(told.status, "open")
    if stored is not None and stored.known > len(told.balance_transactions):
        taken_minor = stored.taken_minor  # an older answer than the one before
    if stored is not None and stored.state != "open":
        state = stored.state
    await sql.SET_DISPUTE.run(conn, told.id, payment.id, told.amount, told.reason, state, taken_minor)
    for one in told.balance_transactions:
        movement = "taken" if one.amount < 0 else "returned"
        assert payment.booked is not None
        moved = posting(movement, payment, payment.booked, source=one.id, amount_minor=_amount(told, payment, one))
        await post_all(conn, [moved])
        await store_transaction(conn, one)
        await book_transaction(conn, one.id)
    if payment.booked == "receivable":
        await sql.LOOK_AGAIN.run(conn, payment.subject)
    facts = {"id": told.id, "payment": str(payment.id), "currency": payment.currency, "amount_minor": told.amount}
    kinds: list[EventKind] = ["dispute.opened", *([_TOLD[state]] if state != "open" else [])]
    for kind in kinds:
        await tell(conn, kind, told.id, payment.customer_id, facts)
    return True


def _sign(one: Transaction) -> int:
    return -1 if one.amount < 0 else 1


def _amount(told: Dispute, payment: Payment, one: Transaction) -> int:
    """In the currency that was paid in; Stripe's balance may be in another."""
    return abs(one.amount) if one.currency.upper() == payment.currency else told.amount
