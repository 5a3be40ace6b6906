"""The balance and the movements that make it."""

from tests.stripe.server import money
from tests.stripe.server.errors import Json
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World


@route("GET", "/v1/balance")
def retrieve(world: World, p: Params) -> Json:
    p.end()
    return money.balance(world)


@route("GET", "/v1/balance_transactions")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("balance_transaction", type=p.text("type"), source=p.text("source"), currency=p.text("currency"))
    payout = p.text("payout")
    if payout:
        paid = world.secret(world.get("payout", payout, "payout")["id"]).get("movements", [])
        rows = [row for row in rows if row["id"] in paid]
    return page(p, dated(p, rows), "/v1/balance_transactions")


@route("GET", "/v1/balance_transactions/{id}")
def transaction(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("balance_transaction", id)
