"""Payment methods: test cards, Alipay and WeChat Pay; attached to a customer or used once."""

import msgspec

from tests.stripe.server.cards import BY_NUMBER, BY_TOKEN, Card
from tests.stripe.server.errors import Json, card_error, decline, malformed, refused
from tests.stripe.server.form import Params, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World

TYPES = ("card", "alipay", "wechat_pay")
NO_ADDRESS: Json = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}
REUSED = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a connected "
    "account without Customer attachment, or was detached from a Customer. It may not be used again. To use a PaymentMethod "
    "multiple times, you must attach it to a Customer first."
)


def billing_details(p: Params) -> Json:
    inner = p.inner("billing_details")
    said: Json = {"address": NO_ADDRESS, "email": None, "name": None, "phone": None, "tax_id": None}
    said |= inner.given("email", "name", "phone", "tax_id")
    return said | {"address": inner.address() or NO_ADDRESS}


def card_of(world: World, card: Card) -> Json:
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": f"fp{card.number[-14:]}",
        "funding": card.funding,
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def new(world: World, type: str, card: Card | None, details: Json | None = None, metadata: Json | None = None) -> Json:
    row: Json = {
        "id": world.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": details or billing_details(Params({})),
        "created": world.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": metadata or {},
        "type": type,
        type: card_of(world, card) if card else {},
    }
    world.secret(row["id"]).update((card or Card(number="", token="")).behaviour(), used=False)
    return world.add(row)


def resolve(world: World, id: str, param: str = "payment_method") -> Json:
    """The payment method of that id; a test token makes a new one, as at Stripe."""
    if card := BY_TOKEN.get(id):
        return new(world, "card", card)
    row = world.get("payment_method", id, param)
    if world.secret(id)["used"] and row["customer"] is None:
        raise refused(REUSED, code="payment_method_unexpected_state")
    return row


class Draft(msgspec.Struct, frozen=True):
    """A payment method as a request describes it."""

    type: str
    card: Card | None
    details: Json
    metadata: Json
    allow_redisplay: str

    def make(self, world: World) -> Json:
        row = new(world, self.type, self.card, self.details, self.metadata)
        row["allow_redisplay"] = self.allow_redisplay
        return row


def drafted(p: Params) -> Draft:
    """Reads `type` and the fields of that type."""
    type = p.choice("type", TYPES)
    if type is None:
        raise malformed(f"Missing required param: {p.name('type')}.", param=p.name("type"), code="parameter_missing")
    details, metadata, card = billing_details(p), p.metadata(), None
    shown = p.choice("allow_redisplay", ("always", "limited", "unspecified"), "unspecified")
    inner = p.inner(type)
    if type == "card":
        token, number = inner.text("token"), inner.text("number")
        for part in ("exp_month", "exp_year", "cvc"):
            inner.text(part)
        card = BY_TOKEN.get(token or "") or BY_NUMBER.get((number or "").replace(" ", ""))
        if card is None:
            raise malformed("Your card number is incorrect.", param=inner.name("number"), code="incorrect_number")
    return Draft(type, card, details, metadata, shown or "unspecified")


@route("POST", "/v1/payment_methods")
def create(world: World, p: Params) -> Json:
    draft = drafted(p)
    p.end()
    return draft.make(world)


@route("GET", "/v1/payment_methods/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("payment_method", id)


@route("POST", "/v1/payment_methods/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("payment_method", id)
    changes: Json = {"metadata": p.metadata(row["metadata"])}
    if p.has("billing_details"):
        changes["billing_details"] = billing_details(p)
    if p.has("card"):
        card = p.inner("card")
        changes["card"] = row["card"] | {part: card.integer(part) for part in ("exp_month", "exp_year") if card.has(part)}
    p.end()
    return world.update(row, "payment_method.updated", **changes)


@route("GET", "/v1/payment_methods")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("payment_method", customer=p.text("customer"), type=p.text("type"))
    return page(p, [row for row in rows if row["customer"]], "/v1/payment_methods")


@route("POST", "/v1/payment_methods/{id}/attach")
def attach(world: World, p: Params, id: str) -> Json:
    customer = p.need("customer")
    p.end()
    world.get("customer", customer, "customer")
    row = resolve(world, id, "id")
    check_attachable(world, row)
    return attach_to(world, row, customer)


def check_attachable(world: World, row: Json) -> None:
    """A card is tried before it is saved."""
    if row["type"] != "card":
        raise refused(f"Payment methods of type {row['type']} cannot be saved to customers.", code="payment_method_not_available")
    if not world.secret(row["id"])["attaches"]:
        raise card_error(decline(world.secret(row["id"])["declines"]))


def attach_to(world: World, row: Json, customer: str) -> Json:
    if row["customer"] not in {None, customer}:
        raise refused("The payment method you provided has already been attached to a customer.")
    if row["customer"] is None:
        row["customer"] = customer
        world.emit("payment_method.attached", row)
    return row


@route("POST", "/v1/payment_methods/{id}/detach")
def detach(world: World, p: Params, id: str) -> Json:
    p.end()
    row = world.get("payment_method", id)
    if row["customer"] is None:
        raise refused("The payment method you provided is not attached to a customer so detachment is impossible.")
    return remove(world, row)


def remove(world: World, row: Json) -> Json:
    """Takes the method from its customer for good."""
    customer = world.get("customer", row["customer"])
    before = {"customer": row["customer"]}
    row["customer"] = None
    world.secret(row["id"])["used"] = True
    if customer["invoice_settings"]["default_payment_method"] == row["id"]:
        customer["invoice_settings"] = customer["invoice_settings"] | {"default_payment_method": None}
    world.emit("payment_method.detached", row, before)
    return row
