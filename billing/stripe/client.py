"""Stripe over HTTP, through its own SDK: what we ask of it, each request bounded in time and safe to send again.

A request that creates something carries a key that follows from the id of our own row, so after a crash it is the same request.
"""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

import httpx
import msgspec
import stripe
from stripe.params import (
    AccountCreateParams,
    AccountLinkCreateParams,
    BalanceTransactionListParamsCreated,
    CustomerCreateParams,
    CustomerTaxIdCreateParams,
    CustomerUpdateParams,
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    RefundCreateParams,
    TransferCreateParams,
)
from stripe.params.checkout import SessionCreateParams, SessionListParams

from billing.customers.model import Customer
from billing.errors import PaymentRefused, StripeAway
from billing.plans.model import MINOR
from billing.shares.model import Payout
from billing.stripe.model import Payment, PaymentRefund, key_of, tax_id_kind
from billing.stripe.wire import (
    PAYMENT,
    PAYOUT,
    REFUND,
    Account,
    Balance,
    Charge,
    Checkout,
    Dispute,
    Intent,
    Method,
    Moved,
    Refund,
    Requirements,
    Reversal,
    Reversals,
    Transaction,
    Transfer,
)

API_VERSION = "2026-10-28.endive"
"""The version of Stripe's API that `wire.py` reads, whatever the account's default is."""

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_RETRIES = 2
_PAGE = 100
_CHARGE = "latest_charge.balance_transaction"
_REFUSALS = (400, 402, 404)
"""Statuses that are an answer; with any other the same request may yet succeed."""

_NO_ACCOUNT = "account_invalid"
"""An account that is gone is a 403, as a key without rights is; the SDK's error does not tell them apart."""

Answer = TypeVar("Answer")
Struct = TypeVar("Struct", bound=msgspec.Struct)


class Stripe:
    """A connection to one Stripe account. Every method raises StripeAway, and PaymentRefused where Stripe says no."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._v1 = client.v1

    # -- customers -----------------------------------------------------------------------------------------------------
    async def create_customer(self, customer: Customer, nth: int) -> str:
        """Returns Stripe's id of the customer; `nth` counts those that were deleted there before."""
        params: CustomerCreateParams = {"metadata": {"tallylight_customer": str(customer.id)}}
        made = await _answer(
            self._v1.customers.create_async(params, {"idempotency_key": key_of("customer", f"{customer.id}-{nth}")})
        )  # fmt: skip
        return made.id

    async def tell_customer(self, stripe_id: str, customer: Customer) -> None:
        """Puts the billing details on the customer."""
        params: CustomerUpdateParams = {
            "name": customer.legal_name,
            "preferred_locales": [customer.language],
            "address": {"line1": customer.address, "country": customer.country},
        }
        await _answer(self._v1.customers.update_async(stripe_id, params))

    async def tell_tax_id(self, stripe_id: str, customer: Customer) -> str:
        """Puts the tax number on the customer, in place of any other. Returns what Stripe makes of it, such as `verified`."""
        listed = await _answer(self._v1.customers.tax_ids.list_async(stripe_id, {"limit": _PAGE}))
        for other in listed.data:
            if other.value != customer.tax_id:
                await _answer(self._v1.customers.tax_ids.delete_async(stripe_id, other.id))
        kind = tax_id_kind(customer.country)
        if not customer.tax_id or kind is None:
            return ""
        params: CustomerTaxIdCreateParams = {"type": kind, "value": customer.tax_id}
        try:
            made = next((one for one in listed.data if one.value == customer.tax_id), None)
            made = made or await _answer(self._v1.customers.tax_ids.create_async(stripe_id, params))
        except PaymentRefused:
            return "refused"
        return made.verification.status if made.verification else ""

    async def portal(self, stripe_id: str, return_url: str) -> str:
        """The address of a page where the customer sees and removes its saved methods."""
        made = await _answer(
            self._v1.billing_portal.sessions.create_async({"customer": stripe_id, "return_url": return_url})
        )  # fmt: skip
        return made.url

    async def methods(self, stripe_id: str) -> list[Method]:
        """What the customer has saved."""
        listed = await _answer(self._v1.customers.payment_methods.list_async(stripe_id, {"limit": _PAGE}))
        return [_read(one, Method) for one in listed.data]

    async def method(self, method_id: str) -> Method:
        return _read(await _answer(self._v1.payment_methods.retrieve_async(method_id)), Method)

    async def detach(self, method_id: str) -> None:
        await _answer(self._v1.payment_methods.detach_async(method_id))

    # -- payments ------------------------------------------------------------------------------------------------------
    async def create_intent(self, payment: Payment, customer: str) -> Intent:
        """A saved method is charged at once. One that is declined is an Intent all the same: it says so."""
        params: PaymentIntentCreateParams = {
            "amount": payment.amount_minor,
            "currency": payment.currency.lower(),
            "customer": customer,
            "metadata": {PAYMENT: str(payment.id)},
            "expand": [_CHARGE],
        }
        if payment.flow == "saved":
            params["payment_method"] = payment.methods[0]
            params["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "never"}
            params["confirm"] = True
            params["off_session"] = True
        else:
            params["allowed_payment_method_types"] = list(payment.methods)
        if payment.saves:
            params["setup_future_usage"] = "off_session"
        try:
            made = await _answer(
                self._v1.payment_intents.create_async(params, {"idempotency_key": key_of("payment", payment.id)})
            )  # fmt: skip
        except PaymentRefused as refused:
            declined = _declined_intent(refused)
            if declined is None:
                raise
            return await self.intent(declined)
        return _read(made, Intent)

    async def intent(self, intent_id: str) -> Intent:
        return _read(await _answer(self._v1.payment_intents.retrieve_async(intent_id, {"expand": [_CHARGE]})), Intent)

    async def cancel_intent(self, intent_id: str) -> Intent:
        """Cancels it, or says what else became of it."""
        try:
            ended = await _answer(self._v1.payment_intents.cancel_async(intent_id, {"expand": [_CHARGE]}))
        except PaymentRefused:
            return await self.intent(intent_id)
        return _read(ended, Intent)

    async def find_intents(self, customer: str, since: datetime) -> list[Intent]:
        """The customer's that were created since then; for a payment whose answer was lost too long ago to ask again."""
        params: PaymentIntentListParams = {"customer": customer, "created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        listed = await _answer(self._v1.payment_intents.list_async(params))
        return [_read(one, Intent) async for one in _each(listed)]

    async def create_checkout(self, payment: Payment, customer: str, title: str) -> Checkout:
        """A page of Stripe's on which the customer pays."""
        params: SessionCreateParams = {
            "mode": "payment",
            "customer": customer,
            "allowed_payment_method_types": list(payment.methods),
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": payment.currency.lower(),
                        "unit_amount": payment.amount_minor,
                        "product_data": {"name": title},
                    },
                }
            ],
            "metadata": {PAYMENT: str(payment.id)},
            "payment_intent_data": {"metadata": {PAYMENT: str(payment.id)}},
            "success_url": payment.return_url,
            "cancel_url": payment.return_url,
        }
        if "wechat_pay" in payment.methods:
            params["payment_method_options"] = {"wechat_pay": {"client": "web"}}
        if payment.saves and "payment_intent_data" in params:
            params["payment_intent_data"]["setup_future_usage"] = "off_session"
        key = key_of("checkout", payment.id)
        return _read(await _answer(self._v1.checkout.sessions.create_async(params, {"idempotency_key": key})), Checkout)

    async def create_setup(self, customer: str, return_url: str, key: str) -> Checkout:
        """A page of Stripe's on which the customer saves a card without paying."""
        params: SessionCreateParams = {
            "mode": "setup",
            "customer": customer,
            "allowed_payment_method_types": ["card"],
            "success_url": return_url,
            "cancel_url": return_url,
        }
        made = await _answer(
            self._v1.checkout.sessions.create_async(params, {"idempotency_key": key_of("setup", key)})
        )  # fmt: skip
        return _read(made, Checkout)

    async def checkout(self, session_id: str) -> Checkout:
        return _read(await _answer(self._v1.checkout.sessions.retrieve_async(session_id)), Checkout)

    async def find_checkouts(self, customer: str, since: datetime) -> list[Checkout]:
        """As `find_intents`."""
        params: SessionListParams = {"customer": customer, "created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        listed = await _answer(self._v1.checkout.sessions.list_async(params))
        return [_read(one, Checkout) async for one in _each(listed)]

    async def charge(self, charge_id: str) -> Charge:
        return _read(await _answer(self._v1.charges.retrieve_async(charge_id)), Charge)

    # -- money back ----------------------------------------------------------------------------------------------------
    async def create_refund(self, refund: PaymentRefund, intent_id: str) -> Refund:
        params: RefundCreateParams = {
            "payment_intent": intent_id,
            "amount": refund.amount_minor,
            "metadata": {REFUND: str(refund.id)},
        }
        made = await _answer(
            self._v1.refunds.create_async(params, {"idempotency_key": key_of("refund", refund.id)})
        )  # fmt: skip
        return _read(made, Refund)

    async def refund(self, refund_id: str) -> Refund:
        return _read(await _answer(self._v1.refunds.retrieve_async(refund_id)), Refund)

    async def refunds_of(self, intent_id: str) -> list[Refund]:
        listed = await _answer(self._v1.refunds.list_async({"payment_intent": intent_id, "limit": _PAGE}))
        return [_read(one, Refund) async for one in _each(listed)]

    async def dispute(self, dispute_id: str) -> Dispute:
        return _read(await _answer(self._v1.disputes.retrieve_async(dispute_id)), Dispute)

    # -- payees --------------------------------------------------------------------------------------------------------
    async def create_account(self, payee_id: UUID, country: str) -> Account:
        """An account that can only receive transfers; Stripe asks the payee for the rest on a page of its own."""
        params: AccountCreateParams = {
            "country": country,
            "controller": {
                "fees": {"payer": "application"},
                "losses": {"payments": "application"},
                "stripe_dashboard": {"type": "express"},
            },
            "capabilities": {"transfers": {"requested": True}},
            "metadata": {"tallylight_payee": str(payee_id)},
        }
        key = key_of("account", f"{payee_id}-{country}")
        return _read(await _answer(self._v1.accounts.create_async(params, {"idempotency_key": key})), Account)

    async def account(self, account_id: str) -> Account:
        """One that is gone, or no longer lets us see it, lacks just that."""
        try:
            return _read(await _answer(self._v1.accounts.retrieve_async(account_id)), Account)
        except PaymentRefused as refused:
            return Account(account_id, requirements=Requirements(disabled_reason=refused.reason))

    async def onboarding(self, account_id: str, return_url: str) -> str:
        """The address of a page on which the payee tells Stripe who it is and where its bank is; good for some minutes."""
        params: AccountLinkCreateParams = {
            "account": account_id,
            "type": "account_onboarding",
            "return_url": return_url,
            "refresh_url": return_url,
        }
        return (await _answer(self._v1.account_links.create_async(params))).url

    async def available(self) -> dict[str, int]:
        """What of the balance can be transferred now, in minor units by currency."""
        balance = _read(await _answer(self._v1.balance.retrieve_async()), Balance)
        return {one.currency.upper(): one.amount for one in balance.available}

    async def create_transfer(self, payout: Payout) -> Transfer:
        params: TransferCreateParams = {
            "amount": payout.amount_micro // MINOR,
            "currency": payout.currency.lower(),
            "destination": payout.destination,
            "transfer_group": str(payout.id),
            "metadata": {PAYOUT: str(payout.id)},
        }
        key = key_of("payout", payout.id)
        return _read(await _answer(self._v1.transfers.create_async(params, {"idempotency_key": key})), Transfer)

    async def find_transfer(self, payout: Payout) -> Transfer | None:
        """The payout's, if it was ever made: an answer may have been lost."""
        listed = await _answer(self._v1.transfers.list_async({"transfer_group": str(payout.id), "limit": _PAGE}))
        found = [_read(one, Transfer) async for one in _each(listed)]
        return next((one for one in found if one.payout_id == payout.id), None)

    async def transfer(self, transfer_id: str) -> Transfer:
        """With all that was taken back of it."""
        found = _read(await _answer(self._v1.transfers.retrieve_async(transfer_id)), Transfer)
        if not found.reversals.has_more:
            return found
        listed = await _answer(self._v1.transfers.reversals.list_async(transfer_id, {"limit": _PAGE}))
        taken = tuple([_read(one, Reversal) async for one in _each(listed)])
        return msgspec.structs.replace(found, reversals=Reversals(taken))

    async def reversed_transfer(self, transaction_id: str) -> str | None:
        """The transfer that a movement has taken back; a reversal cannot be asked for without it."""
        asked = self._v1.balance_transactions.retrieve_async(transaction_id, {"expand": ["source"]})
        moved = _read(await _answer(asked), Moved)
        return moved.source.transfer if moved.source else None

    # -- Stripe's own account ------------------------------------------------------------------------------------------
    async def transactions(self, since: datetime, until: datetime | None = None) -> list[Transaction]:
        """Every movement of the balance in `[since, until)`, the newest first."""
        asked: BalanceTransactionListParamsCreated = {"gte": int(since.timestamp())}
        if until is not None:
            asked["lt"] = int(until.timestamp())
        listed = await _answer(self._v1.balance_transactions.list_async({"created": asked, "limit": _PAGE}))
        return [_read(one, Transaction) async for one in _each(listed)]


@asynccontextmanager
async def open_stripe(api_key: str, base_url: str = "") -> AsyncGenerator[Stripe]:
    """A connection that is closed again. `base_url`: where Stripe is, if not at Stripe's own address."""
    http = stripe.HTTPXClient(timeout=_TIMEOUT)
    client = stripe.StripeClient(
        api_key,
        stripe_version=API_VERSION,
        base_addresses={"api": base_url} if base_url else None,
        max_network_retries=_RETRIES,
        http_client=http,
    )
    try:
        yield Stripe(client)
    finally:
        await http.close_async()


async def _answer(asked: Awaitable[Answer]) -> Answer:
    """Stripe's answer. Raises PaymentRefused where that is no, and StripeAway where there is none that counts."""
    try:
        return await asked
    except stripe.StripeError as error:
        if error.http_status in _REFUSALS or _told(error).get("code") == _NO_ACCOUNT:
            raise PaymentRefused(error.user_message or str(error), _word(error)) from error
        raise StripeAway(type(error).__name__) from error


async def _each(listed: Any) -> AsyncGenerator[stripe.StripeObject]:  # noqa: ANN401 – the SDK's lists share no type of their own
    """Every object of a list, asking for further pages as they are needed."""
    while True:
        for one in listed.data:
            yield one
        if not listed.has_more:
            return
        listed = await _answer(listed.next_page_async())


def _read(answer: stripe.StripeObject, kind: type[Struct]) -> Struct:
    try:
        return msgspec.convert(answer.to_dict(), kind)
    except msgspec.ValidationError as error:
        raise StripeAway(f"{kind.__name__} is not as version {API_VERSION} has it: {error}") from error


def _word(error: stripe.StripeError) -> str:
    """One word of why."""
    told = _told(error)
    return str(told.get("decline_code") or told.get("code") or told.get("type") or "refused")


def _declined_intent(refused: PaymentRefused) -> str | None:
    """The id of the PaymentIntent that a declined charge has left."""
    intent = _told(refused.__cause__).get("payment_intent")
    return str(intent["id"]) if intent else None


def _told(error: BaseException | None) -> dict[str, Any]:
    """What the answer says of the error."""
    body = cast("object", error.json_body) if isinstance(error, stripe.StripeError) else None
    return cast("dict[str, Any]", body.get("error") or {}) if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownMemberType] JSON
