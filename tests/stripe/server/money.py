"""Balance transactions: every movement of the account's money, with the fees and the exchange that Stripe takes.

Amounts are minor units. Rounding is half up, once per movement for the exchange and once for the fee.
"""

from decimal import ROUND_HALF_UP, Decimal

from tests.stripe.server.errors import Json
from tests.stripe.server.settings import Fee
from tests.stripe.server.world import World, timer


def half_up(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def settled(world: World, amount: int, currency: str) -> tuple[int, str, float | None]:
    """What `amount` becomes on the balance: amount, currency, and the rate where it was exchanged."""
    into = world.settings.settles.get(currency, currency)
    if into == currency:
        return amount, currency, None
    rate = world.settings.rates[f"{currency}/{into}"]
    return half_up(amount * rate), into, float(rate)


def fee_of(fee: Fee, amount: int, currency: str) -> int:
    return half_up(amount * fee.percent / 100) + fee.fixed.get(currency, 0)


def move(
    world: World,
    type: str,
    source: str,
    amount: int,
    currency: str,
    *,
    category: str = "",
    fee: int = 0,
    rate: float | None = None,
    available_after_s: int = 0,
    description: str | None = None,
) -> Json:
    """Writes a movement of `amount` in the balance's own currency; it is pending until it is available."""
    details: Json = {"amount": fee, "application": None, "currency": currency, "type": "stripe_fee"}
    row = world.add(
        {
            "id": world.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": world.now + available_after_s,
            "balance_type": "payments",
            "created": world.now,
            "currency": currency,
            "description": description,
            "exchange_rate": rate,
            "fee": fee,
            "fee_details": [details | {"description": "Dispute fee" if category == "dispute" else "Stripe processing fees"}]
            if fee
            else [],
            "net": amount - fee,
            "reporting_category": category or type,
            "source": source,
            "status": "pending" if available_after_s else "available",
            "type": type,
        }
    )
    if available_after_s:
        world.after(available_after_s, "balance_transaction.available", row["id"])
    return row


@timer("balance_transaction.available")
def become_available(world: World, id: str) -> None:
    world.get("balance_transaction", id)["status"] = "available"
    world.emit("balance.available", balance(world))


def settle_charge(world: World, charge: Json) -> None:
    """The movement of a captured charge, less the fee of its method."""
    method = charge["payment_method_details"]["type"]
    amount, currency, rate = settled(world, charge["amount_captured"], charge["currency"])
    at_once = world.secret(charge["payment_method"]).get("bypass_pending", False)
    charge["balance_transaction"] = move(
        world,
        "charge" if method == "card" else "payment",
        charge["id"],
        amount,
        currency,
        category="charge",
        fee=fee_of(world.settings.fees[method], amount, currency),
        rate=rate,
        available_after_s=0 if at_once else world.settings.available_after_s,
        description=charge["description"],
    )["id"]


@timer("charge.settle")
def settle_late(world: World, id: str) -> None:
    """The movement that was null when the charge succeeded."""
    charge = world.get("charge", id)
    if charge["balance_transaction"] is None:
        settle_charge(world, charge)
        world.emit("charge.updated", charge, {"balance_transaction": None})


def balance(world: World) -> Json:
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for row in world.rows("balance_transaction"):
        by_currency = sums[row["status"]]
        by_currency[row["currency"]] = by_currency.get(row["currency"], 0) + row["net"]
    currencies = sorted({world.settings.default_currency, *sums["available"], *sums["pending"]})

    def amounts(status: str) -> list[Json]:
        return [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency in currencies
            for amount in [sums[status].get(currency, 0)]
        ]

    return {"object": "balance", "available": amounts("available"), "livemode": False, "pending": amounts("pending")}


def available(world: World, currency: str) -> int:
    return sum(row["net"] for row in world.rows("balance_transaction", currency=currency, status="available"))
