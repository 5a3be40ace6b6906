"""Transfers from the platform's balance to connected accounts, and their reversals."""

from tests.stripe.server import money
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World

POOR = (
    "You have insufficient available funds in your Stripe account. Try adding funds directly to your available balance by creating "
    "Charges using the 4000000000000077 test card."
)
INCAPABLE = (
    "Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, "
    "legacy_payments"
)


@route("POST", "/v1/transfers")
def create(world: World, p: Params) -> Json:
    amount, currency, destination = p.integer("amount", required=True) or 0, p.need("currency").lower(), p.need("destination")
    said = p.given("description", "transfer_group") | {"metadata": p.metadata()}
    source = p.text("source_transaction")
    p.choice("source_type", ("card",))
    p.end()
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer")
    account = world.get("account", destination, "destination")
    if "active" not in {account["capabilities"].get(name) for name in ("transfers", "legacy_payments")}:
        raise refused(INCAPABLE, code="insufficient_capabilities_for_transfer")
    if source:
        _check_source(world, source, amount)
    elif money.available(world, currency) < amount:
        raise refused(POOR, code="balance_insufficient")
    id = world.new_id("tr")
    movement = money.move(world, "transfer", id, -amount, currency)
    row: Json = {
        "id": id,
        "object": "transfer",
        "amount": amount,
        "amount_reversed": 0,
        "balance_transaction": movement["id"],
        "created": world.now,
        "currency": currency,
        "description": None,
        "destination": destination,
        "destination_payment": world.new_id("py"),
        "livemode": False,
        "metadata": {},
        "reversals": {"object": "list", "data": [], "has_more": False, "url": f"/v1/transfers/{id}/reversals"},
        "reversed": False,
        "source_transaction": source,
        "source_type": "card",
        "transfer_group": None,
    }
    row = world.add(row | said)
    with world.acting_as(destination):
        money.move(world, "payment", row["destination_payment"], amount, currency, category="transfer")
    world.emit("transfer.created", row)
    return row


def _check_source(world: World, source: str, amount: int) -> None:
    charge = world.get("charge", source, "source_transaction")
    used = sum(row["amount"] for row in world.rows("transfer", source_transaction=source))
    if used + amount > charge["amount_captured"]:
        raise refused(f"The transfers of {source} would exceed its amount.", param="amount")


@route("GET", "/v1/transfers/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("transfer", id)


@route("POST", "/v1/transfers/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("transfer", id)
    changes = p.given("description") | {"metadata": p.metadata(row["metadata"])}
    p.end()
    return world.update(row, "transfer.updated", **changes)


@route("GET", "/v1/transfers")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("transfer", destination=p.text("destination"), transfer_group=p.text("transfer_group"))
    return page(p, dated(p, rows), "/v1/transfers")


@route("POST", "/v1/transfers/{id}/reversals")
def reverse(world: World, p: Params, id: str) -> Json:
    row = world.get("transfer", id)
    amount, metadata = p.integer("amount"), p.metadata()
    p.text("description")
    p.end()
    left = row["amount"] - row["amount_reversed"]
    amount = left if amount is None else amount
    if left == 0 or not 1 <= amount <= left:
        raise refused(f"Reversal amount ({amount}) is greater than what is left of the transfer ({left}).", param="amount")
    with world.acting_as(row["destination"]):
        if money.available(world, row["currency"]) < amount:
            raise refused("The destination account has insufficient funds to reverse the transfer.", code="balance_insufficient")
        money.move(world, "payment_refund", row["destination_payment"], -amount, row["currency"], category="transfer_reversal")
    reversal_id = world.new_id("trr")
    movement = money.move(world, "transfer_refund", reversal_id, amount, row["currency"], category="transfer_reversal")
    reversal = world.add(
        {
            "id": reversal_id,
            "object": "transfer_reversal",
            "amount": amount,
            "balance_transaction": movement["id"],
            "created": world.now,
            "currency": row["currency"],
            "destination_payment_refund": None,
            "metadata": metadata,
            "source_refund": None,
            "transfer": id,
        }
    )
    row["reversals"]["data"].insert(0, reversal)
    row["amount_reversed"] += amount
    row["reversed"] = row["amount_reversed"] == row["amount"]
    world.emit("transfer.reversed", row)
    return reversal


@route("GET", "/v1/transfers/{id}/reversals")
def list_reversals(world: World, p: Params, id: str) -> Json:
    world.get("transfer", id)
    return page(p, world.rows("transfer_reversal", transfer=id), f"/v1/transfers/{id}/reversals")


@route("GET", "/v1/transfers/{id}/reversals/{reversal}")
def retrieve_reversal(world: World, p: Params, id: str, reversal: str) -> Json:
    p.end()
    world.get("transfer", id)
    return world.get("transfer_reversal", reversal)
