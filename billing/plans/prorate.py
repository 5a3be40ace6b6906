"""What a plan is worth for the rest of a period; pure integer arithmetic, explained by the figures it used."""

from datetime import datetime

from billing.kit.apportion import apportion
from billing.plans.calendar import Period, seconds_between
from billing.plans.model import MINOR, SaleLine, SubscriptionPlan


def whole_of(plan: SubscriptionPlan) -> SaleLine:
    """The fee and the seconds of a whole period."""
    return SaleLine(
        kind="subscription",
        title=plan.title,
        seconds_class=plan.seconds_class,
        quantity_ms=plan.included_ms,
        price_micro=plan.fee_micro,
    )


def rest_of(plan: SubscriptionPlan, period: Period, at: datetime) -> SaleLine:
    """The fee and the seconds of the part of the period from `at` on, by real seconds; the fee in whole minor units."""
    rest_s = seconds_between(at, period.ends_at)
    parts = [period.length_s - rest_s, rest_s]
    return SaleLine(
        kind="rest",
        title=plan.title,
        seconds_class=plan.seconds_class,
        quantity_ms=apportion(plan.included_ms, parts)[1],
        price_micro=apportion(plan.fee_micro // MINOR, parts)[1] * MINOR,
        facts={"rest_s": rest_s, "whole_s": period.length_s},
    )


def unused_of(sold: SaleLine, period: Period, at: datetime, *, left_ms: int) -> SaleLine:
    """The seconds of a sale that are given back: what is left, but at most the part that was for the time from `at` on.

    So who has used less than the time that went by keeps the seconds of that time, and who has used more gets less back.
    What was sold for the rest of a period was for that rest alone.
    """
    rest_s, whole_s = seconds_between(at, period.ends_at), int(sold.facts.get("rest_s", period.length_s))
    for_the_rest = apportion(sold.quantity_ms, [whole_s - rest_s, rest_s])[1]
    return SaleLine(
        kind="unused",
        title=sold.title,
        seconds_class=sold.seconds_class,
        quantity_ms=min(left_ms, for_the_rest),
        facts={"included_ms": sold.quantity_ms, "rest_s": rest_s, "whole_s": whole_s},
    )
