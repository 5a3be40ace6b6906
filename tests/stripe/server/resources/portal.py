"""Billing portal sessions: a page of Stripe's on which a customer keeps cards and details. The page itself is in pages.py."""

from tests.stripe.server.errors import Json
from tests.stripe.server.form import Params
from tests.stripe.server.routes import route
from tests.stripe.server.world import World


@route("POST", "/v1/billing_portal/sessions")
def create(world: World, p: Params) -> Json:
    customer, return_url, locale = p.need("customer"), p.text("return_url"), p.text("locale")
    configuration = p.text("configuration") or "bpc_default"
    p.end()
    world.get("customer", customer, "customer")
    id = world.new_id("bps")
    row = world.add(
        {
            "id": id,
            "object": "billing_portal.session",
            "configuration": configuration,
            "created": world.now,
            "customer": customer,
            "customer_account": None,
            "flow": None,
            "livemode": False,
            "locale": locale,
            "on_behalf_of": None,
            "return_url": return_url,
            "url": f"{world.base_url}/portal/{id}",
        }
    )
    world.emit("billing_portal.session.created", row)
    return row
