"""Note: what is to be paid, before Stripe hears of it."""

from uuid import UUID

from billing.customers.model import Customer
from billing.customers.register import customer
from billing.errors import PaymentConflict, PaymentRefused, PlanChangeRefused, UnknownInvoice, UnknownPayment
from billing.kit.query import Conn
from billing.plans.catalogue import find_pack, find_plan
from billing.plans.model import MINOR, SubscriptionPlan
from billing.plans.sell import treatment_of
from billing.plans.sellers import Sellers
from billing.plans.tax import tax
from billing.stripe import sql
from billing.stripe.model import Order, Payment, payment_id


async def note_payment(conn: Conn, sellers: Sellers, *, customer_id: UUID, order: Order, source: str) -> Payment:
    """Stores the payment once per `source`, in the caller's transaction; a replay returns it as it is now.

    A pack, a subscription and an invoice have their own price. Raises UnknownCustomer, UnknownPlan, UnknownInvoice,
    PlanChangeRefused for another currency, PaymentRefused where there is nothing to pay, and PaymentConflict for a source used
    with another order.
    """
    buyer = await customer(conn, customer_id)
    derived = payment_id(customer_id, source)
    stored = await sql.PAYMENT.maybe(conn, derived)
    if stored is None:
        amount_minor = await price_of(conn, sellers, buyer, order)
        if amount_minor <= 0:
            raise PaymentRefused("there is nothing to pay", "nothing_to_pay")
        await sql.ADD_PAYMENT.run(
            conn, derived, customer_id, order.purpose, order.subject, order.flow, list(order.methods), buyer.currency,
            amount_minor, order.return_url, order.saves,
        )  # fmt: skip
        stored = await sql.PAYMENT.one(conn, derived)
    if not _same(stored, order):
        raise PaymentConflict(source)
    return stored


async def price_of(conn: Conn, sellers: Sellers, buyer: Customer, order: Order) -> int:
    """What has to be paid, with tax, in minor units. Raises as `note_payment`."""
    match order.purpose:
        case "pack":
            pack = await find_pack(conn, order.subject)
            currency, price_micro = pack.currency, pack.price_micro
        case "subscription":
            plan = await find_plan(conn, order.subject)
            if not isinstance(plan, SubscriptionPlan) or plan.payer != "wallet":
                raise PlanChangeRefused(f"{plan.name} is not paid in advance")
            currency, price_micro = plan.currency, plan.fee_micro
        case "invoice":
            return await open_minor(conn, buyer.id, _uuid(order.subject))
        case "top_up" | "recharge":
            return order.amount_minor
    if currency != buyer.currency:
        raise PlanChangeRefused(f"{order.subject} is sold in {currency}, the customer is billed in {buyer.currency}")
    return tax([price_micro // MINOR], treatment_of(sellers, buyer)).total_minor


async def open_minor(conn: Conn, customer_id: UUID, invoice_id: UUID) -> int:
    """What is left to pay of an invoice, below zero where more was paid. Raises UnknownInvoice."""
    found = await sql.OPEN_OF_INVOICE.maybe(conn, customer_id, invoice_id)
    if found is None:
        raise UnknownInvoice(str(invoice_id))
    return found.amount_minor


async def open_invoices(conn: Conn, customer_id: UUID) -> dict[UUID, int]:
    """What is left to pay of each of the customer's invoices, in minor units."""
    return {row.id: row.amount_minor for row in await sql.OPEN_INVOICES.all(conn, customer_id)}


async def find_payment(conn: Conn, customer_id: UUID, id: UUID) -> Payment:
    """Raises UnknownPayment."""
    found = await sql.PAYMENT.maybe(conn, id)
    if found is None or found.customer_id != customer_id:
        raise UnknownPayment(str(id))
    return found


async def payments(conn: Conn, customer_id: UUID, *, after: UUID | None = None, limit: int = 20) -> list[Payment]:
    """The customer's, the newest first, from the one after `after` on."""
    return await sql.PAYMENTS.all(conn, customer_id, after, limit)


def _same(stored: Payment, order: Order) -> bool:
    """Whether it is what was asked for before. What has a price of its own keeps the one it had then."""
    asked = (order.purpose, order.subject, order.flow, list(order.methods), order.return_url, order.saves)
    same = (stored.purpose, stored.subject, stored.flow, stored.methods, stored.return_url, stored.saves) == asked
    return same and (not order.amount_minor or stored.amount_minor == order.amount_minor)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise UnknownInvoice(text) from error
