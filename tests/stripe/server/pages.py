"""Pages for people: Checkout, the bank's question, hosted invoices, the billing portal, Connect onboarding. GET shows, POST acts."""

import re
from collections.abc import Callable
from typing import TypeAlias

from tests.stripe.server import html, shopper
from tests.stripe.server.errors import Json, StripeError
from tests.stripe.server.form import Params, parse
from tests.stripe.server.http import Answer, Request
from tests.stripe.server.resources import accounts, payment_methods
from tests.stripe.server.world import World

Shown: TypeAlias = Callable[[World, str, str | None], str]
Acted: TypeAlias = Callable[[World, str, Params], str]


def show_checkout(world: World, id: str, problem: str | None) -> str:
    session = world.get("checkout.session", id)
    if session["status"] != "open":
        return html.document("Checkout", html.alert(f"This session is {session['status']}."))
    items: list[Json] = world.secret(id)["items"]
    rows = [(f"{item['description']} × {item['quantity']}", html.money(item["amount_total"], item["currency"])) for item in items]
    label = "Save card"
    if session["mode"] == "payment":
        label = f"Pay {html.money(session['amount_total'], session['currency'])}"
    body = html.alert(problem) + html.table(rows)
    body += html.paying(f"/checkout/{id}", label, session["payment_method_types"], session["customer_email"] or "")
    return html.document(world.settings.name, body + html.link(session["cancel_url"], "Back"))


def pay_checkout(world: World, id: str, p: Params) -> str:
    draft = payment_methods.drafted(p)
    p.end()
    return shopper.pay_session(world, id, draft)


def show_step(world: World, id: str, problem: str | None) -> str:
    intent = shopper.intent_of(world, id)
    method = world.get("payment_method", intent["payment_method"])["type"] if intent["payment_method"] else "card"
    title = "3-D Secure" if method == "card" else html.NAMES[method]
    if intent["status"] != "requires_action":
        return html.document(title, html.alert("There is nothing to confirm here."))
    asked = f"<p>Pay {html.money(intent['amount'], intent['currency'])}?</p>" if "amount" in intent else "<p>Save this card?</p>"
    action = f"/authenticate/{id}"
    body = (
        html.alert(problem)
        + asked
        + html.button(action, "Complete", outcome="succeed")
        + html.button(action, "Fail", outcome="fail")
    )
    return html.document(title, body)


def take_step(world: World, id: str, p: Params) -> str:
    ok = p.need("outcome") == "succeed"
    p.end()
    return shopper.after_step(world, shopper.authenticate(world, id, ok=ok))


def show_invoice(world: World, id: str, problem: str | None) -> str:
    invoice = world.get("invoice", id)
    rows = [(line["description"] or "", html.money(line["amount"], line["currency"])) for line in invoice["lines"]["data"]]
    due = html.money(invoice["amount_remaining"], invoice["currency"])
    body = html.alert(problem) + html.table([*rows, ("Due", due)])
    if invoice["status"] in {"open", "uncollectible"}:
        body += html.paying(f"/invoices/{id}", f"Pay {due}", ["card"])
    else:
        body += f"<p>This invoice is {invoice['status']}.</p>"
    return html.document(f"Invoice {invoice['number']}", body)


def pay_invoice(world: World, id: str, p: Params) -> str:
    draft = payment_methods.drafted(p)
    p.end()
    return shopper.pay_invoice(world, id, draft)


def show_portal(world: World, id: str, problem: str | None) -> str:
    session = world.get("billing_portal.session", id)
    customer = world.get("customer", session["customer"])
    default, action = customer["invoice_settings"]["default_payment_method"], f"/portal/{id}"
    body = html.alert(problem)
    for method in world.rows("payment_method", customer=customer["id"], type="card"):
        mark = " (default)" if method["id"] == default else ""
        body += f"<p>{html.card_words(method)}{mark}</p>"
        body += html.button(action, "Make default", act="choose", method=method["id"])
        body += html.button(action, "Remove", act="remove", method=method["id"])
    body += html.paying(action, "Add", ["card"]) + html.link(session["return_url"], "Back")
    return html.document(f"Billing of {customer['name'] or customer['email'] or customer['id']}", body)


def act_in_portal(world: World, id: str, p: Params) -> str:
    customer, here = world.get("billing_portal.session", id)["customer"], f"{world.base_url}/portal/{id}"
    act = p.text("act")
    if act is None:
        draft = payment_methods.drafted(p)
        p.end()
        return shopper.save_card(world, customer, draft, here)
    method = p.need("method")
    p.end()
    {"choose": shopper.choose_card, "remove": shopper.remove_card}[act](world, customer, method)
    return here


def show_onboarding(world: World, id: str, problem: str | None) -> str:
    account = world.get("account", id)
    due = "".join(f"<li>{html.escape(name)}" for name in account["requirements"]["currently_due"])
    return html.document(
        "Onboarding", f"{html.alert(problem)}<ul>{due}</ul>" + html.button(f"/onboarding/{id}", "Provide all of it")
    )


def onboard(world: World, id: str, p: Params) -> str:
    p.end()
    return accounts.provide(world, world.get("account", id))


PAGES: tuple[tuple[str, Shown, Acted], ...] = (
    (r"/checkout/(\w+)", show_checkout, pay_checkout),
    (r"/authenticate/(\w+)", show_step, take_step),
    (r"/invoices/(\w+)", show_invoice, pay_invoice),
    (r"/portal/(\w+)", show_portal, act_in_portal),
    (r"/onboarding/(\w+)", show_onboarding, onboard),
)


def answer(world: World, request: Request) -> Answer:
    for pattern, show, act in PAGES:
        if found := re.fullmatch(pattern, request.path):
            return _page(world, request, found[1], show, act)
    if request.path == "/done":
        return _html(200, html.document("Done", '<p id="done">You may close this page.</p>'))
    return _html(404, html.document("Nothing here", ""))


def _page(world: World, request: Request, id: str, show: Shown, act: Acted) -> Answer:
    problem = "The payment was not authenticated. Try again." if "failed=1" in request.query else None
    try:
        if request.method == "POST":
            try:
                return Answer(303, b"", {"location": act(world, id, Params(parse(request.body.decode())))})
            except StripeError as error:
                problem = str(error)
        return _html(200, show(world, id, problem))
    except StripeError as error:
        return _html(error.status, html.document("Something went wrong", html.alert(str(error))))


def _html(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), {"content-type": "text/html; charset=utf-8"})
