"""Events, for those who missed the webhook."""

from fnmatch import fnmatchcase

from tests.stripe.server.errors import Json
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World


@route("GET", "/v1/events")
def listing(world: World, p: Params) -> Json:
    type, types, delivered = p.text("type"), p.texts("types"), p.flag("delivery_success")
    wanted = [type] if type else types or ["*"]
    rows = [
        row
        for row in dated(p, world.rows("event"))
        if any(fnmatchcase(row["type"], one) for one in wanted)
        and (delivered is None or delivered == (row["pending_webhooks"] == 0))
    ]
    return page(p, rows, "/v1/events")


@route("GET", "/v1/events/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("event", id)
