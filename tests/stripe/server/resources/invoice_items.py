"""Invoice items, and the lines they become on an invoice."""

from decimal import Decimal

from tests.stripe.server import money
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import catalogue
from tests.stripe.server.routes import route
from tests.stripe.server.world import World

LINES_EMBEDDED = 10


def _period(p: Params, now: int) -> Json:
    inner = p.inner("period")
    start, end = inner.integer("start"), inner.integer("end")
    return {"end": now if end is None else end, "start": now if start is None else start}


class _Amount:
    """The four ways to say what an item costs: an amount, a unit amount, a price, or a price inline."""

    def __init__(self, p: Params) -> None:
        self.amount, self.unit = p.integer("amount"), catalogue.decimal(p, "unit_amount_decimal")
        self.quantity = p.integer("quantity")
        self.price = p.inner("pricing").text("price")
        inline = p.inner("price_data")
        self.inline_currency = inline.text("currency")
        self.product = inline.text("product")
        self.inline_unit = catalogue.decimal(inline, "unit_amount_decimal")
        if self.amount is None and self.unit is None and self.price is None and self.inline_unit is None:
            raise malformed("Missing required param: amount.", param="amount", code="parameter_missing")
        if self.amount is not None and self.quantity is not None:
            raise malformed("You may only specify one of these parameters: amount, quantity.", param="quantity")

    def settle(self, world: World) -> tuple[int, Decimal, str | None, Json | None]:
        """Amount, unit amount, currency where the price gives one, and the price."""
        quantity, price = self.quantity or 1, None
        if self.price:
            price = world.get("price", self.price, "pricing[price]")
        elif self.inline_unit is not None:
            world.get("product", self.product or "", "price_data[product]")
            currency = (self.inline_currency or world.settings.default_currency).lower()
            price = catalogue.new_price(world, self.product or "", currency, self.inline_unit, active=False)
        if price:
            return catalogue.amount_of(price, quantity), Decimal(price["unit_amount_decimal"]), price["currency"], price
        unit = Decimal(self.amount or 0) if self.unit is None else self.unit
        return money.half_up(unit * quantity), unit, None, None


@route("POST", "/v1/invoiceitems")
def create(world: World, p: Params) -> Json:
    customer, invoice_id, currency = p.text("customer"), p.text("invoice"), p.text("currency")
    description, discountable, metadata = p.text("description"), p.flag("discountable"), p.metadata()
    period, said = _period(p, world.now), _Amount(p)
    p.end()
    invoice = world.get("invoice", invoice_id, "invoice") if invoice_id else None
    if invoice and invoice["status"] != "draft":
        raise refused(
            f"You can only add items to a draft invoice: {invoice_id} is {invoice['status']}.", code="invoice_not_editable"
        )
    customer = customer or (invoice["customer"] if invoice else None)
    if customer is None:
        raise malformed("Missing required param: customer.", param="customer", code="parameter_missing")
    world.get("customer", customer, "customer")
    amount, unit, priced_in, price = said.settle(world)
    currency = (priced_in or currency or (invoice["currency"] if invoice else world.settings.default_currency)).lower()
    if invoice and invoice["currency"] != currency:
        raise refused(
            f"The currency of the item ({currency}) differs from the invoice's ({invoice['currency']}).", param="currency"
        )
    item = world.add(
        {
            "id": world.new_id("ii"),
            "object": "invoiceitem",
            "amount": amount,
            "currency": currency,
            "customer": customer,
            "customer_account": None,
            "date": world.now,
            "description": description,
            "discountable": amount >= 0 if discountable is None else discountable,
            "discounts": [],
            "invoice": invoice_id,
            "livemode": False,
            "metadata": metadata,
            "net_amount": amount,
            "parent": None,
            "period": period,
            "pricing": _pricing(price, unit),
            "proration": False,
            "quantity": said.quantity or 1,
            "quantity_decimal": str(said.quantity or 1),
            "tax_rates": [],
            "test_clock": None,
        }
    )
    world.emit("invoiceitem.created", item)
    if invoice:
        add_line(world, invoice, item)
    return item


def _pricing(price: Json | None, unit: Decimal) -> Json:
    details = {"price": price["id"], "product": price["product"]} if price else None
    return {"price_details": details, "type": "price_details", "unit_amount_decimal": f"{unit:f}"}


def add_line(world: World, invoice: Json, item: Json) -> None:
    """Puts an item on a draft; the invoice adds up again."""
    item["invoice"] = invoice["id"]
    source = {"invoice_item": item["id"], "proration": False, "proration_details": {"credited_items": None}, "subscription": None}
    world.add(
        {
            "id": world.new_id("il"),
            "object": "line_item",
            "amount": item["amount"],
            "currency": item["currency"],
            "description": item["description"],
            "discount_amounts": [],
            "discountable": item["discountable"],
            "discounts": [],
            "invoice": invoice["id"],
            "livemode": False,
            "metadata": item["metadata"],
            "parent": {"invoice_item_details": source, "subscription_item_details": None, "type": "invoice_item_details"},
            "period": item["period"],
            "pretax_credit_amounts": [],
            "pricing": item["pricing"],
            "quantity": item["quantity"],
            "quantity_decimal": item["quantity_decimal"],
            "subscription": None,
            "subtotal": item["amount"],
            "taxes": [],
        }
    )
    add_up(world, invoice)


def lines(world: World, invoice: Json) -> list[Json]:
    """In the order in which they were added."""
    return world.rows("line_item", invoice=invoice["id"])[::-1]


def add_up(world: World, invoice: Json) -> None:
    every = lines(world, invoice)
    total = sum(line["amount"] for line in every)
    url = f"/v1/invoices/{invoice['id']}/lines"
    shown = every[:LINES_EMBEDDED]
    invoice["lines"] = {"object": "list", "data": shown, "has_more": len(every) > len(shown), "url": url}
    invoice |= dict.fromkeys(("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"), total)
    due = max(0, total)
    invoice |= {"amount_due": due, "amount_remaining": due}


@route("GET", "/v1/invoiceitems/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("invoiceitem", id)


@route("DELETE", "/v1/invoiceitems/{id}")
def delete(world: World, p: Params, id: str) -> Json:
    p.end()
    item = world.get("invoiceitem", id)
    invoice = world.get("invoice", item["invoice"]) if item["invoice"] else None
    if invoice and invoice["status"] != "draft":
        raise refused("Invoice items of a finalized invoice cannot be deleted.", code="invoice_not_editable")
    if invoice:
        for line in lines(world, invoice):
            if line["parent"]["invoice_item_details"]["invoice_item"] == id:
                world.remove("line_item", line["id"])
        add_up(world, invoice)
    world.emit("invoiceitem.deleted", item)
    return world.remove("invoiceitem", id)


@route("GET", "/v1/invoiceitems")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("invoiceitem", customer=p.text("customer"), invoice=p.text("invoice"))
    if p.flag("pending"):
        rows = [row for row in rows if row["invoice"] is None]
    return page(p, dated(p, rows, field="date"), "/v1/invoiceitems")
