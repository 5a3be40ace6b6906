"""Every error of the money plane, on one page.

    BillingError
    ├── InsufficientFunds      the wallet cannot cover the hold; nothing was held
    ├── BudgetSpent            the budget that pays for free work cannot cover it; nothing was held
    ├── UnknownWallet          no wallet in that currency for that customer
    ├── UnknownAsset           no such currency or class of seconds
    ├── UnknownAccount         a posting names a wallet's account that does not exist
    ├── TransferConflict       an id was used again with another payload
    ├── HoldNotOpen            capture or release of a hold that ended the other way
    ├── CaptureExceedsHold     more would be charged than was held
    ├── RefundExceedsCapture   more would be given back than was charged
    ├── NotReversible          a transfer whose correction is another verb's
    ├── PriceMissing           the rate card has no price for those dimensions
    ├── RateCardInvalid        a rate card that cannot be published
    ├── UnknownCustomer        no customer with that id
    ├── CustomerConflict       a customer was opened with another currency or time zone
    ├── BillingDetailsInvalid  what an invoice would say of a customer is malformed
    ├── UnknownCurrency        a currency that nothing is billed in
    ├── UnknownTimeZone        a name that is no IANA time zone
    ├── ReportInvalid          a report that makes no sense as it was asked for
    ├── CatalogueInvalid       plans or sellers that cannot be published
    ├── UnknownPlan            nothing of that name is offered
    ├── SubscriptionConflict   the customer has a plan already
    ├── UnknownSubscription    the customer has no plan
    ├── PlanChangeRefused      a change that a balance, a hold or a contract forbids
    ├── BudgetInvalid          a budget that nothing can be compared with
    ├── UnknownInvoice         no such invoice for that customer
    ├── CreditRefused          a credit note for more than its invoice stands for
    ├── InvoiceUnprintable     no PDF can be made here
    ├── BooksDiffer            an invoice and the ledger do not agree
    ├── UnknownPayment         no such payment for that customer
    ├── PaymentRefused         Stripe refuses what it was asked, for good
    ├── PaymentConflict        a payment was asked for again with other contents
    ├── RefundRefused          more would be paid back than is left of a payment
    ├── StripeAway             Stripe has not answered; what became of it is found out later
    ├── WireRefused            a wire that pays no invoice of ours as it is
    ├── WriteOffRefused        more would be given up than is left to pay
    ├── UnknownSettlement      no such wire or write-off for that customer
    ├── BillRefused            a supplier's bill that corrects nothing
    ├── WebhookRefused         a message that is not from Stripe, or not as it was sent
    ├── UnknownPayee           nobody of that name is paid, or not in that currency
    ├── PayeeConflict          a payee that cannot be, or that exists otherwise
    ├── AgreementInvalid       an agreement that cannot be kept
    ├── StatementRefused       a statement or a count with wrong rows; nothing of it was booked
    ├── UnknownPool            no pool of that name and period
    ├── PoolConflict           a pool that cannot be, or that was opened otherwise
    └── PayoutConflict         a payout that has ended, or never was

The class docstring is the public sentence; `code` is stable. HTTP statuses belong to the gateway.
"""

from collections.abc import Sequence
from typing import Protocol


class Wrong(Protocol):
    """What is wrong with a row of a file; row 0 is the file as a whole."""

    @property
    def row(self) -> int: ...
    @property
    def what(self) -> str: ...


class BillingError(Exception):
    """The billing system refused the operation."""

    code = "billing_error"

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        super().__init__(f"{self.code}: {detail}" if detail else self.code)


class InsufficientFunds(BillingError):
    """The wallet does not cover this request. Top it up, or ask for fewer seconds or a smaller size."""

    code = "insufficient_funds"


class UnknownWallet(BillingError):
    """The organization has no wallet in this currency. Create one with a first top-up."""

    code = "unknown_wallet"


class BudgetSpent(BillingError):
    """The budget for free work is spent for now. Try again later, or ask with a key of a paying project."""

    code = "budget_spent"


class UnknownAsset(BillingError):
    """There is no such currency or class of seconds. Use CNY, USD, or `SEC:` and a class of small letters, digits and dashes."""

    code = "unknown_asset"


class UnknownAccount(BillingError):
    """The account to post to does not exist. Open the wallet or issue the grant first."""

    code = "unknown_account"


class TransferConflict(BillingError):
    """This id was already used with other contents. Use a new id for a new operation."""

    code = "transfer_conflict"


class HoldNotOpen(BillingError):
    """The hold has already been captured or released. Nothing was changed."""

    code = "hold_not_open"


class CaptureExceedsHold(BillingError):
    """A capture may not exceed its hold. Nothing was changed."""

    code = "capture_exceeds_hold"


class RefundExceedsCapture(BillingError):
    """A refund may not exceed what was charged and not yet given back, by a refund or a credit note. Nothing was changed."""

    code = "refund_exceeds_capture"


class NotReversible(BillingError):
    """This transfer is not undone by a reversal. Use the refund, the expiry or the correction that its kind has."""

    code = "not_reversible"


class PriceMissing(BillingError):
    """This model has no price for the requested size, audio or service tier. Ask for another combination."""

    code = "price_missing"


class RateCardInvalid(BillingError):
    """The rate card cannot be published. Correct the named entry."""

    code = "rate_card_invalid"


class UnknownCustomer(BillingError):
    """There is no such customer. Open it first."""

    code = "unknown_customer"


class CustomerConflict(BillingError):
    """A customer keeps the currency and the time zone it was opened with. Open another one."""

    code = "customer_conflict"


class BillingDetailsInvalid(BillingError):
    """These billing details cannot be printed on an invoice. Correct the named entry."""

    code = "billing_details_invalid"


class UnknownCurrency(BillingError):
    """Nothing is billed in this currency. Use CNY or USD."""

    code = "unknown_currency"


class UnknownTimeZone(BillingError):
    """This is no time zone. Use an IANA name such as Asia/Shanghai or Europe/Berlin."""

    code = "unknown_time_zone"


class ReportInvalid(BillingError):
    """The report cannot be made as it was asked for. Correct the named parameter."""

    code = "report_invalid"

    def __init__(self, detail: str = "", param: str | None = None) -> None:
        self.param = param
        super().__init__(detail)


class CatalogueInvalid(BillingError):
    """The catalogue cannot be published. Correct the named entry."""

    code = "catalogue_invalid"


class UnknownPlan(BillingError):
    """Nothing of that name is offered. Choose one of those that are named."""

    code = "unknown_plan"


class SubscriptionConflict(BillingError):
    """The customer already has a plan. Change it, or end it first."""

    code = "subscription_conflict"


class UnknownSubscription(BillingError):
    """The customer has no plan. Begin one first."""

    code = "unknown_subscription"


class PlanChangeRefused(BillingError):
    """The plan cannot be changed now. Nothing was changed; the reason says what is missing."""

    code = "plan_change_refused"


class BudgetInvalid(BillingError):
    """The budget cannot be watched. Correct the named entry."""

    code = "budget_invalid"


class UnknownInvoice(BillingError):
    """There is no such invoice for this customer."""

    code = "unknown_invoice"


class CreditRefused(BillingError):
    """The credit note cannot be issued. Credit at most what each line of the invoice still stands for, less what was refunded."""

    code = "credit_refused"


class InvoiceUnprintable(BillingError):
    """The invoice cannot be made into a PDF here. It is there as JSON; the reason says what is missing."""

    code = "invoice_unprintable"


class BooksDiffer(BillingError):
    """What is to be invoiced differs from what the ledger says is owed. Nothing was invoiced; verify the ledger."""

    code = "books_differ"


class UnknownPayment(BillingError):
    """There is no such payment for this customer."""

    code = "unknown_payment"


class PaymentRefused(BillingError):
    """The payment was refused. Nothing was charged; use another method or another amount."""

    code = "payment_refused"

    def __init__(self, detail: str = "", reason: str = "refused") -> None:
        self.reason = reason
        super().__init__(detail)


class PaymentConflict(BillingError):
    """This payment was already asked for with other contents. Use a new id for a new payment."""

    code = "payment_conflict"


class RefundRefused(BillingError):
    """The refund is for more than is left of the payment. Nothing was changed."""

    code = "refund_refused"


class StripeAway(BillingError):
    """The payment provider does not answer. Nothing is lost: what was asked is finished or given up as soon as it does."""

    code = "payments_unavailable"


class WireRefused(BillingError):
    """The wire cannot be booked to this invoice. Name an invoice in its own currency, its amount and the bank's reference."""

    code = "wire_refused"


class WriteOffRefused(BillingError):
    """This cannot be given up. Write off at most what is left to pay of the invoice, and say why."""

    code = "write_off_refused"


class UnknownSettlement(BillingError):
    """There is no such wire or write-off for this customer."""

    code = "unknown_settlement"


class BillRefused(BillingError):
    """The bill cannot be booked. Name a pool that ran, a month that is over, and the total in the currency of compute cost."""

    code = "bill_refused"


class WebhookRefused(BillingError):
    """This is no message of the payment provider as it was sent. Check the signing secret and the clock."""

    code = "webhook_refused"


class UnknownPayee(BillingError):
    """Nobody of that name is paid in this currency. Register the payee first."""

    code = "unknown_payee"


class PayeeConflict(BillingError):
    """The payee cannot be registered like this. A payee keeps the currency it was registered with."""

    code = "payee_conflict"


class AgreementInvalid(BillingError):
    """The agreement cannot be put in force. Correct what is named; an agreement is never changed, a later one follows it."""

    code = "agreement_invalid"


class StatementRefused(BillingError):
    """Nothing of this file was booked. Correct the rows that are named and send the whole file again."""

    code = "statement_refused"

    def __init__(self, problems: Sequence[Wrong]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"row {one.row}: {one.what}" if one.row else one.what for one in self.problems))


class UnknownPool(BillingError):
    """There is no pool of that name and period. Open it first."""

    code = "unknown_pool"


class PoolConflict(BillingError):
    """The pool cannot be opened like this. One that is open keeps its terms."""

    code = "pool_conflict"


class UnknownPayout(BillingError):
    """There is no such payout."""

    code = "unknown_payout"


class PayoutConflict(BillingError):
    """The payout cannot change like this. One that has ended stays as it is; what is owed again is paid by the next."""

    code = "payout_conflict"
