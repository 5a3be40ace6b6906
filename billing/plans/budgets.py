"""The budgets that free work is paid from: ours, one grant for each day. A janitor's work."""

from datetime import date, datetime

from billing.charges.model import COST_CURRENCY
from billing.kit.query import Conn
from billing.ledger.grants import Issue, issue
from billing.ledger.model import grant_account_id, wallet_id
from billing.plans import sql
from billing.plans.calendar import Calendar, Every
from billing.plans.catalogue import catalogue_in_force
from billing.plans.model import Budget

_ANCHOR = date(2000, 1, 1)


async def open_budget_days(conn: Conn) -> int:
    """Opens today's grant of every budget on offer, and those of the days ahead it may use; returns how many were opened.

    Safe to run twice and on two machines. A day that is open keeps its amount when the budget is changed.
    """
    now = (await sql.NOW.one(conn)).at
    days = [day for budget in (await catalogue_in_force(conn)).budgets for day in _days(budget, now)]
    grants = [grant_account_id(wallet_id(day.customer_id, "live", day.asset), "budget", day.source) for day in days]
    opened = {row.id for row in await sql.OPENED_GRANTS.all(conn, grants)}
    missing = [day for day, grant in zip(days, grants, strict=True) if grant not in opened]
    await issue(conn, missing)
    return len(missing)


def _days(budget: Budget, now: datetime) -> list[Issue]:
    calendar = Calendar(Every("day"), budget.time_zone, _ANCHOR)
    day = calendar.containing(now)
    days: list[Issue] = []
    for _ in range(budget.days_ahead + 1):
        grant = Issue(
            kind="budget",
            source=f"{budget.name}/{day.starts_at.isoformat()}",
            customer_id=budget.holder_id,
            asset=COST_CURRENCY,
            amount=budget.per_day_micro,
            starts_at=day.starts_at,
            expires_at=day.ends_at,
        )
        days.append(grant)
        day = calendar.next(day)
    return days
