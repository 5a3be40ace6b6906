"""Pay payees out: due from their threshold on, sent by whoever moves money, paid or failed as that turns out.

A payout is taken from what is owed when it becomes due and stands in transit until it has ended, so nothing is paid twice.
"""

from collections.abc import Mapping
from uuid import UUID

from billing.errors import PayoutConflict
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.post import Posting, post_all
from billing.shares import sql
from billing.shares.model import PAYOUT_CHANGES, Payout, PayoutState
from billing.shares.payables import account_of

_MINOR_MICRO = 10_000


async def make_payouts(conn: Conn, available_micro: Mapping[str, int]) -> list[Payout]:
    """Makes a payout for each verified payee whose payable has reached its threshold, in whole minor units.

    `available_micro` is what the provider can pay now, by currency: a payee that it does not cover waits, others do not.
    """
    left, made = dict(available_micro), list[UUID]()
    payees = await sql.PAYABLE.all(conn)
    accounts = [account_of(payee.id, payee.currency) for payee in payees]
    owed = {one.payee_id: one.posted for one in await sql.LOCK_OWED.all(conn, [payee.id for payee in payees], accounts)}
    for payee in payees:
        owed_micro = owed[payee.id]
        amount_micro = owed_micro - owed_micro % _MINOR_MICRO
        if owed_micro < payee.threshold_micro or not 0 < amount_micro <= left.get(payee.currency, 0):
            continue
        left[payee.currency] -= amount_micro
        made.append(new_id())
        await sql.ADD_PAYOUT.run(conn, made[-1], payee.id, payee.currency, amount_micro, payee.destination)
        await _post(conn, "payout", await _locked(conn, made[-1]))
    return [one for one in await sql.OPEN_PAYOUTS.all(conn) if one.id in made]


async def open_payouts(conn: Conn) -> list[Payout]:
    """Those that have not ended, oldest first."""
    return await sql.OPEN_PAYOUTS.all(conn)


async def payouts_of(conn: Conn, payee_id: UUID) -> list[Payout]:
    return await sql.PAYOUTS_OF.all(conn, payee_id)


async def mark_sent(conn: Conn, payout_id: UUID, outside_id: str) -> None:
    """The provider took it, under this id of its own. Raises PayoutConflict."""
    await _change(conn, payout_id, "sent", outside_id=outside_id)


async def mark_paid(conn: Conn, payout_id: UUID) -> None:
    """The payee has it. Raises PayoutConflict."""
    await _change(conn, payout_id, "paid")


async def mark_failed(conn: Conn, payout_id: UUID, reason: str) -> None:
    """It did not arrive: what it was to pay is owed again. Raises PayoutConflict."""
    await _change(conn, payout_id, "failed", reason=reason)


async def _change(
    conn: Conn, payout_id: UUID, to: PayoutState, *, outside_id: str | None = None, reason: str | None = None
) -> None:
    """One step of the state machine; the same step again changes nothing."""
    payout = await _locked(conn, payout_id)
    if payout.state == to and outside_id in {None, payout.outside_id}:
        return
    if to not in PAYOUT_CHANGES[payout.state]:
        raise PayoutConflict(f"{payout_id} is {payout.state}, it cannot become {to}")
    await sql.CHANGE_PAYOUT.run(conn, payout_id, to, outside_id, reason)
    if to in {"paid", "failed"}:
        await _post(conn, f"payout_{to}", payout)


async def _post(conn: Conn, kind: str, payout: Payout) -> None:
    posting = Posting(
        kind=kind,
        source=str(payout.id),
        subject_id=payout.id,
        book="live",
        asset=payout.currency,
        amounts={"amount": payout.amount_micro},
        accounts={"payee": account_of(payout.payee_id, payout.currency)},
    )
    await post_all(conn, [posting])


async def _locked(conn: Conn, payout_id: UUID) -> Payout:
    found = await sql.LOCK_PAYOUT.maybe(conn, payout_id)
    if found is None:
        raise PayoutConflict(f"there is no payout {payout_id}")
    return found
