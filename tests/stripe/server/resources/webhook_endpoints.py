"""Where events are sent. The secret is shown once, when the endpoint is made."""

from tests.stripe.server.errors import Json
from tests.stripe.server.form import Params, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World


@route("POST", "/v1/webhook_endpoints")
def create(world: World, p: Params) -> Json:
    row: Json = {
        "id": world.new_id("we"),
        "object": "webhook_endpoint",
        "api_version": p.text("api_version"),
        "application": None,
        "created": world.now,
        "description": p.text("description"),
        "enabled_events": p.texts("enabled_events"),
        "livemode": False,
        "metadata": p.metadata(),
        "status": "enabled",
        "url": p.need("url"),
    }
    connect = p.flag("connect") or False
    p.end()
    secret = world.new_id("whsec")
    world.secret(row["id"]).update(secret=secret, connect=connect)
    return world.add(row) | {"secret": secret}


@route("GET", "/v1/webhook_endpoints")
def listing(world: World, p: Params) -> Json:
    return page(p, world.rows("webhook_endpoint"), "/v1/webhook_endpoints")


@route("GET", "/v1/webhook_endpoints/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("webhook_endpoint", id)


@route("POST", "/v1/webhook_endpoints/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("webhook_endpoint", id)
    changes = p.given("description", "url") | {"metadata": p.metadata(row["metadata"])}
    if p.has("enabled_events"):
        changes["enabled_events"] = p.texts("enabled_events")
    disabled = p.flag("disabled")
    p.end()
    row |= changes
    if disabled is not None:
        row["status"] = "disabled" if disabled else "enabled"
    return row


@route("DELETE", "/v1/webhook_endpoints/{id}")
def delete(world: World, p: Params, id: str) -> Json:
    p.end()
    world.get("webhook_endpoint", id)
    for delivery in world.state.deliveries:
        if delivery.endpoint == id and delivery.state == "waiting":
            delivery.state = "dropped"
    return world.remove("webhook_endpoint", id)
