"""Setup intents: a card saved for later without a payment."""

from tests.stripe.server.errors import Json, StripeError, card_error, decline, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import payment_methods
from tests.stripe.server.resources.payment_intents import check_method, offered_methods
from tests.stripe.server.routes import route
from tests.stripe.server.world import FOLLOWERS, World

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def new(world: World, customer: str | None, **said: object) -> Json:
    id = world.new_id("seti")
    row: Json = {
        "id": id,
        "object": "setup_intent",
        "allowed_payment_method_types": None,
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": f"{id}_secret_{world.new_id('s')[2:]}",
        "created": world.now,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }
    world.add(row | said)
    row = world.get("setup_intent", id)
    world.emit("setup_intent.created", row)
    return row


def attempt(world: World, intent: Json, method: Json, *, return_url: str | None = None, authenticated: bool = False) -> None:
    """Saves the card, asks its holder first, or raises the decline."""
    secret = world.secret(method["id"])
    intent |= {"payment_method": method["id"], "last_setup_error": None, "next_action": None}
    if not secret["attaches"]:
        error = decline(secret["declines"])
        _refuse(world, intent, error | {"payment_method": dict(method)})
        raise card_error(error, setup_intent=intent, payment_method=method)
    if secret["authenticates"] != "never" and not secret["set_up"] and not authenticated:
        world.secret(intent["id"])["return_url"] = return_url
        url = f"{world.base_url}/authenticate/{intent['id']}"
        step: Json = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url}}
        if return_url:
            step = {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}
        world.update(intent, "setup_intent.requires_action", status="requires_action", next_action=step)
        return
    if intent["customer"]:
        payment_methods.attach_to(world, method, intent["customer"])
    secret["set_up"] = secret["set_up"] or intent["usage"] == "off_session"
    world.update(intent, "setup_intent.succeeded", status="succeeded")
    _follow(world, intent)


def _refuse(world: World, intent: Json, error: Json) -> None:
    changes: Json = {"status": "requires_payment_method", "payment_method": None, "next_action": None, "last_setup_error": error}
    world.update(intent, "setup_intent.setup_failed", **changes)
    _follow(world, intent)


def _follow(world: World, intent: Json) -> None:
    if then := world.secret(intent["id"]).get("follower"):
        FOLLOWERS[then[0]](world, then[1], intent)


def authenticate(world: World, id: str, *, ok: bool) -> Json:
    """The holder's step on the bank's page."""
    intent = world.get("setup_intent", id)
    if intent["status"] != "requires_action":
        raise refused(f"Setup intent {id} does not wait for its customer.")
    method = world.get("payment_method", intent["payment_method"])
    if ok:
        attempt(world, intent, method, authenticated=True)
        return intent
    message = "The latest attempt to set up the payment method has failed because authentication failed."
    code = "setup_intent_authentication_failure"
    _refuse(world, intent, {"code": code, "message": message, "payment_method": dict(method), "type": "card_error"})
    return intent


def _confirm(world: World, intent: Json, method: Json | None, return_url: str | None) -> Json:
    if intent["status"] not in {"requires_payment_method", "requires_confirmation"}:
        raise _unexpected(intent, "confirm")
    if method is None and intent["payment_method"]:
        method = payment_methods.resolve(world, intent["payment_method"])
    if method is None:
        raise refused("You cannot confirm this SetupIntent because it's missing a payment method.", param="payment_method")
    check_method(intent, method)
    attempt(world, intent, method, return_url=return_url)
    return intent


def _unexpected(intent: Json, verb: str) -> StripeError:
    return refused(
        f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}.",
        code="setup_intent_unexpected_state",
        setup_intent=intent,
    )


@route("POST", "/v1/setup_intents")
def create(world: World, p: Params) -> Json:
    customer, method, return_url = p.text("customer"), p.text("payment_method"), p.text("return_url")
    said: Json = offered_methods(p) | {"description": p.text("description"), "metadata": p.metadata()}
    said["usage"] = p.choice("usage", ("off_session", "on_session"), "off_session")
    said["payment_method_types"] = [type for type in said["payment_method_types"] if type == "card"]
    now = p.flag("confirm") or False
    p.free("payment_method_options")
    p.end()
    if not said["payment_method_types"]:
        raise malformed("None of the allowed payment method types can be set up.", param="allowed_payment_method_types")
    if customer:
        world.get("customer", customer, "customer")
    found = payment_methods.resolve(world, method) if method else None
    if found:
        check_method({"customer": customer} | said, found)
    intent = new(world, customer, **said)
    if found:
        intent |= {"payment_method": found["id"], "status": "requires_confirmation"}
    return _confirm(world, intent, found, return_url) if now else intent


@route("GET", "/v1/setup_intents/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.text("client_secret")
    p.end()
    return world.get("setup_intent", id, "intent")


@route("POST", "/v1/setup_intents/{id}")
def update(world: World, p: Params, id: str) -> Json:
    intent = world.get("setup_intent", id, "intent")
    changes = p.given("customer", "description") | {"metadata": p.metadata(intent["metadata"])}
    p.end()
    intent |= changes
    return intent


@route("POST", "/v1/setup_intents/{id}/confirm")
def confirm(world: World, p: Params, id: str) -> Json:
    intent = world.get("setup_intent", id, "intent")
    method, return_url = p.text("payment_method"), p.text("return_url")
    p.free("mandate_data")
    p.end()
    return _confirm(world, intent, payment_methods.resolve(world, method) if method else None, return_url)


@route("POST", "/v1/setup_intents/{id}/cancel")
def cancel(world: World, p: Params, id: str) -> Json:
    intent = world.get("setup_intent", id, "intent")
    reason = p.choice("cancellation_reason", ("abandoned", "duplicate", "requested_by_customer"))
    p.end()
    if intent["status"] not in OPEN:
        raise _unexpected(intent, "cancel")
    return world.update(intent, "setup_intent.canceled", status="canceled", cancellation_reason=reason, next_action=None)


@route("GET", "/v1/setup_intents")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("setup_intent", customer=p.text("customer"), payment_method=p.text("payment_method"))
    return page(p, dated(p, rows), "/v1/setup_intents")
