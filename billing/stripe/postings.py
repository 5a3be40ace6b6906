"""What the movements of a payment are posted as: from and to where the payment itself was booked. Pure."""

from collections.abc import Mapping
from typing import Literal, TypeAlias
from uuid import UUID

from billing.ledger.model import credit_account_id, paid_account_id, wallet_id
from billing.ledger.post import Posting
from billing.plans.model import MINOR
from billing.stripe.model import Booked, Payment

Movement: TypeAlias = Literal["received", "set_aside", "restored", "taken", "returned"]

KINDS: Mapping[Movement, Mapping[Booked, str]] = {
    "received": {"wallet": "top_up", "receivable": "payment"},
    "set_aside": {"wallet": "cash_refund", "receivable": "payment_refund"},
    "restored": {"wallet": "cash_refund_failed", "receivable": "payment_refund_failed"},
    "taken": {"wallet": "cash_taken", "receivable": "payment_taken"},
    "returned": {"wallet": "cash_returned", "receivable": "payment_returned"},
}
"""A refund of ours is set aside and, once it has left, gone from what was set aside; or it failed and is restored. What
Stripe takes by itself is taken from the customer at once. What has left and comes back is returned.
"""


def posting(movement: Movement, payment: Payment, booked: Booked, *, source: str, amount_minor: int) -> Posting:
    """`source` is Stripe's id of what moved, or ours of what is to move."""
    wallet = wallet_id(payment.customer_id, "live", payment.currency)
    return Posting(
        kind=KINDS[movement][booked],
        source=source,
        subject_id=payment.customer_id,
        book="live",
        asset=payment.currency,
        amounts={"amount": amount_minor * MINOR},
        accounts={"wallet": paid_account_id(wallet)} if booked == "wallet" else {"credit": credit_account_id(wallet)},
        dimensions={} if booked == "wallet" else {"customer": str(payment.customer_id)},
        facts={"source": source, "payment": str(payment.id)},
    )


def refund_gone(payment: Payment, refund_id: UUID, amount_minor: int) -> Posting:
    """What was set aside for a refund has left Stripe."""
    return Posting(
        kind="cash_refund_paid",
        source=str(refund_id),
        subject_id=payment.customer_id,
        book="live",
        asset=payment.currency,
        amounts={"amount": amount_minor * MINOR},
        facts={"payment": str(payment.id)},
    )
