"""Alerts: a budget is half, four fifths or all spent; a wallet runs dry soon. Janitors' work; they stop nothing."""

from datetime import date
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from billing.customers.register import customer
from billing.errors import BudgetInvalid
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.plans import sql
from billing.plans.calendar import Calendar, Every, Period, local_day
from billing.plans.events import tell

THRESHOLDS = (50, 80, 100)
"""Percent of a budget."""
DRY_HOURS = (72, 24, 6)
"""A wallet is said to run dry when what it has left lasts less than this, at the pace of the last day."""


class Budgeted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a customer means to spend in each period on its own clock: of its own money and credit."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    amount_micro: Annotated[int, Meta(ge=1, le=10**17)]
    every: Every = Every("month")
    anchor: date | None = None


async def set_budget(conn: Conn, customer_id: UUID, budget: Budgeted) -> UUID:
    """Sets the customer's budget of that name. Returns its id. Raises UnknownCustomer, BudgetInvalid naming the entry.

    Without an anchor, months are calendar months, and weeks and days are counted from today.
    """
    owner = await customer(conn, customer_id)
    try:
        budget = msgspec.convert(msgspec.to_builtins(budget), Budgeted)
    except msgspec.ValidationError as error:
        raise BudgetInvalid(str(error)) from error
    today = local_day((await sql.NOW.one(conn)).at, owner.time_zone)
    anchor = budget.anchor or (today.replace(day=1) if budget.every.unit == "month" else today)
    budget_id = derived_id("alert_budget", customer_id, budget.name)
    every = msgspec.json.encode(budget.every)
    await sql.SET_BUDGET.run(conn, budget_id, customer_id, budget.name, every, anchor, budget.amount_micro)
    return budget_id


async def check_budgets(conn: Conn) -> int:
    """Tells of every threshold that a budget's current period has reached, once each. Returns how many were new."""
    now = (await sql.NOW.one(conn)).at
    budgets = await sql.BUDGETS.all(conn)
    periods = [_calendar(row).containing(now) for row in budgets]
    spent = await sql.SPENT.all(conn, [row.customer_id for row in budgets], *_columns(periods))
    told = 0
    for row, period, sum_ in zip(budgets, periods, spent, strict=True):
        for percent in THRESHOLDS:
            if sum_.amount_micro * 100 < row.amount_micro * percent:
                break
            facts = {
                "budget": row.name, "percent": percent, "currency": row.currency, "amount_micro": row.amount_micro,
                "spent_micro": sum_.amount_micro, "from": period.starts_at.isoformat(), "to": period.ends_at.isoformat(),
            }  # fmt: skip
            source = f"{row.id}/{period.starts_at.isoformat()}/{percent}"
            told += await tell(conn, "budget.reached", source, row.customer_id, facts)
    return told


async def check_wallets(conn: Conn) -> int:
    """Tells, once for each top-up and number of hours, of wallets that run dry at the pace of the last 24 hours."""
    told = 0
    for row in await sql.PACES.all(conn):
        left_hours = max(row.free_micro, 0) * 24 // row.day_micro
        reached = [hours for hours in DRY_HOURS if left_hours < hours]
        if reached:
            facts = {
                "currency": row.currency, "free_micro": row.free_micro, "day_micro": row.day_micro, "left_hours": left_hours,
            }  # fmt: skip
            told += await tell(conn, "wallet.runs_dry", f"{row.wallet_id}/{row.topped_up}/{reached[-1]}", row.customer_id, facts)
    return told


def _calendar(row: sql.BudgetRow) -> Calendar:
    return Calendar(msgspec.json.decode(row.every, type=Every), row.time_zone, row.anchor)


def _columns(periods: list[Period]) -> tuple[list[object], list[object]]:
    return [period.starts_at for period in periods], [period.ends_at for period in periods]
