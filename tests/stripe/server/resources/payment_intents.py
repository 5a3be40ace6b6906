"""Payment intents: create, confirm, capture, cancel."""

from tests.stripe.server import confirm as confirming
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import charges, payment_methods
from tests.stripe.server.routes import route
from tests.stripe.server.world import World, timer

MINIMUM = {"usd": 50, "cny": 400, "hkd": 400, "eur": 50, "gbp": 30, "jpy": 50, "sgd": 50}
"""The least that can be charged, in minor units; also the currencies that are known here."""
AMOUNT_MAX = 99_999_999
REDIRECTS = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these payment methods "
    "might redirect your customer off of your page, you must provide a `return_url`. If you don't want to accept redirect-based "
    "payment methods, set `automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to `never` "
    "when creating Setup Intents and Payment Intents."
)
CANCELABLE = {"requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing"}
REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")


def checked_amount(p: Params) -> tuple[int, str]:
    amount, currency = p.integer("amount", required=True) or 0, p.need("currency").lower()
    if currency not in MINIMUM:
        raise malformed(f"Invalid currency: {currency}", param="currency")
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer")
    if amount < MINIMUM[currency]:
        raise malformed("Amount must be at least the minimum charge amount.", param="amount", code="amount_too_small")
    if amount > AMOUNT_MAX:
        raise malformed("Amount must be no more than 999,999.99", param="amount", code="amount_too_large")
    return amount, currency


def new(world: World, amount: int, currency: str, customer: str | None, **said: object) -> Json:
    """An intent that waits for a payment method."""
    id = world.new_id("pi")
    row: Json = {
        "id": id,
        "object": "payment_intent",
        "allowed_payment_method_types": None,
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{id}_secret_{world.new_id('s')[2:]}",
        "confirmation_method": "automatic",
        "created": world.now,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"installments": None, "network": None, "request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    world.add(row | said)
    row = world.get("payment_intent", id)
    world.emit("payment_intent.created", row)
    return row


class Confirmation:
    """The parameters that a confirmation takes, alone or within a creation."""

    def __init__(self, p: Params) -> None:
        self.method = p.text("payment_method")
        self.draft = payment_methods.drafted(p.inner("payment_method_data")) if p.has("payment_method_data") else None
        options = p.inner("payment_method_options")
        self.client = options.inner("wechat_pay").text("client")
        for type in ("card", "alipay"):
            options.free(type)
        self.off_session = p.text("off_session") in {"true", "one_off", "recurring"}
        self.return_url = p.text("return_url")
        self.fails_on_action = p.flag("error_on_requires_action") or False
        p.free("mandate_data")
        p.flag("use_stripe_sdk")

    def found(self, world: World) -> Json | None:
        """The method named or described; each is made once."""
        if self.draft:
            self.method, self.draft = self.draft.make(world)["id"], None
        if self.method is None:
            return None
        found = payment_methods.resolve(world, self.method)
        self.method = found["id"]
        return found

    def carry_out(self, world: World, intent: Json) -> Json:
        """Confirms the intent; a decline is raised and stays on the intent."""
        if intent["status"] not in {"requires_payment_method", "requires_confirmation"}:
            raise unexpected(intent, "confirm", "requires_payment_method, requires_confirmation")
        self.method = self.method or intent["payment_method"]
        method = self.found(world)
        if method is None:
            raise refused(
                "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
                "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment method.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
        check_method(intent, method)
        if "alipay" in intent["payment_method_types"] and not self.return_url:
            raise refused(REDIRECTS, param="return_url")
        if method["type"] == "wechat_pay" and self.client is None:
            name = "payment_method_options[wechat_pay][client]"
            raise malformed(f"Missing required param: {name}.", param=name, code="parameter_missing")
        off_session = self.off_session or self.fails_on_action
        confirming.attempt(world, intent, method, off_session=off_session, return_url=self.return_url)
        return intent


def check_method(intent: Json, method: Json) -> None:
    """Raises where the method belongs to another customer or is of a type that the intent does not take."""
    if method["customer"] is not None and method["customer"] != intent["customer"]:
        raise refused(
            f"The PaymentMethod you provided ({method['id']}) belongs to another Customer. Please use one of this Customer's own.",
            param="payment_method",
        )
    if method["type"] not in intent["payment_method_types"]:
        raise refused(
            f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent. Please attach a PaymentMethod of "
            f"one of the following types: {', '.join(intent['payment_method_types'])}.",
            param="payment_method",
        )


def unexpected(intent: Json, verb: str, wanted: str) -> Exception:
    return refused(
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent with one of the "
        f"following statuses may do so: {wanted}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )


def offered_methods(p: Params) -> Json:
    """The types an intent takes: those of the Dashboard, filtered by what the request allows."""
    allowed = p.texts("allowed_payment_method_types")
    inner = p.inner("automatic_payment_methods")
    inner.flag("enabled")
    redirects = inner.choice("allow_redirects", ("always", "never"), "always")
    if unknown := [type for type in allowed if type not in payment_methods.TYPES]:
        raise malformed(f"The payment method type provided: {unknown[0]} is invalid.", param="allowed_payment_method_types")
    enabled = ["card"] if redirects == "never" else list(payment_methods.TYPES)
    return {
        "allowed_payment_method_types": allowed or None,
        "automatic_payment_methods": {"allow_redirects": redirects, "enabled": True},
        "payment_method_types": [type for type in enabled if not allowed or type in allowed],
    }


@route("POST", "/v1/payment_intents")
def create(world: World, p: Params) -> Json:
    amount, currency = checked_amount(p)
    customer = p.text("customer")
    said: Json = offered_methods(p) | p.given("description", "receipt_email", "statement_descriptor", "transfer_group")
    said |= p.given("statement_descriptor_suffix") | {"metadata": p.metadata()}
    said["capture_method"] = p.choice("capture_method", ("automatic", "automatic_async", "manual"), "automatic_async")
    said["setup_future_usage"] = p.choice("setup_future_usage", ("off_session", "on_session"))
    said["confirmation_method"] = p.choice("confirmation_method", ("automatic", "manual"), "automatic")
    now, confirmation = p.flag("confirm") or False, Confirmation(p)
    p.end()
    if confirmation.off_session and not now:
        raise malformed("You cannot set `off_session` without `confirm=true`.", param="off_session")
    if customer:
        world.get("customer", customer, "customer")
    method = confirmation.found(world)
    if method:
        check_method({"customer": customer} | said, method)
    intent = new(world, amount, currency, customer, **said)
    if method:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    return confirmation.carry_out(world, intent) if now else intent


@route("GET", "/v1/payment_intents/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.text("client_secret")
    p.end()
    return world.get("payment_intent", id, "intent")


@route("POST", "/v1/payment_intents/{id}")
def update(world: World, p: Params, id: str) -> Json:
    intent = world.get("payment_intent", id, "intent")
    changes = p.given("description", "receipt_email", "customer", "statement_descriptor_suffix", "transfer_group")
    changes["metadata"] = p.metadata(intent["metadata"])
    if p.has("amount"):
        changes["amount"] = p.integer("amount", required=True)
    if p.has("setup_future_usage"):
        changes["setup_future_usage"] = p.choice("setup_future_usage", ("off_session", "on_session"))
    method = p.text("payment_method")
    p.end()
    if intent["status"] in {"succeeded", "canceled"} and changes.keys() & {"amount", "customer", "setup_future_usage"}:
        raise unexpected(intent, "update", "requires_payment_method, requires_confirmation, requires_action")
    if method:
        found = payment_methods.resolve(world, method)
        check_method(intent | changes, found)
        changes |= {"payment_method": found["id"], "status": "requires_confirmation"}
    intent |= changes
    return intent


@route("POST", "/v1/payment_intents/{id}/confirm")
def confirm(world: World, p: Params, id: str) -> Json:
    intent = world.get("payment_intent", id, "intent")
    confirmation = Confirmation(p)
    future = p.choice("setup_future_usage", ("off_session", "on_session"))
    p.end()
    if future:
        intent["setup_future_usage"] = future
    return confirmation.carry_out(world, intent)


@route("POST", "/v1/payment_intents/{id}/capture")
def capture(world: World, p: Params, id: str) -> Json:
    intent = world.get("payment_intent", id, "intent")
    amount, metadata = p.integer("amount_to_capture"), p.metadata(intent["metadata"])
    p.end()
    if intent["status"] != "requires_capture":
        raise unexpected(intent, "capture", "requires_capture")
    amount = intent["amount_capturable"] if amount is None else amount
    if not 1 <= amount <= intent["amount_capturable"]:
        raise refused(
            f"The amount_to_capture {amount} is greater than the remaining amount {intent['amount_capturable']}.",
            param="amount_to_capture",
            code="amount_too_large",
        )
    charges.capture(world, world.get("charge", intent["latest_charge"]), amount)
    intent |= {"amount_capturable": 0, "amount_received": amount, "metadata": metadata, "status": "succeeded"}
    world.emit("payment_intent.succeeded", intent)
    return intent


@route("POST", "/v1/payment_intents/{id}/cancel")
def cancel(world: World, p: Params, id: str) -> Json:
    intent = world.get("payment_intent", id, "intent")
    reason = p.choice("cancellation_reason", REASONS)
    p.end()
    if intent["status"] not in CANCELABLE:
        raise unexpected(intent, "cancel", ", ".join(sorted(CANCELABLE)))
    return end(world, intent, reason)


def end(world: World, intent: Json, reason: str | None) -> Json:
    """Cancels an intent and lets go of what it held."""
    if intent["status"] == "requires_capture":
        charges.release(world, world.get("charge", intent["latest_charge"]))
    intent |= {"status": "canceled", "canceled_at": world.now, "cancellation_reason": reason}
    intent |= {"amount_capturable": 0, "next_action": None}
    world.emit("payment_intent.canceled", intent)
    return intent


@timer("payment_intent.expire")
def expire(world: World, id: str) -> None:
    """An authorization lasts a week."""
    intent = world.get("payment_intent", id)
    if intent["status"] == "requires_capture":
        end(world, intent, "automatic")


@route("GET", "/v1/payment_intents")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("payment_intent", customer=p.text("customer"))
    return page(p, dated(p, rows), "/v1/payment_intents")
