"""Refunds: pending or succeeded at first, and sometimes failed later."""

from tests.stripe.server import money
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World, timer

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


@route("POST", "/v1/refunds")
def create(world: World, p: Params) -> Json:
    charge_id, intent_id, amount = p.text("charge"), p.text("payment_intent"), p.integer("amount")
    reason, metadata = p.choice("reason", REASONS), p.metadata()
    p.end()
    if intent_id:
        intent = world.get("payment_intent", intent_id, "payment_intent")
        charge_id = intent["latest_charge"]
        if intent["status"] != "succeeded" or charge_id is None:
            raise refused(
                f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.", code="resource_missing"
            )
    if charge_id is None:
        raise malformed("One of the following params should be provided: payment_intent or charge.")
    return make(world, world.get("charge", charge_id, "charge"), amount, reason, metadata)


def make(world: World, charge: Json, amount: int | None, reason: str | None, metadata: Json) -> Json:
    """Gives back `amount`, or all that is left, of a captured charge."""
    left: int = charge["amount"] - charge["amount_refunded"]
    if charge["disputed"] and not world.secret(charge["id"]).get("refundable"):
        raise refused(f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed")
    if left == 0:
        raise refused(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = left if amount is None else amount
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer")
    if amount > left:
        raise refused(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount")
    type = charge["payment_method_details"]["type"]
    behaviour = world.secret(charge["payment_method"])["refund"]
    pending = behaviour == "pending" or type != "card"
    id = world.new_id("re" if type == "card" else "pyr")
    value, currency, rate = money.settled(world, amount, charge["currency"])
    kind = "refund" if type == "card" else "payment_refund"
    movement = money.move(
        world, kind, id, -value, currency, category="refund", rate=rate, description=f"REFUND FOR {charge['id']}"
    )
    details: Json = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    refund = world.add(
        {
            "id": id,
            "object": "refund",
            "amount": amount,
            "balance_transaction": movement["id"],
            "charge": charge["id"],
            "created": world.now,
            "currency": charge["currency"],
            "customer": charge["customer"],
            "customer_account": None,
            "destination_details": {"card": details, "type": "card"} if type == "card" else {type: {}, "type": type},
            "metadata": metadata,
            "payment_intent": charge["payment_intent"],
            "payment_method": charge["payment_method"],
            "reason": reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "pending" if pending else "succeeded",
            "transfer_reversal": None,
        }
    )
    if pending:
        refund["pending_reason"] = "processing"
        world.after(world.settings.refund_settles_after_s, "refund.succeed", id)
    elif behaviour == "fails":
        world.after(world.settings.refund_settles_after_s, "refund.fail", id)
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.emit("refund.created", refund)
    world.emit("charge.refunded", charge, before)
    return refund


def _updated(world: World, refund: Json, status: str) -> None:
    before = {"status": refund["status"]}
    refund["status"] = status
    refund.pop("pending_reason", None)
    for type in ("refund.updated", "charge.refund.updated"):
        world.emit(type, refund, before)


@timer("refund.succeed")
def succeed(world: World, id: str) -> None:
    refund = world.get("refund", id)
    if refund["status"] == "pending":
        _updated(world, refund, "succeeded")


@timer("refund.fail")
def fail(world: World, id: str) -> None:
    """The bank returns the money: it stands on the balance again, and the charge counts as not refunded."""
    refund = world.get("refund", id)
    if refund["status"] not in {"pending", "succeeded"}:
        return
    _return(world, refund)
    refund["failure_reason"] = "lost_or_stolen_card"
    world.emit("refund.failed", refund | {"status": "failed"})
    _updated(world, refund, "failed")


def _return(world: World, refund: Json) -> None:
    charge = world.get("charge", refund["charge"])
    given = world.get("balance_transaction", refund["balance_transaction"])
    back = money.move(world, "refund_failure", refund["id"], -given["amount"], given["currency"], rate=given["exchange_rate"])
    refund["failure_balance_transaction"] = back["id"]
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    world.emit("charge.updated", charge)


@route("GET", "/v1/refunds/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("refund", id)


@route("POST", "/v1/refunds/{id}")
def update(world: World, p: Params, id: str) -> Json:
    refund = world.get("refund", id)
    metadata = p.metadata(refund["metadata"])
    p.end()
    return world.update(refund, "refund.updated", metadata=metadata)


@route("POST", "/v1/refunds/{id}/cancel")
def cancel(world: World, p: Params, id: str) -> Json:
    p.end()
    refund = world.get("refund", id)
    if refund["status"] != "pending":
        raise refused("Only a pending refund can be canceled.")
    _return(world, refund)
    _updated(world, refund, "canceled")
    return refund


@route("GET", "/v1/refunds")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("refund", charge=p.text("charge"), payment_intent=p.text("payment_intent"))
    return page(p, dated(p, rows), "/v1/refunds")
