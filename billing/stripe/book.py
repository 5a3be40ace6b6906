"""Book: what Stripe says became of a payment. In any order, any number of times, also late: the same end.

Money that has arrived is booked whatever was thought of the payment before; nothing that was booked is undone here.
"""

from uuid import UUID

from billing.errors import PaymentConflict
from billing.kit.ids import derived_id
from billing.kit.money import format_micro
from billing.kit.query import Conn
from billing.ledger.grants import lock_grant
from billing.ledger.model import credit_account_id, wallet_id
from billing.ledger.post import post_all
from billing.ledger.wallets import open_wallet
from billing.plans.events import tell
from billing.plans.model import MINOR
from billing.plans.sell import buy_pack
from billing.plans.sellers import Sellers
from billing.plans.subscribe import subscribe
from billing.stripe import sql
from billing.stripe.account import book_transaction, store_transaction
from billing.stripe.model import Booked, Payment, Purpose
from billing.stripe.note import open_minor
from billing.stripe.postings import posting
from billing.stripe.recharge import recharge_failed
from billing.stripe.wire import Checkout, Intent, Transaction

EXPIRED = "expired"


async def book_intent(conn: Conn, sellers: Sellers, intent: Intent, *, refused: str = "") -> Payment | None:
    """Brings the payment to what the PaymentIntent says, in the caller's transaction. None for one that is not ours.

    A pack or a plan that was paid for is bought at once. Where that raises a BillingError nothing of this may be committed;
    call it again with the reason as `refused`: then the money stays in the wallet, and the customer is told.
    """
    payment = await _lock(conn, intent)
    if payment is None:
        return None
    if intent.currency.upper() != payment.currency:
        raise PaymentConflict(f"{intent.id} is in {intent.currency}, payment {payment.id} in {payment.currency}")
    charge = intent.charge
    await sql.PAYMENT_KNOWN.run(conn, payment.id, intent.id, None, charge and charge.id)
    if intent.status == "succeeded" and payment.state != "succeeded":
        await _receive(conn, sellers, payment, intent, refused)
    elif intent.status == "canceled":
        await fail(conn, payment, payment.failure or intent.failure)
    if charge is not None and isinstance(charge.balance_transaction, Transaction):
        await store_transaction(conn, charge.balance_transaction)
        await book_transaction(conn, charge.balance_transaction.id)
    return await sql.PAYMENT.one(conn, payment.id)


async def book_checkout(conn: Conn, checkout: Checkout) -> Payment | None:
    """Notes the session of a payment, and its end where nobody paid on it. None for one that is not ours."""
    known = await sql.PAYMENT_OF_SESSION.maybe(conn, checkout.id)
    named = known.id if known else checkout.payment_id
    payment = await sql.LOCK_PAYMENT.maybe(conn, named) if named else None
    if payment is None or payment.session_id not in (None, checkout.id):
        return None
    await sql.PAYMENT_KNOWN.run(conn, payment.id, None, checkout.id, None)
    if payment.purpose == "recharge" and checkout.url:
        facts = {**_facts(payment, payment.amount_minor), "url": checkout.url}
        await tell(conn, "payment.action_required", str(payment.id), payment.customer_id, facts)
    if checkout.status == "expired":
        await fail(conn, payment, EXPIRED)
    return await sql.PAYMENT.one(conn, payment.id)


async def fail(conn: Conn, payment: Payment, reason: str) -> None:
    """Gives the payment up, unless it has ended; its row is locked."""
    if not await sql.PAYMENT_FAILED.run(conn, payment.id, reason):
        return
    facts = {**_facts(payment, payment.amount_minor), "reason": reason}
    await tell(conn, "payment.failed", str(payment.id), payment.customer_id, facts)
    if payment.purpose == "recharge":
        await recharge_failed(conn, payment, reason)


async def _lock(conn: Conn, intent: Intent) -> Payment | None:
    """The payment that the intent pays. Raises nothing for one that others have made."""
    known = await sql.PAYMENT_OF_INTENT.maybe(conn, intent.id)
    if known is not None:
        return await sql.LOCK_PAYMENT.one(conn, known.id)
    payment = await sql.LOCK_PAYMENT.maybe(conn, intent.payment_id) if intent.payment_id else None
    if payment is None or payment.intent_id in (None, intent.id):
        return payment
    return await _second(conn, payment, intent) if intent.status == "succeeded" else None


async def _second(conn: Conn, payment: Payment, intent: Intent) -> Payment:
    """A payment that was paid twice: the second money is the customer's too, and stands in the wallet."""
    second = derived_id("stripe_payment", payment.id, intent.id)
    await sql.ADD_PAYMENT.run(
        conn, second, payment.customer_id, "top_up", "", payment.flow, payment.methods, payment.currency, intent.amount,
        payment.return_url, False,
    )  # fmt: skip
    return await sql.LOCK_PAYMENT.one(conn, second)


async def _receive(conn: Conn, sellers: Sellers, payment: Payment, intent: Intent, refused: str) -> None:
    received_minor = intent.amount_received
    booked = await _destination(conn, payment, received_minor)
    await open_wallet(conn, payment.customer_id, "live", payment.currency)
    money = posting("received", payment, booked, source=intent.id, amount_minor=received_minor)
    (transfer,) = await post_all(conn, [money])
    await sql.PAYMENT_SUCCEEDED.run(conn, payment.id, intent.id, received_minor, transfer, booked, refused)
    await tell(conn, "payment.succeeded", str(payment.id), payment.customer_id, _facts(payment, received_minor))
    if booked == "receivable":
        await sql.LOOK_AGAIN.run(conn, payment.subject)
        if not await open_minor(conn, payment.customer_id, UUID(payment.subject)):
            await tell(conn, "invoice.paid", f"{payment.subject}/{payment.id}", payment.customer_id, {"id": payment.subject})
    if refused:
        facts = {**_facts(payment, received_minor), "reason": refused}
        await tell(conn, "purchase.refused", str(payment.id), payment.customer_id, facts)
    elif payment.purpose == "pack":
        await buy_pack(
            conn, sellers, customer_id=payment.customer_id, pack=payment.subject, source=f"payment/{payment.id}"
        )  # fmt: skip
    elif payment.purpose == "subscription":
        await subscribe(
            conn, sellers, customer_id=payment.customer_id, plan=payment.subject, source=f"payment/{payment.id}"
        )  # fmt: skip


async def _destination(conn: Conn, payment: Payment, received_minor: int) -> Booked:
    """An invoice is paid while that much is left of it; what comes after that is the customer's own money."""
    if payment.purpose != "invoice":
        return "wallet"
    # Two payments of one invoice, and credit notes, wait for each other here.
    await lock_grant(conn, credit_account_id(wallet_id(payment.customer_id, "live", payment.currency)))
    left_minor = await open_minor(conn, payment.customer_id, UUID(payment.subject))
    return "receivable" if received_minor <= left_minor else "wallet"


def _facts(payment: Payment, amount_minor: int) -> dict[str, int | str]:
    return {
        "id": str(payment.id),
        "purpose": payment.purpose,
        "subject": payment.subject,
        "currency": payment.currency,
        "amount_minor": amount_minor,
        "amount": format_micro(amount_minor * MINOR, payment.currency),
    }


_WORDS: dict[Purpose, str] = {
    "top_up": "Balance", "recharge": "Balance", "pack": "Seconds", "subscription": "Plan", "invoice": "Invoice",
}  # fmt: skip


def paid_for(payment: Payment) -> str:
    """What stands on Stripe's page."""
    return f"{_WORDS[payment.purpose]} {payment.subject}".strip()
