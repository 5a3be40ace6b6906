"""What managers did and were refused, as entries of the trail: the operation `rotate_key` is the action `key.rotate`."""

from typing import cast

import msgspec
import structlog
from litestar import Request
from litestar.types import Scope

from billing.kit.batch import TRANSIENT
from billing.kit.pool import transact
from gateway.access.model import Manager
from gateway.audit.model import Action, Actor, Facts, Origin
from gateway.audit.record import record
from gateway.edge.caller import HttpRequest, client_address, gateway_of, noted
from gateway.errors import Forbidden, KeyRestricted
from gateway.telemetry.logs import answering

log = structlog.get_logger(__name__)


def acted(
    request: HttpRequest,
    who: Manager,
    object_id: object,
    *,
    before: msgspec.Struct | None = None,
    after: msgspec.Struct | None = None,
    refused: str | None = None,
) -> Action:
    """What this request did, to be recorded as the last step of its transaction; `before` and `after` as clients see them."""
    verb, _, noun = str(request.route_handler.operation_id).partition("_")
    return Action(
        org_id=who.org_id,
        actor=Actor(who.actor.kind, str(who.actor.id), who.actor.name),
        name=f"{noun}.{verb}",
        object_id=str(object_id),
        before=_facts(before),
        after=_facts(after),
        refused=refused,
        origin=Origin(client_address(request) or None, answering.get(None)),
    )


async def note_refusal(error: Exception, scope: Scope) -> None:
    """For every failure of a route: what a known manager may not do is recorded, in a transaction of its own."""
    who = noted.get().by
    if not isinstance(who, Manager) or not isinstance(error, Forbidden | KeyRestricted):
        return
    request: HttpRequest = Request(scope)
    about = next(reversed(scope["path_params"].values()), who.org_id)
    try:
        await transact(
            gateway_of(request).pool, lambda conn: record(conn, acted(request, who, about, refused=error.code)), of=who.org_id
        )
    except TRANSIENT as lost:
        log.warning("refusal_not_recorded", error=type(lost).__name__)


def _facts(view: msgspec.Struct | None) -> Facts | None:
    return None if view is None else cast("Facts", msgspec.to_builtins(view))
