"""Customers, their tax ids and their credit balance."""

from tests.stripe.server.errors import Json, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources import payment_methods
from tests.stripe.server.routes import included, route
from tests.stripe.server.world import World

TAX_ID_COUNTRIES = {"eu_vat": None, "eu_oss_vat": None}
"""Types whose country is not their first two letters."""
TEXTS = ("business_name", "description", "email", "individual_name", "name", "phone")


def _written(p: Params, row: Json) -> Json:
    """What a request says of a customer, over what `row` says already."""
    said: Json = p.given(*TEXTS)
    if p.has("address"):
        said["address"] = p.address()
    if p.has("shipping"):
        shipping = p.inner("shipping")
        said["shipping"] = {"address": shipping.address(), "name": shipping.need("name"), "phone": shipping.text("phone")}
    if p.has("tax_exempt"):
        said["tax_exempt"] = p.choice("tax_exempt", ("none", "exempt", "reverse"), "none")
    if p.has("preferred_locales"):
        said["preferred_locales"] = p.texts("preferred_locales")
    if p.has("invoice_prefix"):
        said["invoice_prefix"] = p.need("invoice_prefix")
    if p.has("balance"):
        said["balance"] = p.integer("balance", required=True)
    said["metadata"] = p.metadata(row["metadata"])
    settings = p.inner("invoice_settings")
    said["invoice_settings"] = row["invoice_settings"] | settings.given("default_payment_method", "footer")
    return said


def _blank(world: World) -> Json:
    id = world.new_id("cus")
    return {
        "id": id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": world.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


@route("POST", "/v1/customers")
def create(world: World, p: Params) -> Json:
    row = _blank(world)
    said = _written(p, row)
    method, tax_ids = p.text("payment_method"), [(data.need("type"), data.need("value")) for data in p.items("tax_id_data")]
    p.end()
    row |= said
    found = payment_methods.resolve(world, method) if method else None
    if found:
        payment_methods.check_attachable(world, found)
    world.add(row)
    world.emit("customer.created", row)
    if found:
        payment_methods.attach_to(world, found, row["id"])
    for type, value in tax_ids:
        _add_tax_id(world, row["id"], type, value)
    return row


@route("GET", "/v1/customers/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    if id in world.state.tables.get("deleted_customer", {}):
        return {"id": id, "object": "customer", "deleted": True}
    return world.get("customer", id)


@route("POST", "/v1/customers/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("customer", id)
    said = _written(p, row)
    p.end()
    default = said["invoice_settings"]["default_payment_method"]
    if default and world.get("payment_method", default, "invoice_settings[default_payment_method]")["customer"] != id:
        raise refused(
            f"The customer does not have a payment method with the ID {default}. The payment method must be attached to the customer.",
            param="invoice_settings[default_payment_method]",
            code="resource_missing",
        )
    return world.update(row, "customer.updated", **said)


@route("DELETE", "/v1/customers/{id}")
def delete(world: World, p: Params, id: str) -> Json:
    p.end()
    row = world.get("customer", id)
    world.state.tables.setdefault("deleted_customer", {})[id] = {"id": id}
    for method in world.rows("payment_method", customer=id):
        method["customer"] = None
    world.emit("customer.deleted", row)
    return world.remove("customer", id)


@route("GET", "/v1/customers")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("customer", email=p.text("email"))
    return page(p, dated(p, rows), "/v1/customers")


@route("GET", "/v1/customers/{id}/payment_methods")
def methods(world: World, p: Params, id: str) -> Json:
    world.get("customer", id)
    rows = world.rows("payment_method", customer=id, type=p.text("type"))
    return page(p, rows, f"/v1/customers/{id}/payment_methods")


@route("GET", "/v1/customers/{id}/payment_methods/{method}")
def method(world: World, p: Params, id: str, method: str) -> Json:
    p.end()
    row = world.get("payment_method", method)
    if row["customer"] != id:
        raise refused(f"Customer {id} does not have a payment method with ID {method}", code="resource_missing")
    return row


@route("POST", "/v1/customers/{id}/tax_ids")
def create_tax_id(world: World, p: Params, id: str) -> Json:
    world.get("customer", id)
    type, value = p.need("type"), p.need("value")
    p.end()
    return _add_tax_id(world, id, type, value)


def _add_tax_id(world: World, customer: str, type: str, value: str) -> Json:
    country = type[:2].upper() if type not in TAX_ID_COUNTRIES else value[:2].upper()
    row = world.add(
        {
            "id": world.new_id("txi"),
            "object": "tax_id",
            "country": country,
            "created": world.now,
            "customer": customer,
            "customer_account": None,
            "livemode": False,
            "owner": {"customer": customer, "customer_account": None, "type": "customer"},
            "type": type,
            "value": value,
            "verification": {"status": "unavailable", "verified_address": None, "verified_name": None},
        }
    )
    world.emit("customer.tax_id.created", row)
    return row


@route("GET", "/v1/customers/{id}/tax_ids")
def list_tax_ids(world: World, p: Params, id: str) -> Json:
    world.get("customer", id)
    return page(p, world.rows("tax_id", customer=id), f"/v1/customers/{id}/tax_ids")


@route("GET", "/v1/customers/{id}/tax_ids/{tax_id}")
def retrieve_tax_id(world: World, p: Params, id: str, tax_id: str) -> Json:
    p.end()
    world.get("customer", id)
    return world.get("tax_id", tax_id)


@route("DELETE", "/v1/customers/{id}/tax_ids/{tax_id}")
def delete_tax_id(world: World, p: Params, id: str, tax_id: str) -> Json:
    p.end()
    world.get("customer", id)
    world.emit("customer.tax_id.deleted", world.get("tax_id", tax_id))
    return world.remove("tax_id", tax_id)


@included("customer", "tax_ids")
def _tax_ids(world: World, row: Json) -> Json:
    return page(Params({}), world.rows("tax_id", customer=row["id"]), f"/v1/customers/{row['id']}/tax_ids")


def credit(world: World, customer: Json, amount: int, currency: str, type: str, **links: str) -> Json:
    """Moves the customer's credit balance; what Stripe owes the customer is negative."""
    customer["balance"] += amount
    return world.add(
        {
            "id": world.new_id("cbtxn"),
            "object": "customer_balance_transaction",
            "amount": amount,
            "created": world.now,
            "credit_note": links.get("credit_note"),
            "currency": currency,
            "customer": customer["id"],
            "customer_account": None,
            "description": None,
            "ending_balance": customer["balance"],
            "invoice": links.get("invoice"),
            "livemode": False,
            "metadata": {},
            "type": type,
        }
    )


@route("GET", "/v1/customers/{id}/balance_transactions")
def list_balance_transactions(world: World, p: Params, id: str) -> Json:
    world.get("customer", id)
    return page(p, world.rows("customer_balance_transaction", customer=id), f"/v1/customers/{id}/balance_transactions")
