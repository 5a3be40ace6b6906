"""Credit notes: before payment they lessen what is due, after it they refund, credit, or record money given back elsewhere."""

from tests.stripe.server import collect
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import customers, refunds
from tests.stripe.server.routes import route
from tests.stripe.server.world import World

REASONS = ("duplicate", "fraudulent", "order_change", "product_unsatisfactory")


def _lines(world: World, p: Params) -> list[Json]:
    lines: list[Json] = []
    for line in p.items("lines"):
        type = line.choice("type", ("custom_line_item", "invoice_line_item")) or ""
        unit, quantity, amount = line.integer("unit_amount"), line.integer("quantity"), line.integer("amount")
        value = amount if amount is not None else (unit or 0) * (quantity or 1)
        source = line.text("invoice_line_item")
        lines.append(_line(world, type, value, line.text("description"), source, quantity, unit))
    return lines


def _line(
    world: World,
    type: str,
    amount: int,
    description: str | None = None,
    source: str | None = None,
    quantity: int | None = None,
    unit: int | None = None,
) -> Json:
    line: Json = {
        "id": world.new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": description,
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": False,
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": type,
        "unit_amount": unit,
        "unit_amount_decimal": None if unit is None else str(unit),
    }
    return line | ({"invoice_line_item": source} if source else {})


@route("POST", "/v1/credit_notes")
def create(world: World, p: Params) -> Json:
    invoice = world.get("invoice", p.need("invoice"), "invoice")
    amount, lines = p.integer("amount"), _lines(world, p)
    back: Json = {key: p.integer(key) or 0 for key in ("credit_amount", "out_of_band_amount", "refund_amount")}
    linked = [(one.need("refund"), one.integer("amount_refunded")) for one in p.items("refunds")]
    said = p.given("memo") | {"metadata": p.metadata(), "reason": p.choice("reason", REASONS)}
    effective = p.integer("effective_at")
    p.choice("email_type", ("credit_note", "none"))
    p.end()
    total = sum(line["amount"] for line in lines) if lines else amount or 0
    if total <= 0 or (lines and amount not in {None, total}):
        raise malformed("The credit note amount must be positive and equal to the sum of its lines.", param="amount")
    if invoice["status"] not in {"open", "paid", "uncollectible"}:
        raise refused(f"You can't credit an invoice that is {invoice['status']}.", param="invoice", code="invoice_not_editable")
    credited = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    if credited + total > invoice["total"]:
        raise refused(
            f"The total amount of credit notes ({credited + total}) exceeds the invoice's ({invoice['total']}).", param="amount"
        )
    refunded = [(world.get("refund", id, "refunds"), part) for id, part in linked]
    before = min(total, invoice["amount_remaining"])
    _check(invoice, total - before, back, sum(row["amount"] if part is None else part for row, part in refunded))
    note = _note(world, invoice, total, lines or [_line(world, "custom_line_item", total)], before)
    note |= said | {"effective_at": effective or world.now, "out_of_band_amount": back["out_of_band_amount"] or None}
    note["refunds"] = [_linked(row["id"], row["amount"] if part is None else part) for row, part in refunded]
    _give_back(world, invoice, note, back)
    world.add(note)
    world.emit("credit_note.created", note)
    _lessen(world, invoice, note)
    return note


def _check(invoice: Json, after: int, back: Json, linked: int) -> None:
    if after and sum(back.values()) + linked != after:
        raise refused(
            f"The sum of credit amount, refund amount and out of band amount ({sum(back.values()) + linked}) must equal what is "
            f"credited after payment ({after}).",
            param="amount",
        )
    if not after and (sum(back.values()) or linked):
        raise refused(f"Invoice {invoice['id']} was not paid: nothing can be given back.", param="refund_amount")


def _linked(refund: str, amount: int) -> Json:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": refund, "type": "refund"}


def _note(world: World, invoice: Json, total: int, lines: list[Json], before: int) -> Json:
    id = world.new_id("cn")
    count = len(world.rows("credit_note", invoice=invoice["id"])) + 1
    kind = "pre_payment" if before == total else "post_payment" if before == 0 else "mixed"
    return {
        "id": id,
        "object": "credit_note",
        "amount": total,
        "amount_shipping": 0,
        "created": world.now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice": invoice["id"],
        "lines": {"object": "list", "data": lines, "has_more": False, "url": f"/v1/credit_notes/{id}/lines"},
        "livemode": False,
        "memo": None,
        "number": f"{invoice['number']}-CN-{count:02}",
        "pdf": f"{world.base_url}/credit_notes/{id}/pdf",
        "post_payment_amount": total - before,
        "pre_payment_amount": before,
        "pretax_credit_amounts": [],
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
        "total_taxes": [],
        "type": kind,
        "voided_at": None,
    }


def _give_back(world: World, invoice: Json, note: Json, back: Json) -> None:
    if back["refund_amount"]:
        intent = collect.intent_of(world, invoice)
        if intent is None or intent["latest_charge"] is None:
            raise refused("The invoice has no payment to refund.", param="refund_amount")
        refund = refunds.make(world, world.get("charge", intent["latest_charge"]), back["refund_amount"], None, {})
        note["refunds"] = [*note["refunds"], _linked(refund["id"], refund["amount"])]
    if back["credit_amount"]:
        customer = world.get("customer", invoice["customer"])
        row = customers.credit(
            world, customer, -back["credit_amount"], invoice["currency"], "credit_note", credit_note=note["id"]
        )
        note["customer_balance_transaction"] = row["id"]


def _lessen(world: World, invoice: Json, note: Json) -> None:
    invoice["post_payment_credit_notes_amount"] += note["post_payment_amount"]
    if note["pre_payment_amount"]:
        invoice["pre_payment_credit_notes_amount"] += note["pre_payment_amount"]
        invoice["amount_remaining"] -= note["pre_payment_amount"]
        intent = collect.intent_of(world, invoice)
        if intent and invoice["amount_remaining"]:
            intent["amount"] = invoice["amount_remaining"]
        if invoice["amount_remaining"] == 0:
            collect.settle(world, invoice, 0, elsewhere=True)
            return
    world.emit("invoice.updated", invoice)


@route("GET", "/v1/credit_notes/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("credit_note", id)


@route("POST", "/v1/credit_notes/{id}")
def update(world: World, p: Params, id: str) -> Json:
    note = world.get("credit_note", id)
    changes = p.given("memo") | {"metadata": p.metadata(note["metadata"])}
    p.end()
    return world.update(note, "credit_note.updated", **changes)


@route("POST", "/v1/credit_notes/{id}/void")
def void(world: World, p: Params, id: str) -> Json:
    p.end()
    note = world.get("credit_note", id)
    invoice = world.get("invoice", note["invoice"])
    if note["status"] == "void" or note["type"] != "pre_payment" or invoice["status"] != "open":
        raise refused("Only a credit note on an open invoice can be voided.")
    invoice["pre_payment_credit_notes_amount"] -= note["amount"]
    invoice["amount_remaining"] += note["amount"]
    intent = collect.intent_of(world, invoice)
    if intent:
        intent["amount"] = invoice["amount_remaining"]
    note |= {"status": "void", "voided_at": world.now}
    world.emit("credit_note.voided", note)
    return note


@route("GET", "/v1/credit_notes/{id}/lines")
def lines(world: World, p: Params, id: str) -> Json:
    return page(p, world.get("credit_note", id)["lines"]["data"], f"/v1/credit_notes/{id}/lines")


@route("GET", "/v1/credit_notes")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("credit_note", customer=p.text("customer"), invoice=p.text("invoice"))
    return page(p, dated(p, rows), "/v1/credit_notes")
