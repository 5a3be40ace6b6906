"""What a person does on Stripe's pages: confirm with the bank, pay a session or an invoice, keep cards."""

from tests.stripe.server import collect, confirm
from tests.stripe.server.errors import Json, refused
from tests.stripe.server.resources import checkout, payment_methods, setup_intents
from tests.stripe.server.world import World


def authenticate(world: World, intent: str, *, ok: bool) -> Json:
    """Finishes, or fails, the step that an intent waits for."""
    if intent.startswith("seti_"):
        return setup_intents.authenticate(world, intent, ok=ok)
    return confirm.authenticate(world, intent, ok=ok)


def intent_of(world: World, id: str) -> Json:
    return world.get("setup_intent" if id.startswith("seti_") else "payment_intent", id)


def after_step(world: World, intent: Json) -> str:
    """Where the browser goes once the step is over: to the session's success page, or back to who asked for it."""
    then = world.secret(intent["id"]).get("follower", ["", ""])
    if then[0] == "checkout.session":
        session = world.get("checkout.session", then[1])
        return (
            checkout.success(session)
            if session["status"] == "complete"
            else f"{world.base_url}/checkout/{session['id']}?failed=1"
        )
    back = world.secret(intent["id"]).get("return_url")
    if not back:
        return f"{world.base_url}/done"
    kind = "setup_intent" if intent["object"] == "setup_intent" else "payment_intent"
    status = "failed" if intent["status"] == "requires_payment_method" else "succeeded"
    query = f"{kind}={intent['id']}&{kind}_client_secret={intent['client_secret']}&redirect_status={status}"
    return f"{back}{'&' if '?' in back else '?'}{query}"


def pay_session(world: World, id: str, draft: payment_methods.Draft) -> str:
    return checkout.pay(world, world.get("checkout.session", id), draft)


def pay_invoice(world: World, id: str, draft: payment_methods.Draft) -> str:
    """Pays on the invoice's hosted page; returns where the browser goes."""
    invoice = world.get("invoice", id)
    if invoice["status"] not in {"open", "uncollectible"}:
        raise refused(f"This invoice is {invoice['status']}.")
    page = f"{world.base_url}/invoices/{id}"
    collect.charge(world, invoice, draft.make(world), off_session=False, return_url=page)
    intent = collect.intent_of(world, invoice)
    waits = intent is not None and intent["status"] == "requires_action"
    return f"{world.base_url}/authenticate/{intent['id']}" if intent and waits else page


def save_card(world: World, customer: str, draft: payment_methods.Draft, back: str) -> str:
    """Adds a card in the billing portal; returns where the browser goes."""
    intent = setup_intents.new(world, customer)
    setup_intents.attempt(world, intent, draft.make(world), return_url=back)
    return f"{world.base_url}/authenticate/{intent['id']}" if intent["status"] == "requires_action" else back


def choose_card(world: World, customer: str, method: str) -> None:
    row = world.get("customer", customer)
    if world.get("payment_method", method)["customer"] != customer:
        raise refused("That card is not this customer's.")
    world.update(row, "customer.updated", invoice_settings=row["invoice_settings"] | {"default_payment_method": method})


def remove_card(world: World, customer: str, method: str) -> None:
    row = world.get("payment_method", method)
    if row["customer"] != customer:
        raise refused("That card is not this customer's.")
    payment_methods.remove(world, row)
