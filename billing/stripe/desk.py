"""The desk: whatever is asked of Stripe. Note it, ask, book the answer; each a transaction of its own, none open while we ask.

A crash between two of them loses nothing: the janitors below find what is noted and not booked, and ask again with the same key.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import msgspec
import structlog

from billing.customers.model import Customer
from billing.customers.register import customer
from billing.errors import BillingError, PaymentRefused, StripeAway, UnknownPayment
from billing.kit.pool import transact
from billing.kit.query import Conn, Pool
from billing.plans.sellers import Sellers
from billing.stripe import sql
from billing.stripe.account import book_transaction, store_transaction
from billing.stripe.book import book_checkout, book_intent, fail, paid_for
from billing.stripe.client import Stripe, open_stripe
from billing.stripe.dispute import book_dispute
from billing.stripe.methods import method_owner, set_methods
from billing.stripe.model import Order, Payer, Payment, PaymentRefund, Started
from billing.stripe.note import find_payment, note_payment
from billing.stripe.paymaster import Paymaster
from billing.stripe.refund import book_refund, give_up_refund, note_refund
from billing.stripe.wire import PAYMENT, Checkout, Intent

log = structlog.get_logger(__name__)

KEYS_LAST = timedelta(hours=23)
"""Stripe forgets an idempotency key after a day: what is noted for longer is looked for, never sent again."""
OPEN_FOR = timedelta(hours=24)
"""A payment that the customer has not finished by then is given up, as Stripe does with its own pages."""
_KINDS = {
    "ch": "charge", "py": "charge", "re": "refund", "pyr": "refund", "dp": "dispute", "du": "dispute", "tr": "transfer",
}  # fmt: skip
LATE = timedelta(hours=1)
"""How far back Stripe's balance is read again: a movement may be listed after a later one."""


class Desk:
    """One Stripe account and the books that are kept of it."""

    def __init__(self, pool: Pool, stripe: Stripe, sellers: Sellers) -> None:
        self._pool, self._stripe, self._sellers = pool, stripe, sellers
        self.paymaster = Paymaster(pool, stripe)

    # -- what customers and operators ask for --------------------------------------------------------------------------
    async def pay(self, customer_id: UUID, order: Order, source: str) -> Started:
        """Begins a payment once per `source`; again it says how to go on with it. Raises as `note_payment`, and StripeAway."""
        payment = await transact(
            self._pool,
            lambda conn: note_payment(conn, self._sellers, customer_id=customer_id, order=order, source=source),
            of=customer_id,
        )
        if payment.state in ("succeeded", "failed"):
            return Started(payment)
        return await self._go_on(payment)

    async def refund(
        self, customer_id: UUID, payment: UUID, *, amount_minor: int | None = None, reason: str = "", source: str
    ) -> PaymentRefund:
        """Pays money of a payment back once per `source`. Raises as `note_refund`; what Stripe refuses has failed."""
        noted = await transact(
            self._pool,
            lambda conn: note_refund(
                conn, customer_id=customer_id, payment=payment, amount_minor=amount_minor, reason=reason, source=source
            ),
        )
        return await self._send_refund(noted) if noted.state == "created" else noted

    async def payer(self, customer_id: UUID) -> tuple[Payer, str]:
        """The customer as Stripe knows it, made there and told of its billing details where that is new; and Stripe's id."""
        buyer, payer = await transact(self._pool, lambda conn: _payer(conn, customer_id), of=customer_id)
        if payer.stripe_id is None:
            stripe_id = await self._stripe.create_customer(buyer, payer.lost)
            await transact(self._pool, lambda conn: sql.PAYER_KNOWN_AS.run(conn, customer_id, stripe_id), of=customer_id)
            _, payer = await transact(self._pool, lambda conn: _payer(conn, customer_id), of=customer_id)
        assert payer.stripe_id is not None
        if payer.told != (now := _digest(buyer)):
            await self._stripe.tell_customer(payer.stripe_id, buyer)
            said = await self._stripe.tell_tax_id(payer.stripe_id, buyer)
            await transact(self._pool, lambda conn: sql.PAYER_TOLD.run(conn, customer_id, now, said), of=customer_id)
        return payer, payer.stripe_id

    async def save_method(self, customer_id: UUID, return_url: str, source: str) -> str:
        """The address of a page of Stripe's on which the customer saves a card. Raises UnknownCustomer, StripeAway."""
        _, stripe_id = await self.payer(customer_id)
        page = await self._stripe.create_setup(stripe_id, return_url, f"{customer_id}-{source}")
        return page.url or ""

    async def forget_method(self, customer_id: UUID, method_id: str) -> None:
        """Removes a saved method. Raises UnknownPayment for one that is not the customer's, and StripeAway."""
        if await transact(self._pool, lambda conn: method_owner(conn, method_id), of=customer_id) != customer_id:
            raise UnknownPayment(method_id)
        _, stripe_id = await self.payer(customer_id)
        await self._stripe.detach(method_id)
        await self._refresh_methods(stripe_id)

    async def portal(self, customer_id: UUID, return_url: str) -> str:
        """The address of Stripe's own page about what the customer has saved. Raises UnknownCustomer, StripeAway."""
        _, stripe_id = await self.payer(customer_id)
        return await self._stripe.portal(stripe_id, return_url)

    # -- what Stripe tells or is asked ---------------------------------------------------------------------------------
    async def refresh(self, kind: str, named: str) -> None:
        """Asks Stripe for the object and books what it says. Objects that are none of ours, or have no id, change nothing."""
        match kind if named else "":
            case "payment_intent":
                await self._book(await self._stripe.intent(named))
            case "checkout.session":
                await self._refresh_checkout(named)
            case "charge":
                charge = await self._stripe.charge(named)
                if charge.payment_intent:
                    await self._refresh_all_of(charge.payment_intent)
            case "refund":
                refund = await self._stripe.refund(named)
                await self._book_first(refund.payment_intent)
                await transact(self._pool, lambda conn: book_refund(conn, refund))
            case "dispute":
                dispute = await self._stripe.dispute(named)
                await self._book_first(dispute.payment_intent)
                await transact(self._pool, lambda conn: book_dispute(conn, dispute))
            case "payment_method":
                await self._refresh_methods((await self._stripe.method(named)).customer)
            case "customer":
                await self._refresh_methods(named)
            case "account":
                await self.paymaster.refresh_account(named)
            case "transfer":
                await self.paymaster.refresh_transfer(named)
            case "balance_transaction":
                await self.paymaster.refresh_reversal(named)
            case _:
                pass

    # -- janitors ------------------------------------------------------------------------------------------------------
    # Each raises StripeAway at the first question without an answer: the others' would have none either.
    async def work_events(self, limit: int = 20) -> int:
        """Works on stored events: each object that they name is asked for once. Returns how many events are done."""
        events = await transact(self._pool, lambda conn: sql.LEASE_EVENTS.all(conn, limit))
        by_object: dict[tuple[str, str], list[str]] = {}
        for event in events:
            by_object.setdefault((event.object_kind, event.object_id), []).append(event.id)
        done = 0
        for (kind, named), ids in by_object.items():
            if await self._tried(f"{kind} {named}", self.refresh, kind, named, told=ids):
                await transact(self._pool, lambda conn, ids=ids: sql.EVENTS_DONE.run(conn, ids))
                done += len(ids)
        return done

    async def poll(self, limit: int = 20) -> int:
        """Goes on with what has not ended: payments and refunds to send or to ask for, disputes. Returns how many it tried.

        What a message was lost about is found here.
        """
        payments = await transact(self._pool, lambda conn: sql.LEASE_PAYMENTS.all(conn, limit))
        refunds = await transact(self._pool, lambda conn: sql.LEASE_REFUNDS.all(conn, limit))
        disputes = await transact(self._pool, lambda conn: sql.LEASE_DISPUTES.all(conn, limit))
        for payment in payments:
            await self._tried(f"payment {payment.id}", self._go_on, payment)
        for refund in refunds:
            await self._tried(f"refund {refund.id}", self._send_refund, refund)
        for dispute in disputes:
            await self._tried(f"dispute {dispute.id}", self.refresh, "dispute", dispute.id)
        return len(payments) + len(refunds) + len(disputes)

    async def read_account(self, since: datetime | None = None) -> int:
        """Stores the newest movements of Stripe's balance, or those from `since` on, and books what it can. Returns how many.

        What moved it and is not known here is asked for: a payment whose every message was lost is found at the latest now.
        """
        newest = (await transact(self._pool, sql.NEWEST_TRANSACTION.one)).at - LATE
        moved = await self._stripe.transactions(min(newest, since or newest))

        async def store(conn: Conn) -> list[sql.TransactionRow]:
            for one in reversed(moved):
                await store_transaction(conn, one)
            return await sql.NOT_BOOKED.all(conn, 500)

        booked = 0
        for row in await transact(self._pool, store):
            done = await transact(self._pool, lambda conn, row=row: book_transaction(conn, row.id))
            if not done and row.source_id and await self._tried(row.id, self.refresh, *_made_by(row.id, row.source_id)):
                done = await transact(self._pool, lambda conn, row=row: book_transaction(conn, row.id))
            booked += done
        return booked

    # -- steps ---------------------------------------------------------------------------------------------------------
    async def _go_on(self, payment: Payment) -> Started:
        """Sends what is noted, or asks what became of it; gives up what nobody finishes."""
        now = (await transact(self._pool, sql.NOW.one)).at
        _, stripe_id = await self.payer(payment.customer_id)
        try:
            if payment.state == "created" and now - payment.created_at >= KEYS_LAST:
                return await self._find(payment, stripe_id)
            if payment.flow == "checkout":
                return await self._go_on_page(payment, stripe_id)
            intent = (
                await self._stripe.intent(payment.intent_id)
                if payment.intent_id
                else await self._stripe.create_intent(payment, stripe_id)
            )
        except PaymentRefused as refused:
            if payment.state != "created":
                raise
            await self._give_up(payment, refused.reason)
            raise
        booked = await self._book(intent)
        waits = booked is not None and booked.state == "open"
        if waits and intent.status != "processing" and (payment.flow == "saved" or now - payment.created_at >= OPEN_FOR):
            # The customer is not here to try again: say why, and make sure that nothing comes of it any more.
            booked = await self._cancel(intent)
        return Started(booked or payment, client_secret=intent.client_secret)

    async def _go_on_page(self, payment: Payment, stripe_id: str) -> Started:
        page = (
            await self._stripe.checkout(payment.session_id)
            if payment.session_id
            else await self._stripe.create_checkout(payment, stripe_id, paid_for(payment))
        )
        return Started(await self._book_page(page) or payment, url=page.url)

    async def _refresh_checkout(self, named: str) -> None:
        page = await self._stripe.checkout(named)
        await self._book_page(page)
        if page.mode == "setup" and page.status == "complete":
            await self._refresh_methods(page.customer)

    async def _refresh_methods(self, stripe_id: str | None) -> None:
        if stripe_id:
            try:
                listed = await self._stripe.methods(stripe_id)
            except PaymentRefused as refused:
                if refused.reason != "resource_missing":
                    raise
                # Somebody has deleted the customer at Stripe: the next payment makes it anew.
                await transact(self._pool, lambda conn: sql.PAYER_LOST.run(conn, stripe_id))
                return
            await transact(self._pool, lambda conn: set_methods(conn, stripe_id, listed))

    async def _book_page(self, page: Checkout) -> Payment | None:
        """The page's payment first: a page that is over may have been paid."""
        if page.payment_intent:
            await self._book(await self._stripe.intent(page.payment_intent))
        return await transact(self._pool, lambda conn: book_checkout(conn, page))

    async def _cancel(self, intent: Intent) -> Payment | None:
        ended = await self._stripe.cancel_intent(intent.id)
        if ended.status == "canceled":
            last = intent.last_payment_error or ended.last_payment_error
            ended = msgspec.structs.replace(ended, last_payment_error=last)
        return await self._book(ended)

    async def _find(self, payment: Payment, stripe_id: str) -> Started:
        """Was it ever there? Its key is too old to ask again."""
        since = payment.created_at - LATE
        name = str(payment.id)
        for intent in await self._stripe.find_intents(stripe_id, since):
            if intent.metadata.get(PAYMENT) == name:
                return Started(await self._book(await self._stripe.intent(intent.id)) or payment)
        for page in await self._stripe.find_checkouts(stripe_id, since):
            if (page.metadata or {}).get(PAYMENT) == name:
                return Started(await self._book_page(page) or payment, url=page.url)
        return Started(await self._give_up(payment, "never_sent"))

    async def _book(self, intent: Intent) -> Payment | None:
        try:
            return await transact(self._pool, lambda conn: book_intent(conn, self._sellers, intent))
        except BillingError as error:
            # What was to be bought cannot be: the money is the customer's all the same.
            refused = str(error)
            return await transact(self._pool, lambda conn: book_intent(conn, self._sellers, intent, refused=refused))

    async def _book_first(self, intent_id: str | None) -> None:
        """What goes back of a payment is booked after the payment, whatever Stripe told first."""
        if intent_id and not await transact(self._pool, lambda conn: sql.BOOKED_INTENT.maybe(conn, intent_id)):
            await self._book(await self._stripe.intent(intent_id))

    async def _refresh_all_of(self, intent_id: str) -> None:
        """A charge that changed was paid, or refunded."""
        if await self._book(await self._stripe.intent(intent_id)) is None:
            return
        for refund in await self._stripe.refunds_of(intent_id):
            await transact(self._pool, lambda conn, refund=refund: book_refund(conn, refund))

    async def _send_refund(self, refund: PaymentRefund) -> PaymentRefund:
        payment = await transact(self._pool, lambda conn: sql.PAYMENT.one(conn, refund.payment_id))
        assert payment.intent_id is not None
        if refund.stripe_id is not None:
            told = await self._stripe.refund(refund.stripe_id)
        else:
            # A key that is too old might make a second refund: it is looked for first, whatever its age.
            there = [one for one in await self._stripe.refunds_of(payment.intent_id) if one.refund_id == refund.id]
            try:
                told = there[0] if there else await self._stripe.create_refund(refund, payment.intent_id)
            except PaymentRefused:
                return await transact(self._pool, lambda conn: give_up_refund(conn, refund.id))
        return await transact(self._pool, lambda conn: book_refund(conn, told)) or refund

    async def _give_up(self, payment: Payment, reason: str) -> Payment:
        async def give_up(conn: Conn) -> Payment:
            await fail(conn, await sql.LOCK_PAYMENT.one(conn, payment.id), reason)
            return await find_payment(conn, payment.customer_id, payment.id)

        return await transact(self._pool, give_up)

    async def _tried(self, what: str, work: Callable[..., Awaitable[object]], *args: object, told: Sequence[str] = ()) -> bool:
        """Whether it is done with. What Stripe does not know is; what is not booked stays, is tried again, and is reported."""
        try:
            await work(*args)
        except StripeAway:
            raise
        except PaymentRefused as error:
            log.warning("stripe_refused", what=what, error=error.detail)
        except BillingError as error:
            failure = str(error)
            log.error("stripe_not_booked", what=what, error=failure)  # noqa: TRY400 – the sentence says it all
            await transact(self._pool, lambda conn: sql.EVENTS_FAILED.run(conn, list(told), failure))
            return False
        return True


@asynccontextmanager
async def open_desk(pool: Pool, sellers: Sellers, api_key: str, base_url: str = "") -> AsyncGenerator[Desk | None]:
    """The desk of the account with that key, None without one. `base_url`: where Stripe is, if not at its own address."""
    if not api_key:
        yield None
        return
    async with open_stripe(api_key, base_url) as stripe:
        yield Desk(pool, stripe, sellers)


async def _payer(conn: Conn, customer_id: UUID) -> tuple[Customer, Payer]:
    buyer = await customer(conn, customer_id)
    await sql.ADD_PAYER.run(conn, customer_id)
    return buyer, await sql.PAYER.one(conn, customer_id)


def _digest(buyer: Customer) -> bytes:
    """Of the billing details that Stripe is told."""
    told = (buyer.legal_name, buyer.address, buyer.country, buyer.tax_id, buyer.language)
    return sha256(msgspec.json.encode(told)).digest()


def _made_by(transaction_id: str, source_id: str) -> tuple[str, str]:
    """What to ask for about a movement: kind and id by how its source's begins; no kind for what nothing is booked for."""
    prefix = source_id.partition("_")[0]
    # A reversal cannot be asked for by its own id.
    return ("balance_transaction", transaction_id) if prefix == "trr" else (_KINDS.get(prefix, ""), source_id)
