"""The paymaster: payees are paid by transfers to accounts of their own at Stripe. Note it, ask, book the answer.

A payout is a row, and out of what is owed, before Stripe hears of it. Whoever finds one that is due looks whether its transfer
is there, whatever became of the process that asked for it, and asks for it with the same key where it is not.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from billing.errors import BillingError, PaymentRefused, PayoutConflict, StripeAway
from billing.kit.pool import transact
from billing.kit.query import Conn, Pool
from billing.plans.model import MINOR
from billing.shares.model import Payee, Payout
from billing.shares.payees import connect, lease_accounts, lock_payee, note_account, payee_by_id
from billing.shares.payouts import (
    anybody_waits,
    hold_payee,
    lease_payouts,
    make_payouts,
    mark_failed,
    mark_transferred,
    payout_at_stripe,
    take_back,
)
from billing.stripe import sql
from billing.stripe.client import Stripe
from billing.stripe.wire import Transfer

log = structlog.get_logger(__name__)

PASSES = frozenset({"balance_insufficient", "insufficient_capabilities_for_transfer"})
"""Refusals that end by themselves, with the next payments or what the payee tells Stripe; any other is for people to see."""


class Paymaster:
    """One Stripe account and the payees that it pays. Every method raises StripeAway."""

    def __init__(self, pool: Pool, stripe: Stripe) -> None:
        self._pool, self._stripe = pool, stripe

    async def onboard(self, reference: str, country: str, return_url: str) -> str:
        """The address of a page of Stripe's on which the payee says who it is; its account is made where it has none.

        Raises UnknownPayee, and PaymentRefused for a country that Stripe pays nobody in.
        """
        payee = await transact(self._pool, lambda conn: lock_payee(conn, reference))
        account_id = payee.destination
        if account_id is None or not payee.connected:
            account_id = (await self._stripe.create_account(payee.id, country)).id
            payee = await transact(self._pool, lambda conn: _connect(conn, reference, account_id))
        assert payee.destination is not None
        await self.refresh_account(payee.destination)
        return await self._stripe.onboarding(payee.destination, return_url)

    async def refresh_account(self, account_id: str) -> None:
        """Asks Stripe who the payee is and notes what it says."""
        told = await self._stripe.account(account_id)
        await transact(
            self._pool, lambda conn: note_account(conn, told.id, verified=told.verified, requirements=told.missing)
        )  # fmt: skip

    async def refresh_transfer(self, transfer_id: str) -> None:
        """Asks Stripe for the transfer and books what it says."""
        told = await self._stripe.transfer(transfer_id)
        await transact(self._pool, lambda conn: book_transfer(conn, told))

    async def refresh_reversal(self, transaction_id: str) -> None:
        """As `refresh_transfer`, for the one that a movement of Stripe's balance has taken back."""
        transfer_id = await self._stripe.reversed_transfer(transaction_id)
        if transfer_id is not None:
            await self.refresh_transfer(transfer_id)

    async def pay(self, limit: int = 20) -> int:
        """Asks about accounts that are due, makes the payouts that the balance covers, and sends. Returns how many it tried.

        A janitor's work, safe to run twice and on two machines.
        """
        accounts = await transact(self._pool, lambda conn: lease_accounts(conn, limit))
        for account_id in accounts:
            await self._tried(account_id, lambda account_id=account_id: self.refresh_account(account_id))
        if await transact(self._pool, anybody_waits):
            await self._make()
        payouts = await transact(self._pool, lambda conn: lease_payouts(conn, limit))
        for payout in payouts:
            await self._tried(f"payout {payout.id}", lambda payout=payout: self._send(payout))
        return len(accounts) + len(payouts)

    async def _make(self) -> list[Payout]:
        """Currency by currency what Stripe can transfer now; what was sent since it was asked is taken off."""
        as_of: datetime = (await transact(self._pool, sql.NOW.one)).at
        available = {currency: minor * MINOR for currency, minor in (await self._stripe.available()).items()}
        return await transact(self._pool, lambda conn: make_payouts(conn, available, connected=True, as_of=as_of))

    async def _send(self, payout: Payout) -> None:
        """Its transfer, whether it is there already or not; nothing new while its payee is held."""
        told = await self._stripe.find_transfer(payout)
        if told is None:
            payee = await transact(self._pool, lambda conn: payee_by_id(conn, payout.payee_id))
            if payee.held is not None:
                return
            try:
                told = await self._stripe.create_transfer(payout)
            except PaymentRefused as refused:
                reason = refused.reason
                log.warning("payout_refused", payout=str(payout.id), reason=reason)
                await transact(self._pool, lambda conn: _refuse(conn, payout, reason))
                await self.refresh_account(payout.destination)
                return
        await transact(self._pool, lambda conn: book_transfer(conn, told))

    async def _tried(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """What cannot be booked stays as it is, and is tried again."""
        try:
            await work()
        except StripeAway:
            raise
        except BillingError as error:
            log.error("stripe_not_booked", what=what, error=str(error))  # noqa: TRY400 – the sentence says it all


async def book_transfer(conn: Conn, told: Transfer) -> bool:
    """Books a transfer and what was taken back of it, once each, in the caller's transaction. False for one that is not ours.

    Raises PayoutConflict where it is not what was asked for.
    """
    payout = await payout_at_stripe(conn, told.id, told.payout_id)
    if payout is None or not await mark_transferred(conn, payout.id, told.id):
        return False
    if (told.amount * MINOR, told.currency.upper()) != (payout.amount_micro, payout.currency):
        raise PayoutConflict(f"{told.id} is of {told.amount} {told.currency}, payout {payout.id} of {payout.amount_micro} micro")
    payout = await payout_at_stripe(conn, told.id, None)
    assert payout is not None
    for reversal in told.reversals.data:
        await take_back(conn, payout, reversal.id, reversal.amount * MINOR)
    return True


async def _connect(conn: Conn, reference: str, account_id: str) -> Payee:
    """Two who asked at once were answered with one account; whatever came first stays."""
    payee = await lock_payee(conn, reference)
    if not payee.connected:
        await connect(conn, payee.id, account_id)
    return await lock_payee(conn, reference)


async def _refuse(conn: Conn, payout: Payout, reason: str) -> None:
    """It is owed again. The next payout has another id, and so another key: Stripe repeats what it has answered to this one."""
    await mark_failed(conn, payout.id, reason)
    if reason not in PASSES:
        await hold_payee(conn, payout.payee_id, f"Stripe refuses: {reason}")
