"""What a settlement is posted as. Pure."""

from uuid import UUID

from billing.bank.model import Settlement
from billing.ledger.model import credit_account_id, paid_account_id, wallet_id
from billing.ledger.post import Posting
from billing.plans.model import MINOR


def postings(one: Settlement) -> list[Posting]:
    """What pays its invoice, and what is more than that; of a write-off what is given up."""
    wallet = wallet_id(one.customer_id, "live", one.currency)
    owed, customer = {"credit": credit_account_id(wallet)}, {"customer": str(one.customer_id)}
    parts: tuple[tuple[str, int, dict[str, UUID], dict[str, str]], ...] = (
        ("bank_payment" if one.kind == "wire" else "write_off", one.invoice_minor, owed, customer),
        ("bank_top_up", one.wallet_minor, {"wallet": paid_account_id(wallet)}, {}),
    )
    return [
        Posting(
            kind=kind,
            source=str(one.id),
            subject_id=one.customer_id,
            book="live",
            asset=one.currency,
            amounts={"amount": minor * MINOR},
            accounts=accounts,
            dimensions=dimensions,
            facts={"reference": one.reference, "invoice": str(one.invoice_id)},
        )
        for kind, minor, accounts, dimensions in parts
        if minor
    ]
