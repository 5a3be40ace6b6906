"""Pay money back: set it aside, ask Stripe, and book what became of it."""

from uuid import UUID

from billing.errors import RefundRefused
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.post import Posting, post_all
from billing.plans.events import tell
from billing.stripe import sql
from billing.stripe.account import book_transaction, store_transaction
from billing.stripe.model import Payment, PaymentRefund, State, refund_id
from billing.stripe.note import find_payment
from billing.stripe.postings import posting, refund_gone
from billing.stripe.wire import Refund, Transaction

_STATES: dict[str, State] = {"succeeded": "succeeded", "failed": "failed", "canceled": "failed"}
"""What Stripe calls it; anything else is open."""
_ORDER: tuple[State, ...] = ("created", "open", "succeeded", "failed")


async def note_refund(
    conn: Conn, *, customer_id: UUID, payment: UUID, amount_minor: int | None, reason: str, source: str
) -> PaymentRefund:
    """Sets aside what is to be paid back (None: all that is left), once per `source`. A replay returns the refund as it is now.

    Raises UnknownPayment, RefundRefused for more than is left of the payment or for another amount than before, and
    InsufficientFunds where the wallet has spent it: what seconds were bought with comes back with them.
    """
    await find_payment(conn, customer_id, payment)
    paid = await sql.LOCK_PAYMENT.one(conn, payment)
    derived = refund_id(payment, source)
    stored = await sql.REFUND.maybe(conn, derived)
    if stored is not None:
        if amount_minor not in (None, stored.amount_minor):
            raise RefundRefused(f"{source} has paid back {stored.amount_minor}, not {amount_minor}")
        return stored
    left_minor = paid.received_minor - (await sql.GIVEN_BACK.one(conn, payment)).amount_minor
    wanted_minor = left_minor if amount_minor is None else amount_minor
    if paid.booked is None or not 0 < wanted_minor <= left_minor:
        raise RefundRefused(f"{max(left_minor, 0)} is left of payment {payment}, not {wanted_minor}")
    await sql.ADD_REFUND.run(conn, derived, payment, wanted_minor, reason, True, None)
    await post_all(conn, [posting("set_aside", paid, paid.booked, source=str(derived), amount_minor=wanted_minor)])
    return await sql.REFUND.one(conn, derived)


async def book_refund(conn: Conn, told: Refund) -> PaymentRefund | None:
    """Brings the refund to what Stripe says, in the caller's transaction. None for a refund of a payment that is not ours.

    The payment must have been booked before. A refund that somebody made at Stripe itself is booked as it happened.
    """
    payment = await _lock_payment(conn, told)
    if payment is None or payment.booked is None:
        return None
    refund = await _find(conn, payment, told)
    moved = _transactions(told)
    # A refund that failed has left Stripe and come back; its transactions may be null until later.
    gone = refund.gone or told.status in _STATES or bool(told.balance_transaction)
    state = _later(refund.state, _STATES.get(told.status or "", "open"))
    await _post(conn, payment, refund, stripe_id=told.id, gone=gone, back=state == "failed")
    await sql.REFUND_IS.run(conn, refund.id, state, told.id, gone)
    await _tell(conn, payment, refund, state, gone=gone)
    if payment.booked == "receivable":
        await sql.LOOK_AGAIN.run(conn, payment.subject)
    for one in moved:
        await store_transaction(conn, one)
        await book_transaction(conn, one.id)
    return await sql.REFUND.one(conn, refund.id)


async def give_up_refund(conn: Conn, id: UUID) -> PaymentRefund:
    """Stripe refuses it: what was set aside is the customer's again."""
    refund = await sql.REFUND.one(conn, id)
    payment = await sql.LOCK_PAYMENT.one(conn, refund.payment_id)
    refund = await sql.REFUND.one(conn, id)
    if refund.state == "created":
        await _post(conn, payment, refund, stripe_id="", gone=False, back=True)
        await sql.REFUND_IS.run(conn, id, "failed", None, False)
        await _tell(conn, payment, refund, "failed", gone=False)
    return await sql.REFUND.one(conn, id)


def _later(stored: State, told: State) -> State:
    """A refund goes on, and may fail at any time; what Stripe said before it said that is no news."""
    return told if _ORDER.index(told) > _ORDER.index(stored) else stored


def _transactions(told: Refund) -> list[Transaction]:
    return [one for one in (told.balance_transaction, told.failure_balance_transaction) if isinstance(one, Transaction)]


async def _lock_payment(conn: Conn, told: Refund) -> Payment | None:
    known = await sql.PAYMENT_OF_INTENT.maybe(conn, told.payment_intent) if told.payment_intent else None
    return await sql.LOCK_PAYMENT.one(conn, known.id) if known else None


async def _find(conn: Conn, payment: Payment, told: Refund) -> PaymentRefund:
    """Ours by Stripe's id or by our own in its metadata, or one that was made at Stripe."""
    stored = await sql.REFUND_AT_STRIPE.maybe(conn, told.id)
    if stored is None and told.refund_id is not None:
        stored = await sql.REFUND.maybe(conn, told.refund_id)
    given_up = stored is not None and stored.state == "failed" and stored.stripe_id is None
    if stored is not None and stored.payment_id == payment.id and not given_up:
        return stored
    derived = derived_id("stripe_refund", payment.id, told.id)
    await sql.ADD_REFUND.run(conn, derived, payment.id, told.amount, told.reason or "", False, told.id)
    return await sql.REFUND.one(conn, derived)


async def _post(conn: Conn, payment: Payment, refund: PaymentRefund, *, stripe_id: str, gone: bool, back: bool) -> None:
    """Every movement up to here; those that were posted before are met again."""
    assert payment.booked is not None
    amount = refund.amount_minor
    postings: list[Posting] = []
    if gone and refund.ours:
        postings.append(refund_gone(payment, refund.id, amount))
    elif gone:
        postings.append(posting("taken", payment, payment.booked, source=stripe_id, amount_minor=amount))
    if back and gone:
        postings.append(posting("returned", payment, payment.booked, source=stripe_id, amount_minor=amount))
    elif back and refund.ours:
        postings.append(posting("restored", payment, payment.booked, source=str(refund.id), amount_minor=amount))
    await post_all(conn, postings)


async def _tell(conn: Conn, payment: Payment, refund: PaymentRefund, state: State, *, gone: bool) -> None:
    """One that failed after it had left was paid back first, whether or not anybody heard of that."""
    facts = {"payment": str(payment.id), "currency": payment.currency, "amount_minor": refund.amount_minor}
    if state == "succeeded" or (state == "failed" and gone):
        await tell(conn, "payment.refunded", str(refund.id), payment.customer_id, facts)
    if state == "failed":
        await tell(conn, "refund.failed", str(refund.id), payment.customer_id, facts)
