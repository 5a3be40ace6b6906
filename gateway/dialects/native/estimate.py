"""POST /v1/estimate: what a request means, costs and waits for, by the arithmetic of admission. Nothing is stored."""

from typing import get_args

import msgspec
from litestar import post

from billing.kit.pool import tenant
from billing.pricing.quote import Quote
from gateway.access.restrictions import refuse_request
from gateway.dialects.native.examples import CREATE_JOB
from gateway.dialects.native.requests import ROLES, read_request
from gateway.dialects.native.translate import ask_of, estimate_of, start_of
from gateway.dialects.native.wire import CreateJob, Estimate, StartQuote
from gateway.edge.bodies import ignored_header
from gateway.edge.caller import HttpRequest, authenticate, gateway_of
from gateway.edge.described import Answer, Described
from gateway.edge.replies import Reply, json_reply
from gateway.edge.submit import limits_of
from gateway.errors import InvalidMedia, InvalidRequest, TooLarge, UnknownModel, UnsupportedContent, UnsupportedField
from gateway.submission import price
from gateway.video import Tier, resolve

_TIERS: tuple[Tier, ...] = get_args(Tier)
_DESCRIBED = Described(
    tag="Prices",
    body=CreateJob,
    files=dict.fromkeys(ROLES, "An image in this role."),
    examples=CREATE_JOB,
    answers={200: Answer("The price in the tier that was asked for and in every other one.", Estimate)},
    errors=(InvalidRequest, UnsupportedField, UnknownModel, InvalidMedia, TooLarge, UnsupportedContent),
)


@post("/estimate", status_code=200, operation_id="estimate", opt={"described": _DESCRIBED})
async def estimate(request: HttpRequest) -> Reply:
    """Price a request before sending it: the body of POST /v1/jobs, answered with the most it may cost and the start it would be
    promised in each tier.
    """
    caller = await authenticate(request)
    body, images, ignored = await read_request(request, caller)
    gateway, ask = gateway_of(request), ask_of(body)
    inputs = tuple(image.named for image in images)
    video = resolve(ask, limits_of(gateway, ask.model), queue_deadline_s=gateway.settings.queue_deadline_s, inputs=inputs)
    if caller.restrictions is not None:
        refuse_request(caller.restrictions, video)
    async with tenant(gateway.pool, caller.org_id) as conn:
        book = (await gateway.prices.in_force(conn, [caller.org_id])).get(caller.org_id)
    asked = price(book, video)
    offered = rates.tier if book and (rates := book.rates(video.model)) else {}
    tiers: list[tuple[Tier, Quote, StartQuote | None]] = [
        (
            tier,
            price(book, msgspec.structs.replace(video, tier=tier)),
            start_of(gateway.quotes.quote(caller.org_id, video, tier, livemode=caller.livemode)),
        )
        for tier in _TIERS
        if tier in offered
    ]
    return json_reply(estimate_of(video, asked, tiers), headers=ignored_header(ignored))
