"""Invoices made of invoice items: draft, finalize, pay, send, void, write off."""

from tests.stripe.server import collect
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import invoice_items, payment_methods
from tests.stripe.server.routes import included, route
from tests.stripe.server.world import World

COLLECTION = ("charge_automatically", "send_invoice")
STATUSES = ("draft", "open", "paid", "uncollectible", "void")


def _row(world: World, customer: Json, currency: str) -> Json:
    id = world.new_id("in")
    zeros = ("amount_due", "amount_overpaid", "amount_paid", "amount_remaining", "amount_shipping", "attempt_count")
    zeros += ("post_payment_credit_notes_amount", "pre_payment_credit_notes_amount", "starting_balance")
    zeros += ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax")
    return dict.fromkeys(zeros, 0) | {
        "id": id,
        "object": "invoice",
        "account_country": world.settings.country,
        "account_name": world.settings.name,
        "account_tax_ids": None,
        "application": None,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": world.now,
        "currency": currency,
        "custom_fields": None,
        "customer": customer["id"],
        "customer_account": None,
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [
            {"type": row["type"], "value": row["value"]} for row in world.rows("tax_id", customer=customer["id"])
        ],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{id}/lines"},
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": world.now,
        "period_start": world.now,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "test_clock": None,
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def _said(p: Params, row: Json) -> Json:
    said = p.given("default_payment_method", "description", "footer", "number", "statement_descriptor")
    said["metadata"] = p.metadata(row["metadata"])
    for key in ("due_date", "effective_at"):
        if p.has(key):
            said[key] = p.integer(key)
    if p.has("auto_advance"):
        said["auto_advance"] = p.flag("auto_advance") or False
    if p.has("custom_fields"):
        said["custom_fields"] = [
            {"name": one.need("name"), "value": one.need("value")} for one in p.items("custom_fields")
        ] or None
    if p.has("payment_settings"):
        types = p.inner("payment_settings").texts("payment_method_types")
        said["payment_settings"] = row["payment_settings"] | {"payment_method_types": types or None}
    if p.inner("automatic_tax").flag("enabled"):
        raise malformed("This server does not know automatic_tax.", param="automatic_tax")
    return said


@route("POST", "/v1/invoices")
def create(world: World, p: Params) -> Json:
    customer = world.get("customer", p.need("customer"), "customer")
    currency = (p.text("currency") or customer["currency"] or world.settings.default_currency).lower()
    row = _row(world, customer, currency)
    said = _said(p, row) | {"collection_method": p.choice("collection_method", COLLECTION, "charge_automatically")}
    days = p.integer("days_until_due")
    pending = p.choice("pending_invoice_items_behavior", ("exclude", "include"), "exclude")
    p.end()
    row |= said
    if row["collection_method"] == "send_invoice" and days is None and row["due_date"] is None:
        raise malformed("You must set `days_until_due` or `due_date` to send an invoice.", param="days_until_due")
    if row["collection_method"] != "send_invoice" and (days is not None or row["due_date"] is not None):
        raise malformed("You can only set due dates where the collection_method is `send_invoice`.", param="days_until_due")
    world.add(row)
    world.secret(row["id"])["days_until_due"] = days
    for item in world.rows("invoiceitem", customer=customer["id"], currency=currency)[::-1]:
        if pending == "include" and item["invoice"] is None:
            invoice_items.add_line(world, row, item)
    customer["currency"] = customer["currency"] or currency
    if row["auto_advance"]:
        row["automatically_finalizes_at"] = world.now + world.settings.invoice_finalizes_after_s
        world.after(world.settings.invoice_finalizes_after_s, "invoice.finalize", row["id"])
    world.emit("invoice.created", row)
    return row


@route("GET", "/v1/invoices/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("invoice", id)


@route("POST", "/v1/invoices/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("invoice", id)
    said, days = _said(p, row), p.integer("days_until_due")
    p.end()
    fixed = said.keys() - {"metadata", "auto_advance", "default_payment_method", "description", "payment_settings"}
    if row["status"] != "draft" and (fixed or days):
        raise refused(f"Finalized invoices can't be updated in this way: {', '.join(sorted(fixed))}", code="invoice_not_editable")
    if days is not None:
        world.secret(id)["days_until_due"] = days
    return world.update(row, "invoice.updated", **said)


@route("DELETE", "/v1/invoices/{id}")
def delete(world: World, p: Params, id: str) -> Json:
    p.end()
    row = world.get("invoice", id)
    if row["status"] != "draft":
        raise refused("You can only delete draft invoices.", code="invoice_not_editable")
    for item in world.rows("invoiceitem", invoice=id):
        item["invoice"] = None
    for line in invoice_items.lines(world, row):
        world.remove("line_item", line["id"])
    world.emit("invoice.deleted", row)
    return world.remove("invoice", id)


def _in(world: World, id: str, verb: str, *statuses: str) -> Json:
    row = world.get("invoice", id)
    if row["status"] == "paid" and verb == "pay":
        raise refused("Invoice is already paid", code="invoice_already_paid")
    if row["status"] not in statuses:
        raise refused(f"You can't {verb} an invoice that is {row['status']}.", code="invoice_not_editable", param="invoice")
    return row


@route("POST", "/v1/invoices/{id}/finalize")
def finalize(world: World, p: Params, id: str) -> Json:
    advance = p.flag("auto_advance")
    p.end()
    row = _in(world, id, "finalize", "draft")
    if not invoice_items.lines(world, row):
        raise refused("Nothing to invoice for customer", code="invoice_no_customer_line_items")
    if advance is not None:
        row["auto_advance"] = advance
    return collect.finalize(world, row)


@route("POST", "/v1/invoices/{id}/pay")
def pay(world: World, p: Params, id: str) -> Json:
    method, off_session, elsewhere = p.text("payment_method"), p.flag("off_session"), p.flag("paid_out_of_band")
    p.end()
    row = _in(world, id, "pay", "draft", "open", "uncollectible")
    if row["status"] == "draft":
        collect.finalize(world, row)
    if row["status"] == "paid":
        return row
    if elsewhere:
        collect.settle(world, row, 0, elsewhere=True)
        return row
    found = payment_methods.resolve(world, method) if method else collect.default_method(world, row)
    if found["customer"] != row["customer"]:
        raise refused("The PaymentMethod must belong to the customer of the invoice.", param="payment_method")
    collect.charge(world, row, found, off_session=off_session is not False)
    return row


@route("POST", "/v1/invoices/{id}/send")
def send(world: World, p: Params, id: str) -> Json:
    p.end()
    row = _in(world, id, "send", "draft", "open", "paid", "uncollectible")
    if row["collection_method"] != "send_invoice":
        raise refused("You can only manually send an invoice whose collection method is 'send_invoice'.")
    if row["status"] == "draft":
        collect.finalize(world, row)
    world.emit("invoice.sent", row)
    return row


@route("POST", "/v1/invoices/{id}/void")
def void(world: World, p: Params, id: str) -> Json:
    p.end()
    return collect.void(world, _in(world, id, "void", "open", "uncollectible"))


@route("POST", "/v1/invoices/{id}/mark_uncollectible")
def mark_uncollectible(world: World, p: Params, id: str) -> Json:
    p.end()
    return collect.give_up(world, _in(world, id, "mark as uncollectible", "open"))


@route("GET", "/v1/invoices/{id}/lines")
def lines(world: World, p: Params, id: str) -> Json:
    return page(p, invoice_items.lines(world, world.get("invoice", id)), f"/v1/invoices/{id}/lines")


@route("GET", "/v1/invoices")
def listing(world: World, p: Params) -> Json:
    status, method = p.choice("status", STATUSES), p.choice("collection_method", COLLECTION)
    rows = world.rows("invoice", customer=p.text("customer"), status=status, collection_method=method)
    return page(p, dated(p, dated(p, rows), "due_date"), "/v1/invoices")


@route("GET", "/v1/invoice_payments")
def payments(world: World, p: Params) -> Json:
    rows = world.rows("invoice_payment", invoice=p.text("invoice"), status=p.text("status"))
    payment = p.inner("payment")
    payment.text("type")
    if intent := payment.text("payment_intent"):
        rows = [row for row in rows if row["payment"]["payment_intent"] == intent]
    return page(p, rows, "/v1/invoice_payments")


@route("GET", "/v1/invoice_payments/{id}")
def payment(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("invoice_payment", id)


@included("invoice", "payments")
def _payments(world: World, row: Json) -> Json:
    return page(Params({}), world.rows("invoice_payment", invoice=row["id"]), f"/v1/invoices/{row['id']}/payments")


@included("invoice", "confirmation_secret")
def _confirmation_secret(world: World, row: Json) -> Json | None:
    intent = collect.intent_of(world, row)
    return {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None
