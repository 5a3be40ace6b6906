"""Pay payees out: due from their threshold on, sent by whoever moves money, paid or failed as that turns out.

A payout is taken from what is owed when it becomes due and stands in transit until it has ended, so nothing is paid twice.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from billing.errors import PayoutConflict, UnknownPayout
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.post import Posting, post_all
from billing.shares import sql
from billing.shares.model import PAYOUT_CHANGES, Payout, PayoutState
from billing.shares.payables import account_of

MINOR_MICRO = 10_000


async def make_payouts(
    conn: Conn, available_micro: Mapping[str, int], *, connected: bool = False, as_of: datetime | None = None
) -> list[Payout]:
    """Makes a payout for each verified payee whose payable has reached its threshold, in whole minor units.

    `connected`: those who are paid by transfers at Stripe, else those who are paid by hand; never both.
    `available_micro` is what the provider can pay, by currency; read at `as_of`, so that what was sent since comes off it.
    A payee that it does not cover waits, others do not.
    """
    await sql.LOCK.run(conn, "payouts")
    left = dict(available_micro)
    for spoken in await sql.SPOKEN_FOR.all(conn, as_of) if as_of is not None else ():
        left[spoken.currency] = left.get(spoken.currency, 0) - spoken.amount_micro
    payees = await sql.PAYABLE.all(conn, connected)
    accounts = [account_of(payee.id, payee.currency) for payee in payees]
    owed = {one.payee_id: one.posted for one in await sql.LOCK_OWED.all(conn, [payee.id for payee in payees], accounts)}
    made, short = list[UUID](), list[UUID]()
    for payee in payees:
        amount_micro = owed[payee.id] - owed[payee.id] % MINOR_MICRO
        if owed[payee.id] < payee.threshold_micro or amount_micro == 0:
            continue
        if amount_micro > left.get(payee.currency, 0):
            short.append(payee.id)
            continue
        left[payee.currency] -= amount_micro
        made.append(new_id())
        await sql.ADD_PAYOUT.run(conn, made[-1], payee.id, payee.currency, amount_micro, payee.destination, connected)
        await _post(conn, "payout", await _locked(conn, made[-1]))
    await sql.SET_SHORT.run(conn, [payee.id for payee in payees], short)
    return await sql.PAYOUTS.all(conn, made)


async def anybody_waits(conn: Conn) -> bool:
    """Whether a payee who is paid by transfers is owed enough to be paid."""
    return bool(await sql.PAYABLE.all(conn, True))


async def open_payouts(conn: Conn) -> list[Payout]:
    """Those that have not ended, oldest first."""
    return await sql.OPEN_PAYOUTS.all(conn)


async def payouts_of(conn: Conn, payee_id: UUID) -> list[Payout]:
    return await sql.PAYOUTS_OF.all(conn, payee_id)


async def payout_page(conn: Conn, payee_id: UUID | None, *, after: UUID | None, limit: int) -> list[Payout]:
    """The newest first, from the one after `after` on; of everybody where no payee is named."""
    return await sql.PAYOUT_PAGE.all(conn, payee_id, after, limit)


async def payout_by_id(conn: Conn, payout_id: UUID) -> Payout:
    """Raises UnknownPayout."""
    found = await sql.PAYOUTS.all(conn, [payout_id])
    if not found:
        raise UnknownPayout(str(payout_id))
    return found[0]


async def mark_sent(conn: Conn, payout_id: UUID, outside_id: str) -> None:
    """The provider took it, under this id of its own. Raises PayoutConflict."""
    await _change(conn, payout_id, "sent", outside_id=outside_id)


async def mark_paid(conn: Conn, payout_id: UUID) -> None:
    """The payee has it. Raises PayoutConflict."""
    await _change(conn, payout_id, "paid")


async def mark_failed(conn: Conn, payout_id: UUID, reason: str) -> None:
    """It did not arrive: what it was to pay is owed again. Raises PayoutConflict."""
    await _change(conn, payout_id, "failed", reason=reason)


async def check_by_hand(conn: Conn, payout_id: UUID) -> None:
    """Raises PayoutConflict for one that Stripe has, or will get: it says itself what became of it."""
    if (await _locked(conn, payout_id)).connected:
        raise PayoutConflict(f"{payout_id} is a transfer at Stripe; hold its payee, or reverse it there")


# -- transfers at Stripe -----------------------------------------------------------------------------------------------
async def lease_payouts(conn: Conn, limit: int) -> list[Payout]:
    """Those to send, or to ask about, for a minute; what is not booked then is anybody's again."""
    return await sql.LEASE_PAYOUTS.all(conn, limit)


async def payout_at_stripe(conn: Conn, transfer_id: str, own_id: UUID | None) -> Payout | None:
    """By Stripe's id of it, else by ours: a message may come before the answer that it is about."""
    found = await sql.PAYOUT_AT_STRIPE.maybe(conn, transfer_id)
    if found is None and own_id is not None:
        found = next((one for one in await sql.PAYOUTS.all(conn, [own_id]) if one.connected), None)
    return found


async def mark_transferred(conn: Conn, payout_id: UUID, transfer_id: str) -> bool:
    """Stripe has moved it: the payee has it. False for one that another transfer has paid, or that was given up before."""
    payout = await _locked(conn, payout_id)
    if payout.state == "due":
        await mark_sent(conn, payout_id, transfer_id)
        await mark_paid(conn, payout_id)
        return True
    return payout.outside_id == transfer_id


async def take_back(conn: Conn, payout: Payout, reversal_id: str, amount_micro: int) -> None:
    """Stripe has taken so much of it back: it is owed again, once. Its payee is held until somebody has seen why."""
    if await sql.ADD_REVERSAL.run(conn, reversal_id, payout.id, amount_micro):
        await _post(conn, "payout_reversed", payout, source=reversal_id, amount_micro=amount_micro)
        await hold_payee(conn, payout.payee_id, f"{payout.outside_id} was reversed")


async def hold_payee(conn: Conn, payee_id: UUID, reason: str) -> None:
    """Nothing more is sent to it. One that is held already keeps its reason."""
    await sql.HOLD.run(conn, payee_id, reason)


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


async def _post(conn: Conn, kind: str, payout: Payout, *, source: str = "", amount_micro: int | None = None) -> None:
    facts = {"payout": str(payout.id)} if payout.connected else {}
    posting = Posting(
        kind=kind,
        source=source or str(payout.id),
        subject_id=payout.id,
        book="live",
        asset=payout.currency,
        amounts={"amount": payout.amount_micro if amount_micro is None else amount_micro},
        accounts={"payee": account_of(payout.payee_id, payout.currency)},
        facts=facts,
    )
    await post_all(conn, [posting])


async def _locked(conn: Conn, payout_id: UUID) -> Payout:
    found = await sql.LOCK_PAYOUT.maybe(conn, payout_id)
    if found is None:
        raise PayoutConflict(f"there is no payout {payout_id}")
    return found
