"""The posting rules: which accounts every event of the money plane moves. Data, on one page.

An account in braces is a wallet's account that the posting names by that role; every other is ours, named
`name:book:asset`, with dimensions after slashes. A leg of nothing is left out. Debits are negative, credits positive, and
each rule sums to zero per asset. `units` legs are in prepaid seconds, or in the money that other money is exchanged for; all
others are in the money of the event.
"""

import msgspec


class Leg(msgspec.Struct, frozen=True):
    sign: int
    account: str
    amount: str
    units: bool


class Rule(msgspec.Struct, frozen=True):
    """`opens` is the kind of grant the event makes. `raises`, `lowers`: the amount by which the floor of {credit} moves,
    so that for postpaid customers unbilled + receivable + held ≤ limit. Amounts in `signed` may be below zero. `stated`: a
    document says so, and it is never taken back; another document corrects it. `taken`: it has happened whether or not the
    wallet covers it, so {wallet} may fall below its floor; until that is made good it holds nothing. `filed`: another verb
    keeps a record of it, and alone takes it back.
    """

    legs: tuple[Leg, ...] = ()
    opens: str = ""
    raises: str = ""
    lowers: str = ""
    signed: frozenset[str] = frozenset()
    stated: bool = False
    taken: bool = False
    filed: bool = False


def debit(account: str, amount: str = "amount", *, units: bool = False) -> Leg:
    return Leg(-1, account, amount, units)


def credit(account: str, amount: str = "amount", *, units: bool = False) -> Leg:
    return Leg(1, account, amount, units)


CLEARING, BANK, RECEIVABLE = "asset:clearing", "asset:bank", "asset:receivable/{customer}"
DEFERRED, ACCRUED, TAX, REFUND_TRANSIT = (
    "liability:deferred/{grant}",
    "liability:gpu_accrued/{pool}",
    "liability:tax",
    "liability:refund_transit",
)
USAGE, SUBSCRIPTION, BREAKAGE = "revenue:usage", "revenue:subscription", "revenue:breakage"
SLA, REFUNDS = "contra:sla", "contra:refunds"
COGS, BAD_DEBT, ROUNDING = "expense:cogs/{pool}/{model}/{outcome}", "expense:bad_debt", "expense:rounding"
STRIPE_FEE, EXCHANGE = "expense:stripe_fee", "memo:exchange"
INCOME_RECEIVABLE, TO_SHARE = "asset:income_receivable/{network}", "liability:to_share"
SHARED, POOL_SHARE, PAYOUT_TRANSIT = "revenue:shared/{income}", "expense:pool_share/{pool}", "liability:payout_transit"
PROMO, BUDGET = "memo:promo_issued", "memo:budget_issued"
ISSUED, USED, EXPIRED = "units:issued", "units:used", "units:expired"


def _sale(payer: Leg, opens: str, lowers: str = "", raises: str = "") -> Rule:
    """Prepaid seconds: their price is deferred until they are used. `total` is `basis` and `tax`."""
    legs = (payer, credit(DEFERRED, "basis"), credit(TAX, "tax"), debit(ISSUED, units=True), credit("{grant}", units=True))
    return Rule(legs, opens=opens, lowers=lowers, raises=raises)


def _seconds_end(to: str, earned: str) -> Rule:
    return Rule((debit("{grant}", units=True), credit(to, units=True), debit(DEFERRED, "earned"), credit(earned, "earned")))


def _return(payee: Leg, lowers: str = "") -> Rule:
    """Prepaid seconds taken back for their price and its tax. `earned` and `tax` are `total`, `credited` and `rounding`.

    `credited` is what a credit note has given back already of what they were sold for.
    """
    legs = (
        debit("{grant}", units=True), credit(ISSUED, units=True), debit(DEFERRED, "earned"), debit(TAX, "tax"), payee,
        credit(REFUNDS, "credited"), credit(ROUNDING, "rounding"),
    )  # fmt: skip
    return Rule(legs, lowers=lowers, signed=frozenset({"rounding"}))


RULES: dict[str, Rule] = {
    # money in
    "top_up": Rule((debit(CLEARING), credit("{wallet}"))),
    "voucher": Rule((debit(CLEARING), credit("{grant}")), opens="paid"),
    "promo": Rule((debit(PROMO), credit("{grant}")), opens="promo"),
    "sla": Rule((debit(SLA), credit("{grant}")), opens="promo"),
    "budget": Rule((debit(BUDGET), credit("{grant}")), opens="budget"),
    # prepaid seconds: a pack, a subscription's period, a free allowance
    "pack": _sale(debit(CLEARING, "total"), "pack"),
    "pack_from_wallet": _sale(debit("{wallet}", "total"), "pack"),
    "pack_on_account": _sale(debit(RECEIVABLE, "total"), "pack", raises="total"),
    "subscription": _sale(debit(CLEARING, "total"), "subscription"),
    "subscription_from_wallet": _sale(debit("{wallet}", "total"), "subscription"),
    "subscription_on_account": _sale(debit(RECEIVABLE, "total"), "subscription", raises="total"),
    "allowance": Rule((debit(ISSUED, units=True), credit("{grant}", units=True)), opens="allowance"),
    "rollover": Rule(
        (debit("{from}", units=True), credit("{grant}", units=True),
         debit("liability:deferred/{from}", "basis"), credit(DEFERRED, "basis")),
        opens="subscription",
    ),
    # what was not used when a grant expires
    "expire_paid": Rule((debit("{grant}"), credit(BREAKAGE))),
    "expire_promo": Rule((debit("{grant}"), credit(PROMO))),
    "expire_budget": Rule((debit("{grant}"), credit(BUDGET))),
    "expire_pack": _seconds_end(EXPIRED, BREAKAGE),
    "expire_subscription": _seconds_end(EXPIRED, SUBSCRIPTION),
    "expire_allowance": Rule((debit("{grant}", units=True), credit(EXPIRED, units=True))),
    # money back
    "cash_refund": Rule((debit("{wallet}"), credit(REFUND_TRANSIT))),
    "cash_refund_paid": Rule((debit(REFUND_TRANSIT), credit(CLEARING))),
    "cash_refund_failed": Rule((debit(REFUND_TRANSIT), credit("{wallet}"))),
    "cash_taken": Rule((debit("{wallet}"), credit(CLEARING)), taken=True),  # a dispute, or a refund that was not ours to decide
    "cash_returned": Rule((debit(CLEARING), credit("{wallet}"))),  # a dispute that was won, or a refund that came back
    "seconds_return_to_wallet": _return(credit("{wallet}", "total")),
    "seconds_return_on_account": _return(credit(RECEIVABLE, "total"), lowers="total"),
    # postpaid: a month is closed, paid, corrected, given up
    "credit_limit": Rule(lowers="change", signed=frozenset({"change"})),
    "close": Rule(
        (debit(RECEIVABLE, "total"), credit("{credit}", "usage"), credit(USAGE, "shortfall"), credit(TAX, "tax"),
         credit(ROUNDING, "rounding")),
        raises="total",
        signed=frozenset({"total", "usage", "shortfall", "tax", "rounding"}),  # a tax inside prices lowers what is earned
        stated=True,
    ),
    "payment": Rule((debit(CLEARING), credit(RECEIVABLE)), lowers="amount"),
    "payment_from_wallet": Rule((debit("{wallet}"), credit(RECEIVABLE)), lowers="amount"),
    "payment_refund": Rule((debit(RECEIVABLE), credit(REFUND_TRANSIT)), raises="amount"),
    "payment_refund_failed": Rule((debit(REFUND_TRANSIT), credit(RECEIVABLE)), lowers="amount"),
    "payment_taken": Rule((debit(RECEIVABLE), credit(CLEARING)), raises="amount"),
    "payment_returned": Rule((debit(CLEARING), credit(RECEIVABLE)), lowers="amount"),
    "credit_note": Rule((debit(REFUNDS, "net"), debit(TAX, "tax"), credit(RECEIVABLE, "total")), lowers="total", stated=True),
    "sla_note": Rule((debit(SLA, "net"), debit(TAX, "tax"), credit(RECEIVABLE, "total")), lowers="total", stated=True),
    "write_off": Rule((debit(BAD_DEBT), credit(RECEIVABLE)), lowers="amount", filed=True),
    # a wire: for what is owed, and what is more than that
    "bank_payment": Rule((debit(BANK), credit(RECEIVABLE)), lowers="amount", filed=True),
    "bank_top_up": Rule((debit(BANK), credit("{wallet}")), filed=True),
    # what Stripe keeps of what it moves, changes into the currency it settles in, and pays to the bank or takes from there
    "stripe_fee": Rule((debit(STRIPE_FEE), credit(CLEARING)), signed=frozenset({"amount"})),
    "exchange": Rule(
        (debit(EXCHANGE), credit(CLEARING), debit(CLEARING, "got", units=True), credit(EXCHANGE, "got", units=True)),
        signed=frozenset({"amount", "got"}),
    ),
    "bank_payout": Rule((debit(BANK), credit(CLEARING)), signed=frozenset({"amount"})),
    # what a GPU costs: every attempt, also a failed one; the vendor's bill corrects the month and is paid
    "cost": Rule((debit(COGS), credit(ACCRUED))),
    "cost_true_up": Rule((debit(COGS), credit(ACCRUED)), signed=frozenset({"amount"}), filed=True),
    "cost_paid": Rule((debit(ACCRUED), credit(BANK))),
    # income that is shared by agreement: every statement's `to_share` comes to zero
    "income": Rule((debit(INCOME_RECEIVABLE), credit(TO_SHARE))),
    "income_back": Rule((debit(TO_SHARE), credit(INCOME_RECEIVABLE))),
    "income_settled": Rule((debit(BANK), credit(INCOME_RECEIVABLE)), signed=frozenset({"amount"})),
    "share": Rule((debit(TO_SHARE), credit("{payee}"))),
    "share_back": Rule((debit("{payee}"), credit(TO_SHARE)), taken=True),
    "share_kept": Rule((debit(TO_SHARE), credit(SHARED))),
    "share_kept_back": Rule((debit(SHARED), credit(TO_SHARE))),
    # a pool shared by views, and what a later count takes back
    "pool_share": Rule((debit(POOL_SHARE), credit("{payee}"))),
    "pool_share_back": Rule((debit("{payee}"), credit(POOL_SHARE)), taken=True),
    # paid out, as far as it is owed
    "payout": Rule((debit("{payee}"), credit(PAYOUT_TRANSIT))),
    "payout_paid": Rule((debit(PAYOUT_TRANSIT), credit(CLEARING))),
    "payout_failed": Rule((debit(PAYOUT_TRANSIT), credit("{payee}"))),
    "payout_reversed": Rule((debit(CLEARING), credit("{payee}"))),
}  # fmt: skip


class Drawn(msgspec.Struct, frozen=True):
    """What using a grant credits; `earned`: where its deferred price goes; `refunded`: what pays when usage is given back."""

    to: str
    refunded: str
    earned: str = ""


DRAWN: dict[str, Drawn] = {
    "paid": Drawn(USAGE, refunded=REFUNDS),
    "credit": Drawn(USAGE, refunded=REFUNDS),
    "promo": Drawn(PROMO, refunded=PROMO),
    "budget": Drawn(BUDGET, refunded=BUDGET),
    "pack": Drawn(USED, refunded=USED, earned=USAGE),
    "subscription": Drawn(USED, refunded=USED, earned=SUBSCRIPTION),
    "allowance": Drawn(USED, refunded=USED),
}
"""Capture: grant → `to`, deferred → `earned`. Usage refund: `refunded` → grant, `earned` → deferred."""

KINDS = frozenset(RULES) | {"capture", "refund", "reversal"}
"""Every kind of transfer there is."""
