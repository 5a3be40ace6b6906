"""Give back: take unused seconds of a sale back for what they were sold for. It is final at once; its document follows.

Whatever is given back of a sale, for seconds or by a credit note, is recorded beside it, and never more than it was.
"""

from uuid import UUID

import msgspec

from billing.errors import PlanChangeRefused
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.grants import earned_micro, lock_grant
from billing.ledger.model import SECONDS, Balance
from billing.ledger.post import Posting, post_all
from billing.plans import sql
from billing.plans.model import MINOR, Sale, SaleLine
from billing.plans.sell import find_sale, paying, record, sale_of_invoice
from billing.plans.tax import tax


async def return_pack(conn: Conn, *, customer_id: UUID, invoice_id: UUID, source: str) -> Sale:
    """Takes back what is left of the pack that an invoice is of, once per `source`; a replay returns what came back.

    Raises PlanChangeRefused where it is of no pack of this customer, or nothing of it is left that no hold keeps.
    """
    sold = await sale_of_invoice(conn, customer_id, invoice_id)
    if sold is None or sold.line.kind != "pack":
        raise PlanChangeRefused(f"{invoice_id} is not the invoice of a pack")
    return_id = derived_id("return", sold.id, source)
    balance = await lock_grant(conn, sold.grant_id)
    if (returned := await find_sale(conn, return_id)) is not None:
        return returned
    if balance.free <= 0 or balance.expired:
        raise PlanChangeRefused(f"nothing is left of {sold.line.title}")
    line = msgspec.structs.replace(
        sold.line, kind="returned", quantity_ms=balance.free, price_micro=0, facts={"included_ms": sold.line.quantity_ms}
    )
    return await take_back(conn, sold, return_id=return_id, line=line)


async def take_back(conn: Conn, sold: Sale, *, return_id: UUID, line: SaleLine) -> Sale:
    """Takes `line.quantity_ms` seconds out of the grant of a sale and gives back what they were sold for, with their tax.

    What credit notes have given back already does not come back again. Raises PlanChangeRefused when fewer seconds are left
    and not held.
    """
    balance = await lock_grant(conn, sold.grant_id)
    if balance.free < line.quantity_ms:
        raise PlanChangeRefused(f"{balance.free} ms are left of {line.title}, {line.quantity_ms} ms would have to be")
    back = await price_back(conn, balance, sold, line.quantity_ms)
    posting = Posting(
        kind=f"seconds_return_{'to_wallet' if sold.payer == 'wallet' else 'on_account'}",
        source=str(return_id),
        subject_id=sold.customer_id,
        book="live",
        asset=sold.currency,
        units=SECONDS + line.seconds_class,
        amounts={
            "amount": line.quantity_ms,
            "earned": back.earned_micro,
            "tax": back.tax_minor * MINOR,
            "total": back.total_minor * MINOR,
            "credited": back.credited_minor * MINOR,
            "rounding": back.earned_micro - (back.net_minor + back.credited_minor) * MINOR,
        },
        accounts={"grant": sold.grant_id, **paying(sold.customer_id, sold.currency, sold.payer)},
        dimensions={"customer": str(sold.customer_id)},
        facts={"sale": str(sold.id)},
    )
    await post_all(conn, [posting])
    returned = msgspec.structs.replace(
        sold, id=return_id, returns=sold.id, line=line, net_minor=back.net_minor, tax_minor=back.tax_minor
    )
    await record(conn, returned)
    return returned


class PricedBack(msgspec.Struct, frozen=True):
    """What seconds that come back were sold for, exactly; what is given back for it, and what a credit note gave already."""

    earned_micro: int
    net_minor: int
    tax_minor: int
    credited_minor: int

    @property
    def total_minor(self) -> int:
        return self.net_minor + self.tax_minor


async def price_back(conn: Conn, balance: Balance, sold: Sale, quantity_ms: int) -> PricedBack:
    """What `quantity_ms` more seconds out of the grant of a sale come back for; `balance` is the grant's and locked.

    What they were sold for, with its tax, and never more than is left of the sale: the last of it takes all of the tax.
    """
    earned = earned_micro(balance, quantity_ms)
    price_minor = (earned * 2 + MINOR) // (2 * MINOR)
    given = await sql.GIVEN_BACK.one(conn, sold.id)
    left_minor, left_tax_minor = sold.net_minor - given.net_minor, sold.tax_minor - given.tax_minor
    net_minor = max(min(price_minor, left_minor), 0)
    tax_minor = tax([net_minor], msgspec.structs.replace(sold.treatment, inclusive=False)).tax_minor
    if net_minor == left_minor or tax_minor > left_tax_minor:
        tax_minor = left_tax_minor
    return PricedBack(earned, net_minor, tax_minor, price_minor - net_minor)


async def credited(conn: Conn, sold: Sale, note_id: UUID, net_minor: int, tax_minor: int) -> None:
    """Records that a credit note gave so much of a sale's price back; its grant is locked."""
    line = SaleLine(kind="credited", title=sold.line.title, seconds_class=sold.line.seconds_class, quantity_ms=0)
    await record(
        conn, msgspec.structs.replace(sold, id=note_id, returns=sold.id, line=line, net_minor=net_minor, tax_minor=tax_minor)
    )


async def given_back(conn: Conn, sold: Sale) -> sql.GivenBack:
    return await sql.GIVEN_BACK.one(conn, sold.id)
