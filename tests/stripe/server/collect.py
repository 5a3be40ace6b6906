"""How an invoice comes to be paid: finalized, charged, tried again, overdue, given up.

draft ─ finalize ─▶ open ─ paid | void | uncollectible;  uncollectible ─▶ paid | void
"""

from tests.stripe.server import confirm
from tests.stripe.server.errors import Json, StripeError, card_error, decline, refused
from tests.stripe.server.resources import customers, payment_intents, payment_methods
from tests.stripe.server.settings import DAY_S
from tests.stripe.server.world import World, follower, timer

NO_METHOD = (
    "There is no `default_payment_method` set on this Customer or Invoice. Please set either `invoice_settings.default_payment_method` "
    "on the Customer or `default_payment_method` on the Invoice, or pay it with a payment method."
)


def finalize(world: World, invoice: Json) -> Json:
    """Gives the invoice its number and its payment intent, and uses up the customer's credit."""
    customer = world.get("customer", invoice["customer"])
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04}"
    customer["next_invoice_sequence"] += 1
    invoice["starting_balance"] = customer["balance"]
    used = min(max(0, invoice["total"]), max(0, -customer["balance"]))
    if used:
        customers.credit(world, customer, used, invoice["currency"], "applied_to_invoice", invoice=invoice["id"])
    due = max(0, invoice["total"]) - used
    invoice |= {
        "amount_due": due,
        "amount_remaining": due,
        "ending_balance": customer["balance"],
        "number": invoice["number"] or number,
    }
    invoice |= {"status": "open", "effective_at": invoice["effective_at"] or world.now, "automatically_finalizes_at": None}
    invoice |= {"hosted_invoice_url": f"{world.base_url}/invoices/{invoice['id']}"}
    invoice["invoice_pdf"] = f"{invoice['hosted_invoice_url']}/pdf"
    invoice["status_transitions"]["finalized_at"] = world.now
    if invoice["collection_method"] == "send_invoice":
        days = world.secret(invoice["id"]).get("days_until_due") or 30
        invoice["due_date"] = invoice["due_date"] or world.now + days * DAY_S
        world.after(invoice["due_date"] - world.now, "invoice.overdue", invoice["id"])
    world.emit("invoice.finalized", invoice)
    if due == 0:
        settle(world, invoice, 0)
    else:
        _intend(world, invoice)
        if invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically":
            invoice["next_payment_attempt"] = world.now
            world.after(0, "invoice.collect", invoice["id"])
    return invoice


def _intend(world: World, invoice: Json) -> None:
    """The payment intent of the amount that is due, and the link between the two."""
    types = (invoice["payment_settings"] or {}).get("payment_method_types") or ["card"]
    intent = payment_intents.new(
        world,
        invoice["amount_due"],
        invoice["currency"],
        invoice["customer"],
        description=f"Payment for Invoice {invoice['number']}",
        capture_method="automatic",
        payment_method_types=types,
    )
    payment = world.add(
        {
            "id": world.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "created": world.now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )
    world.secret(invoice["id"]).update(intent=intent["id"], payment=payment["id"])
    world.secret(intent["id"])["follower"] = ["invoice", invoice["id"]]


def intent_of(world: World, invoice: Json) -> Json | None:
    id = world.secret(invoice["id"]).get("intent")
    return world.get("payment_intent", id) if id else None


def charge(world: World, invoice: Json, method: Json, *, off_session: bool, return_url: str | None = None) -> None:
    """Tries to pay an open invoice. Raises the decline, or that the customer must confirm first."""
    intent = intent_of(world, invoice)
    assert intent is not None
    if intent["status"] == "requires_action":
        intent |= {"status": "requires_payment_method", "next_action": None}
    invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
    confirm.attempt(world, intent, method, off_session=off_session, return_url=return_url, steps=True)
    if intent["status"] == "requires_action" and off_session:
        world.emit("invoice.payment_action_required", invoice)
        world.emit("invoice.payment_failed", invoice)
        body = decline("authentication_required") | {"code": "invoice_payment_intent_requires_action"}
        body.pop("decline_code")
        raise card_error(body, payment_intent=intent)


def default_method(world: World, invoice: Json) -> Json:
    customer = world.get("customer", invoice["customer"])
    id = invoice["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    if id is None:
        raise refused(NO_METHOD, code="missing")
    return payment_methods.resolve(world, id)


@follower("invoice")
def hear(world: World, id: str, intent: Json) -> None:
    invoice = world.get("invoice", id)
    if intent["status"] == "succeeded":
        settle(world, invoice, intent["amount_received"])
    else:
        world.emit("invoice.payment_failed", invoice)


def settle(world: World, invoice: Json, amount: int, *, elsewhere: bool = False) -> None:
    """Marks the invoice paid; `elsewhere` is money that Stripe did not see."""
    paid = invoice["amount_remaining"] if elsewhere else amount
    invoice |= {"status": "paid", "amount_paid": invoice["amount_paid"] + paid, "amount_remaining": 0, "attempted": True}
    invoice |= {"next_payment_attempt": None, "auto_advance": False}
    invoice["status_transitions"]["paid_at"] = world.now
    if elsewhere:
        invoice["amount_paid_off_stripe"] = paid
        _cancel(world, invoice)
    elif payment_id := world.secret(invoice["id"]).get("payment"):
        payment = world.get("invoice_payment", payment_id)
        payment |= {"status": "paid", "amount_paid": paid, "status_transitions": {"canceled_at": None, "paid_at": world.now}}
        world.emit("invoice_payment.paid", payment)
    for type in ("invoice.updated", "invoice.paid", "invoice.payment_succeeded"):
        world.emit(type, invoice)


def _cancel(world: World, invoice: Json) -> None:
    intent = intent_of(world, invoice)
    if intent and intent["status"] in payment_intents.CANCELABLE:
        payment_intents.end(world, intent, "void_invoice")
        payment = world.get("invoice_payment", world.secret(invoice["id"])["payment"])
        payment |= {"status": "canceled", "status_transitions": {"canceled_at": world.now, "paid_at": None}}


def void(world: World, invoice: Json) -> Json:
    invoice |= {"status": "void", "amount_remaining": 0, "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"]["voided_at"] = world.now
    _cancel(world, invoice)
    world.emit("invoice.voided", invoice)
    return invoice


def give_up(world: World, invoice: Json) -> Json:
    invoice |= {"status": "uncollectible", "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"]["marked_uncollectible_at"] = world.now
    world.emit("invoice.marked_uncollectible", invoice)
    return invoice


@timer("invoice.finalize")
def finalize_later(world: World, id: str) -> None:
    invoice = world.state.tables.get("invoice", {}).get(id)
    if invoice and invoice["status"] == "draft" and invoice["auto_advance"]:
        finalize(world, invoice)
        if invoice["collection_method"] == "send_invoice":
            world.emit("invoice.sent", invoice)


@timer("invoice.collect")
def collect(world: World, id: str) -> None:
    """One automatic attempt; a failed one sets the day of the next, until Stripe stops."""
    invoice = world.get("invoice", id)
    if invoice["status"] != "open":
        return
    try:
        charge(world, invoice, default_method(world, invoice), off_session=True)
    except StripeError as error:
        if error.status != 402:
            invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
            world.emit("invoice.payment_failed", invoice)
        _plan_retry(world, invoice)


def _plan_retry(world: World, invoice: Json) -> None:
    waits_s = world.settings.invoice_retries_s
    if invoice["attempt_count"] <= len(waits_s):
        wait_s = waits_s[invoice["attempt_count"] - 1]
        world.update(invoice, "invoice.updated", next_payment_attempt=world.now + wait_s)
        world.after(wait_s, "invoice.collect", invoice["id"])
        return
    invoice |= {"next_payment_attempt": None}
    if world.settings.invoice_ends == "uncollectible":
        give_up(world, invoice)
    else:
        world.emit("invoice.updated", invoice)


@timer("invoice.overdue")
def fall_due(world: World, id: str) -> None:
    invoice = world.get("invoice", id)
    if invoice["status"] == "open":
        world.emit("invoice.overdue", invoice)
