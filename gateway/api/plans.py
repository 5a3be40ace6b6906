"""What is offered, what the organization has, and what happened to its money: GET /v1/plans, /v1/plan and /v1/events."""

from datetime import datetime
from typing import Literal

import msgspec
from litestar import Response, get

from billing.kit.pool import tenant
from billing.plans.catalogue import catalogue_in_force
from billing.plans.events import Event, events_after
from billing.plans.model import FreePlan, Pack, Plan, State
from billing.plans.read import subscriptions
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter, between
from gateway.edge.manager import reader
from gateway.edge.query import integer, query_of
from gateway.edge.replies import json_reply
from gateway.errors import InvalidRequest, NotFound, UnsupportedField


class Offers(msgspec.Struct, frozen=True, kw_only=True):
    """What can be had in the organization's currency. Prices are micro-units, before what the seller's tax adds."""

    object: Literal["offers"] = "offers"
    currency: str
    plans: tuple[Plan, ...]
    packs: tuple[Pack, ...]


class CurrentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that has not ended, with the terms it was agreed to."""

    object: Literal["plan"] = "plan"
    state: State
    plan: Plan
    starts_at: datetime
    ends_at: datetime | None
    period_starts_at: datetime | None
    period_ends_at: datetime | None


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """Events in the order they happened; ask again with `after` = the last one's position."""

    object: Literal["list"] = "list"
    data: tuple[Event, ...]


_encode = msgspec.json.Encoder().encode
_POSITION_MAX = 2**63 - 1
_PLANS = Described(tag="Plans", scope="billing:read", callers=True, answers={200: Answer("Plans and packs.", Offers)})
_PLAN = Described(
    tag="Plans", scope="billing:read", callers=True, answers={200: Answer("The plan.", CurrentPlan)}, errors=(NotFound,)
)
_EVENTS = Described(
    tag="Plans",
    scope="billing:read",
    callers=True,
    answers={200: Answer("Events.", EventList)},
    parameters=(
        Parameter("after", "Only events after this position; default 0, the beginning.", between(0, _POSITION_MAX)),
        Parameter("limit", "At most this many, 1 to 100; default 20.", between(1, 100)),
    ),
    errors=(InvalidRequest, UnsupportedField),
)


@get("/v1/plans", operation_id="list_plans", opt={"described": _PLANS})
async def list_plans(request: HttpRequest) -> Response[bytes]:
    """List the plans and packs on offer."""
    caller = await reader(request)
    async with tenant(gateway_of(request).pool, caller.org_id) as conn:
        offered = await catalogue_in_force(conn)
    plans = tuple(plan for plan in offered.plans if isinstance(plan, FreePlan) or plan.currency == caller.currency)
    packs = tuple(pack for pack in offered.packs if pack.currency == caller.currency)
    return json_reply(_encode(Offers(currency=caller.currency, plans=plans, packs=packs)))


@get("/v1/plan", operation_id="get_plan", opt={"described": _PLAN})
async def get_plan(request: HttpRequest) -> Response[bytes]:
    """The organization's plan."""
    caller = await reader(request)
    async with tenant(gateway_of(request).pool, caller.org_id) as conn:
        found = [one for one in await subscriptions(conn, caller.org_id) if one.state != "ended"]
    if not found:
        raise NotFound("the organization has no plan; it pays by the second from its wallet")
    (one,) = found
    current = CurrentPlan(
        state=one.state,
        plan=one.plan,
        starts_at=one.starts_at,
        ends_at=one.ends_at,
        period_starts_at=one.period and one.period.starts_at,
        period_ends_at=one.period and one.period.ends_at,
    )
    return json_reply(_encode(current))


@get("/v1/events", operation_id="list_events", opt={"described": _EVENTS})
async def list_events(request: HttpRequest) -> Response[bytes]:
    """List what happened to the organization's plan, budgets, wallet and invoices."""
    caller = await reader(request)
    values = query_of(request, "after", "limit")
    after = integer(values, "after", default=0, least=0, most=_POSITION_MAX)
    limit = integer(values, "limit", default=20, least=1, most=100)
    async with tenant(gateway_of(request).pool, caller.org_id) as conn:
        found = await events_after(conn, after, customer_id=caller.org_id, limit=limit)
    return json_reply(_encode(EventList(data=tuple(found))))
