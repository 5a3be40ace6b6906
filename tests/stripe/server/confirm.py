"""What comes of a payment intent once it is confirmed: money, an authorization, a step for the customer, or a decline.

requires_payment_method ─ confirm ─▶ succeeded | requires_capture | requires_action | requires_payment_method (declined)
requires_action ─ authenticate ─▶ succeeded | requires_capture | requires_payment_method
"""

from tests.stripe.server.errors import Json, StripeError, card_error, decline, refused
from tests.stripe.server.resources import charges, payment_methods
from tests.stripe.server.world import FOLLOWERS, World


def attempt(
    world: World,
    intent: Json,
    method: Json,
    *,
    off_session: bool = False,
    steps: bool = False,
    return_url: str | None = None,
    authenticated: bool = False,
) -> None:
    """Tries to pay with `method`. Raises the card's decline, after which the intent waits for another method.

    Off session a step that the customer would have to take is a decline too, unless `steps`: an invoice waits for it.
    """
    intent |= {"payment_method": method["id"], "last_payment_error": None, "next_action": None}
    secret = world.secret(method["id"])
    behaviour = secret if authenticated else secret | _planned(world, intent)
    if method["type"] == "card":
        needed = behaviour["authenticates"] == "always" or (
            behaviour["authenticates"] == "unless_set_up" and not (off_session and secret["set_up"])
        )
    else:
        needed = True
    if needed and not authenticated:
        if off_session and not steps:
            _fail(world, intent, method, "authentication_required")
        world.secret(intent["id"])["return_url"] = return_url
        step = _next_action(world, intent, method, return_url)
        world.update(intent, "payment_intent.requires_action", status="requires_action", next_action=step)
        return
    if behaviour["declines"]:
        _fail(world, intent, method, behaviour["declines"])
    _succeed(world, intent, method, authenticated=authenticated)


def _planned(world: World, intent: Json) -> Json:
    """What the control plane laid down for this customer's next confirmation, or for anybody's."""
    for who in (intent["customer"], "*"):
        if plans := world.state.planned.get(who or ""):
            return plans.pop(0)
    return {}


def _next_action(world: World, intent: Json, method: Json, return_url: str | None) -> Json:
    url = f"{world.base_url}/authenticate/{intent['id']}"
    if method["type"] == "alipay":
        details: Json = {"native_data": None, "native_url": None, "return_url": return_url, "url": url}
        return {"alipay_handle_redirect": details, "type": "alipay_handle_redirect"}
    if method["type"] == "wechat_pay":
        image = f"{url}/qr"
        code = {
            "data": url,
            "hosted_instructions_url": url,
            "image_data_url": "data:,",
            "image_url_png": image,
            "image_url_svg": image,
        }
        return {"type": "wechat_pay_display_qr_code", "wechat_pay_display_qr_code": code}
    if return_url:
        return {"redirect_to_url": {"return_url": return_url, "url": url}, "type": "redirect_to_url"}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url}}


def _fail(world: World, intent: Json, method: Json, reason: str) -> None:
    error = decline(reason)
    charge = charges.make(world, intent, method, failure=error)
    intent |= {"latest_charge": charge["id"]}
    _refuse(world, intent, error | {"charge": charge["id"], "payment_method": dict(method)})
    raise card_error(error, charge=charge["id"], payment_intent=intent, payment_method=method)


def _refuse(world: World, intent: Json, error: Json) -> None:
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None, "last_payment_error": error}
    world.emit("payment_intent.payment_failed", intent)
    _follow(world, intent)


def _succeed(world: World, intent: Json, method: Json, *, authenticated: bool) -> None:
    charge = charges.make(world, intent, method, authenticated=authenticated)
    intent["latest_charge"] = charge["id"]
    secret = world.secret(method["id"])
    if intent["setup_future_usage"] and intent["customer"] and method["type"] == "card":
        payment_methods.attach_to(world, method, intent["customer"])
        secret["set_up"] = secret["set_up"] or (authenticated and intent["setup_future_usage"] == "off_session")
    secret["used"] = True
    if charge["captured"]:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        world.emit("payment_intent.succeeded", intent)
    else:
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        world.after(world.settings.authorization_lasts_s, "payment_intent.expire", intent["id"])
        world.emit("payment_intent.amount_capturable_updated", intent)
    _follow(world, intent)


def _follow(world: World, intent: Json) -> None:
    if then := world.secret(intent["id"]).get("follower"):
        FOLLOWERS[then[0]](world, then[1], intent)


def authenticate(world: World, id: str, *, ok: bool) -> Json:
    """The customer's step on a bank's, Alipay's or WeChat's page. A decline that follows stays on the intent."""
    intent = world.get("payment_intent", id)
    if intent["status"] != "requires_action":
        raise refused(f"Payment intent {id} does not wait for its customer.")
    method = world.get("payment_method", intent["payment_method"])
    if ok:
        try:
            attempt(world, intent, method, authenticated=True)
        except StripeError as error:
            if error.status != 402:
                raise
        return intent
    message = "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod."
    code = "payment_intent_authentication_failure"
    doc = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
    kind = "card_error" if method["type"] == "card" else "invalid_request_error"
    _refuse(world, intent, {"code": code, "doc_url": doc, "message": message, "payment_method": dict(method), "type": kind})
    return intent
