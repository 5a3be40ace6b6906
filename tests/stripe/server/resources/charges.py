"""Charges: what a confirmed payment does to a payment method. Made by payment intents only."""

from tests.stripe.server import money
from tests.stripe.server.errors import Json
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import disputes
from tests.stripe.server.routes import included, route
from tests.stripe.server.world import World


def _details(method: Json, amount: int, authenticated: bool) -> Json:
    type = method["type"]
    if type != "card":
        return {type: {"fingerprint": None, "transaction_id": None} if type == "alipay" else {}, "type": type}
    card = method["card"]
    secure = {"authentication_flow": "challenge", "result": "authenticated", "result_reason": None, "version": "2.2.0"}
    return {
        "card": {
            "amount_authorized": amount,
            "authorization_code": None,
            "brand": card["brand"],
            "checks": card["checks"],
            "country": card["country"],
            "exp_month": card["exp_month"],
            "exp_year": card["exp_year"],
            "fingerprint": card["fingerprint"],
            "funding": card["funding"],
            "installments": None,
            "last4": card["last4"],
            "mandate": None,
            "network": card["brand"],
            "three_d_secure": secure if authenticated else None,
            "wallet": None,
        },
        "type": "card",
    }


def make(world: World, intent: Json, method: Json, *, failure: Json | None = None, authenticated: bool = False) -> Json:
    """A charge for the intent: failed, authorized only, or captured at once, by `failure` and the intent's capture method."""
    held = intent["capture_method"] == "manual"
    captured = failure is None and not held
    decline_code = failure.get("decline_code") if failure else None
    outcome: Json = {
        "advice_code": failure["advice_code"] if failure else None,
        "network_advice_code": None,
        "network_decline_code": "01" if failure else None,
        "network_status": "declined_by_network" if failure else "approved_by_network",
        "reason": decline_code or (failure["code"] if failure else None),
        "seller_message": failure["message"] if failure else "Payment complete.",
        "type": "issuer_declined" if failure else "authorized",
    }
    id = world.new_id("ch" if method["type"] == "card" else "py")
    charge = world.add(
        {
            "id": id,
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if captured else 0,
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": None,
            "billing_details": method["billing_details"],
            "calculated_statement_descriptor": world.settings.name.upper() if method["type"] == "card" else None,
            "captured": captured,
            "created": world.now,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": failure["code"] if failure else None,
            "failure_message": failure["message"] if failure else None,
            "fraud_details": {},
            "livemode": False,
            "metadata": dict(intent["metadata"]),
            "on_behalf_of": None,
            "outcome": outcome,
            "paid": failure is None,
            "payment_intent": intent["id"],
            "payment_method": method["id"],
            "payment_method_details": _details(method, intent["amount"], authenticated),
            "receipt_email": intent["receipt_email"],
            "receipt_number": None,
            "receipt_url": f"{world.base_url}/receipts/{id}",
            "refunded": False,
            "review": None,
            "shipping": None,
            "source_transfer": None,
            "statement_descriptor": intent["statement_descriptor"],
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": "failed" if failure else "succeeded",
            "transfer_data": None,
            "transfer_group": intent["transfer_group"],
        }
    )
    if captured:
        settle(world, charge, intent["capture_method"])
    world.emit("charge.failed" if failure else "charge.succeeded", charge)
    if captured:
        disputes.follow(world, charge)
    return charge


def settle(world: World, charge: Json, capture_method: str) -> None:
    """Writes the balance transaction now, or later where the capture is asynchronous and the settings say so."""
    when = world.settings.balance_transaction
    if capture_method == "automatic" or when == "at_once":
        money.settle_charge(world, charge)
    elif when == "late":
        world.after(world.settings.balance_transaction_after_s, "charge.settle", charge["id"])


def capture(world: World, charge: Json, amount: int) -> None:
    charge |= {"captured": True, "amount_captured": amount}
    if amount < charge["amount"]:
        charge |= {"amount_refunded": charge["amount"] - amount}
    money.settle_charge(world, charge)
    world.emit("charge.captured", charge)
    disputes.follow(world, charge)


def release(world: World, charge: Json) -> None:
    """Lets go of an authorization that was never captured."""
    charge |= {"amount_refunded": charge["amount"], "refunded": True}
    world.emit("charge.refunded", charge)


@route("GET", "/v1/charges/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("charge", id)


@route("POST", "/v1/charges/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("charge", id)
    changes = p.given("description", "receipt_email") | {"metadata": p.metadata(row["metadata"])}
    p.end()
    return world.update(row, "charge.updated", **changes)


@route("GET", "/v1/charges")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("charge", customer=p.text("customer"), payment_intent=p.text("payment_intent"))
    return page(p, dated(p, rows), "/v1/charges")


@included("charge", "refunds")
def _refunds(world: World, row: Json) -> Json:
    return page(Params({}), world.rows("refund", charge=row["id"]), f"/v1/charges/{row['id']}/refunds")
