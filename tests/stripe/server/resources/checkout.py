"""Checkout sessions: a page of Stripe's on which a customer pays or saves a card. The page itself is in pages.py."""

from typing import Any

from tests.stripe.server import confirm
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import catalogue, customers, payment_intents, payment_methods, setup_intents
from tests.stripe.server.resources.payment_intents import offered_methods
from tests.stripe.server.routes import included, route
from tests.stripe.server.world import World, follower, timer

KEPT_FROM_INTENT = ("description", "receipt_email", "setup_future_usage", "statement_descriptor_suffix", "transfer_group")


def _row(world: World, mode: str) -> Json:
    id = world.new_id("cs_test")
    return {
        "id": id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": None,
        "client_reference_id": None,
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": world.now,
        "currency": None,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {"after_submit": None, "shipping_address": None, "submit": None, "terms_of_service_acceptance": None},
        "customer": None,
        "customer_account": None,
        "customer_creation": None,
        "customer_details": None,
        "customer_email": None,
        "discounts": [],
        "expires_at": world.now + world.settings.checkout_expires_after_s,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": None,
        "metadata": {},
        "mode": mode,
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "if_required" if mode == "payment" else "always",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_status": "unpaid" if mode == "payment" else "no_payment_required",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": None,
        "total_details": None,
        "ui_mode": "hosted_page",
        "url": f"{world.base_url}/checkout/{id}",
        "wallet_options": None,
    }


def _said(p: Params, row: Json) -> Json:
    said = p.given("cancel_url", "client_reference_id", "customer_email", "locale") | {"metadata": p.metadata()}
    said["success_url"] = p.need("success_url")
    said["customer"] = p.text("customer")
    said["submit_type"] = p.choice("submit_type", ("auto", "book", "donate", "pay"))
    if row["mode"] == "payment" and not said["customer"]:
        said["customer_creation"] = p.choice("customer_creation", ("always", "if_required"), "if_required")
    if p.has("currency"):
        said["currency"] = p.need("currency").lower()
    if p.has("expires_at"):
        said["expires_at"] = p.integer("expires_at", required=True)
    p.choice("ui_mode", ("hosted_page",))
    for unused in ("payment_method_options", "saved_payment_method_options", "customer_update", "adaptive_pricing"):
        p.free(unused)
    for unused in ("tax_id_collection", "automatic_tax"):
        if p.inner(unused).flag("enabled"):
            raise malformed(f"This server does not know {unused}.", param=unused)
    offered = offered_methods(p)
    said |= {key: offered[key] for key in ("allowed_payment_method_types", "payment_method_types")}
    return said


@route("POST", "/v1/checkout/sessions")
def create(world: World, p: Params) -> Json:
    mode = p.choice("mode", ("payment", "setup"))
    if mode is None:
        raise malformed("Missing required param: mode.", param="mode", code="parameter_missing")
    row = _row(world, mode)
    said = _said(p, row)
    lines = [(line, catalogue.Priced(line), line.integer("quantity") or 1, line.metadata()) for line in p.items("line_items")]
    intent = p.inner(f"{mode if mode == 'setup' else 'payment'}_intent_data")
    intended = intent.given(*KEPT_FROM_INTENT) | {"metadata": intent.metadata()}
    if intent.has("capture_method"):
        intended["capture_method"] = intent.choice("capture_method", ("automatic", "automatic_async", "manual"))
    p.end()
    if said["customer"]:
        world.get("customer", said["customer"], "customer")
    row |= said
    items = [_item(world, priced, quantity, metadata) for _, priced, quantity, metadata in lines]
    if mode == "payment":
        _total(row, items)
    else:
        row["payment_method_types"] = ["card"]
    world.secret(row["id"]).update(items=items, intended=intended)
    world.add(row)
    world.after(max(0, row["expires_at"] - world.now), "checkout.session.expire", row["id"])
    return row


def _item(world: World, priced: catalogue.Priced, quantity: int, metadata: Json) -> Json:
    price = priced.make(world)
    amount = catalogue.amount_of(price, quantity)
    return {
        "id": world.new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": world.get("product", price["product"])["name"],
        "metadata": metadata,
        "price": dict(price),
        "quantity": quantity,
    }


def _total(row: Json, items: list[Json]) -> None:
    currencies = {item["currency"] for item in items}
    if len(currencies) != 1:
        raise malformed(
            "Missing required param: line_items." if not items else "All line items must have one currency.", param="line_items"
        )
    total = sum(item["amount_total"] for item in items)
    row |= {"amount_subtotal": total, "amount_total": total, "currency": currencies.pop()}
    row["total_details"] = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}
    if total < payment_intents.MINIMUM[row["currency"]]:
        raise malformed("The Checkout Session's total amount due is below the minimum.", code="amount_too_small")


def pay(world: World, session: Json, draft: payment_methods.Draft) -> str:
    """What the customer's click does; returns where the browser goes. Raises the decline, after which the page is shown again."""
    if session["status"] != "open":
        raise refused(f"This Checkout session is {session['status']}.")
    _introduce(world, session, draft)
    method = draft.make(world)
    back = f"{world.base_url}/checkout/{session['id']}"
    intent = _intent(world, session)
    if session["mode"] == "setup":
        setup_intents.attempt(world, intent, method, return_url=back)
    else:
        confirm.attempt(world, intent, method, return_url=back)
    return f"{world.base_url}/authenticate/{intent['id']}" if intent["status"] == "requires_action" else success(session)


def success(session: Json) -> str:
    return session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])


def _introduce(world: World, session: Json, draft: payment_methods.Draft) -> None:
    """Notes who pays, and makes the customer where the session has none and wants one."""
    details = draft.details
    email = session["customer_email"] or details["email"]
    future = world.secret(session["id"])["intended"].get("setup_future_usage")
    if session["customer"] is None and (session["customer_creation"] == "always" or future or session["mode"] == "setup"):
        made: Any = {"email": email or "", "name": details["name"] or ""}
        session["customer"] = customers.create(world, Params(made))["id"]
    known: Json = world.get("customer", session["customer"]) if session["customer"] else {"email": None, "name": None}
    session["customer_details"] = {
        "address": details["address"],
        "business_name": None,
        "email": known["email"] or email,
        "individual_name": None,
        "name": details["name"] or known["name"],
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }


def _intent(world: World, session: Json) -> Json:
    """The session's intent, made at the first attempt."""
    kind = "setup_intent" if session["mode"] == "setup" else "payment_intent"
    if session[kind] is None:
        intended = world.secret(session["id"])["intended"]
        intended |= {"payment_method_types": session["payment_method_types"]}
        if kind == "setup_intent":
            intent = setup_intents.new(world, session["customer"], **intended)
        else:
            intent = payment_intents.new(world, session["amount_total"], session["currency"], session["customer"], **intended)
        world.secret(intent["id"])["follower"] = ["checkout.session", session["id"]]
        session[kind] = intent["id"]
    return world.get(kind, session[kind])


@follower("checkout.session")
def complete(world: World, id: str, intent: Json) -> None:
    session = world.get("checkout.session", id)
    if intent["status"] in {"succeeded", "requires_capture"} and session["status"] == "open":
        session |= {"status": "complete", "url": None}
        if session["mode"] == "payment":
            session["payment_status"] = "paid" if intent["status"] == "succeeded" else "unpaid"
        world.emit("checkout.session.completed", session)


@timer("checkout.session.expire")
def run_out(world: World, id: str) -> None:
    session = world.get("checkout.session", id)
    if session["status"] == "open":
        session |= {"status": "expired", "url": None}
        if session["payment_intent"]:
            payment_intents.end(world, world.get("payment_intent", session["payment_intent"]), "abandoned")
        world.emit("checkout.session.expired", session)


@route("GET", "/v1/checkout/sessions/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("checkout.session", id)


@route("POST", "/v1/checkout/sessions/{id}")
def update(world: World, p: Params, id: str) -> Json:
    session = world.get("checkout.session", id)
    metadata = p.metadata(session["metadata"])
    p.end()
    session["metadata"] = metadata
    return session


@route("POST", "/v1/checkout/sessions/{id}/expire")
def expire(world: World, p: Params, id: str) -> Json:
    p.end()
    session = world.get("checkout.session", id)
    if session["status"] != "open":
        raise refused(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This one has a status of {session["status"]}.'
        )
    run_out(world, id)
    return session


@route("GET", "/v1/checkout/sessions/{id}/line_items")
def line_items(world: World, p: Params, id: str) -> Json:
    world.get("checkout.session", id)
    return page(p, world.secret(id)["items"], f"/v1/checkout/sessions/{id}/line_items")


@included("checkout.session", "line_items")
def _line_items(world: World, row: Json) -> Json:
    return line_items(world, Params({}), row["id"])


@route("GET", "/v1/checkout/sessions")
def listing(world: World, p: Params) -> Json:
    names = ("customer", "payment_intent", "status")
    rows = world.rows("checkout.session", **{name: p.text(name) for name in names})
    return page(p, dated(p, rows), "/v1/checkout/sessions")
