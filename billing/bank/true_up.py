"""True up: the supplier's bill for a pool's month corrects what its attempts were accrued at."""

from datetime import date

from billing.bank import sql
from billing.bank.model import SupplierBill
from billing.charges.model import COST_CURRENCY
from billing.errors import BillRefused, PaymentConflict
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.model import platform_account_id
from billing.ledger.post import Posting, post_all
from billing.ledger.rules import ACCRUED


async def true_up(conn: Conn, *, pool: str, month: date, reference: str, currency: str, billed_micro: int) -> SupplierBill:
    """Books once per `reference`, in the caller's transaction, by what all that was billed so far is more or less than accrued.

    `month` is its first day, in UTC; it must be over. A later total adds only its difference to the earlier one; a replay
    returns the bill. Raises BillRefused for a pool that accrued nothing ever, a month that is not over, another currency than
    compute is accrued in, or an amount below zero; PaymentConflict for a reference with another total.
    """
    bill_id = derived_id("supplier_bill", derived_id("supplier_month", f"{month}/{pool}"), reference)
    if currency != COST_CURRENCY:
        raise BillRefused(f"compute is accrued in {COST_CURRENCY}, the bill is in {currency}; nothing is converted here")
    if billed_micro < 0 or not reference or month.day != 1:
        raise BillRefused("a bill has a reference, the first day of its month, and an amount that is not below zero")
    await sql.LOCK_MONTH.run(conn, pool, month.isoformat())
    before = await sql.BILL.maybe(conn, bill_id)
    if before is not None:
        if before.billed_micro != billed_micro:
            raise PaymentConflict(f"bill {reference} of {pool} was booked otherwise")
        return before
    span = await sql.MONTH.one(conn, month)
    if not span.over:
        raise BillRefused(f"{month:%Y-%m} is not over: more is being accrued")
    account = platform_account_id(ACCRUED.partition("/")[0], "live", COST_CURRENCY, pool)
    sums = await sql.SUMS.one(conn, pool, month, account, span.starts_at, span.ends_at)
    if not sums.known:
        raise BillRefused(f"no attempt was ever accrued to a pool called {pool!r}")
    booked_micro = billed_micro - sums.accrued_micro - sums.booked_micro
    posting = Posting(
        kind="cost_true_up",
        source=str(bill_id),
        subject_id=bill_id,
        book="live",
        asset=COST_CURRENCY,
        amounts={"amount": booked_micro},
        dimensions={"pool": pool, "model": "all", "outcome": "true_up"},
        facts={"month": month.isoformat(), "reference": reference, "billed": billed_micro, "accrued": sums.accrued_micro},
    )
    await post_all(conn, [posting])
    await sql.ADD_BILL.run(conn, bill_id, pool, month, reference, currency, billed_micro, sums.accrued_micro, booked_micro)
    return await sql.BILL.one(conn, bill_id)
