"""Payouts to the bank: asked for, or made every day of all that is available; paid on arrival unless they fail."""

from tests.stripe.server import money
from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.resources.transfers import POOR
from tests.stripe.server.routes import route
from tests.stripe.server.settings import DAY_S
from tests.stripe.server.world import World, timer


@route("POST", "/v1/payouts")
def create(world: World, p: Params) -> Json:
    amount, currency = p.integer("amount", required=True) or 0, p.need("currency").lower()
    said = p.given("description", "destination", "statement_descriptor") | {"metadata": p.metadata()}
    p.choice("method", ("standard",))
    p.choice("source_type", ("card",))
    p.end()
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer")
    if money.available(world, currency) < amount:
        raise refused(POOR, code="balance_insufficient")
    return _make(world, amount, currency, said)


def _make(world: World, amount: int, currency: str, said: Json, movements: list[str] | None = None) -> Json:
    """`movements` are those that an automatic payout pays out; a payout that was asked for pays out none in particular."""
    id = world.new_id("po")
    movement = money.move(world, "payout", id, -amount, currency, description="STRIPE PAYOUT")
    row: Json = {
        "id": id,
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": world.now + world.settings.payout_arrives_after_s,
        "automatic": movements is not None,
        "balance_transaction": movement["id"],
        "created": world.now,
        "currency": currency,
        "description": None,
        "destination": None,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "not_applicable" if movements is None else "in_progress",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "pending",
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
    }
    row = world.add(row | said)
    world.secret(id)["movements"] = [*(movements or []), movement["id"]]
    world.secret(movement["id"])["payout"] = id
    world.emit("payout.created", row)
    world.after(world.settings.payout_arrives_after_s, "payout.arrive", id)
    return row


@timer("payout.arrive")
def arrive(world: World, id: str) -> None:
    row = world.get("payout", id)
    if row["status"] not in {"pending", "in_transit"}:
        return
    row["status"] = "paid"
    world.emit("payout.paid", row)
    if row["automatic"]:
        row["reconciliation_status"] = "completed"
        world.emit("payout.reconciliation_completed", row)


def fail(world: World, row: Json, code: str) -> Json:
    """The bank sends the money back, also after the payout was paid: it stands on the balance again."""
    if row["status"] not in {"pending", "in_transit", "paid"}:
        raise refused(f"Payout {row['id']} is {row['status']}.")
    back = money.move(world, "payout_failure", row["id"], row["amount"], row["currency"], description="STRIPE PAYOUT FAILURE")
    row |= {"status": "failed", "failure_code": code, "failure_message": "The bank account could not be credited."}
    row["failure_balance_transaction"] = back["id"]
    world.emit("payout.failed", row)
    return row


@timer("payouts.daily")
def pay_out_all(world: World, id: str) -> None:
    """Pays out, by currency, everything that is available and was not paid out before."""
    world.after(DAY_S, "payouts.daily", id)
    if world.settings.payouts != "daily":
        return
    by_currency: dict[str, list[Json]] = {}
    for movement in world.rows("balance_transaction", status="available")[::-1]:
        if "payout" not in world.secret(movement["id"]):
            by_currency.setdefault(movement["currency"], []).append(movement)
    for currency, movements in by_currency.items():
        total = sum(movement["net"] for movement in movements)
        if total > 0:
            payout = _make(world, total, currency, {}, [movement["id"] for movement in movements])
            for movement in movements:
                world.secret(movement["id"])["payout"] = payout["id"]


@route("GET", "/v1/payouts/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("payout", id)


@route("POST", "/v1/payouts/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("payout", id)
    metadata = p.metadata(row["metadata"])
    p.end()
    return world.update(row, "payout.updated", metadata=metadata)


@route("POST", "/v1/payouts/{id}/cancel")
def cancel(world: World, p: Params, id: str) -> Json:
    p.end()
    row = world.get("payout", id)
    if row["status"] != "pending":
        raise refused("Only pending payouts can be canceled.")
    back = money.move(world, "payout_cancel", id, row["amount"], row["currency"])
    row |= {"status": "canceled", "failure_balance_transaction": back["id"]}
    world.emit("payout.canceled", row)
    return row


@route("GET", "/v1/payouts")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("payout", status=p.text("status"), destination=p.text("destination"))
    return page(p, dated(p, dated(p, rows), "arrival_date"), "/v1/payouts")
