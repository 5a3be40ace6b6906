"""What is offered in the simulated shop: small periods and odd figures, so that every boundary is met often."""

import random
from typing import Any

from billing.plans.catalogue import read_catalogue
from billing.plans.sellers import read_sellers
from billing.pricing.model import Hours, ModelRates, RateCard, Step

CURRENCIES = ("CNY", "USD")
ZONES = ("Asia/Shanghai", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia")

CATALOGUE = read_catalogue(
    "".join(
        f"""
[[plans]]
kind = "subscription"
name = "{name}-{currency.lower()}"
title = "{name}"
currency = "{currency}"
every = {{ unit = "{unit}", count = {count} }}
fee_micro = {fee}
seconds_class = "hd"
included_ms = {included}
rollover_max_ms = {rollover}
payer = "{payer}"
grace_days = {grace}
"""
        for currency in CURRENCIES
        for name, unit, count, fee, included, rollover, payer, grace in (
            ("small", "week", 1, 7_770_000, 20_001, 15_000, "wallet", 2),
            ("large", "week", 1, 33_330_000, 100_003, 50_000, "wallet", 0),
            ("monthly", "month", 1, 19_990_000, 70_007, 0, "wallet", 7),
            ("credit", "week", 1, 9_990_000, 30_011, 30_000, "account", 1),
        )
    )
    + "".join(
        f"""
[[plans]]
kind = "contract"
name = "{name}-{currency.lower()}"
title = "{name}"
currency = "{currency}"
every = {{ unit = "{unit}" }}
credit_limit_micro = {limit}
minimum_micro = {minimum}
commitment_micro = {commitment}
term = 2
grace_hours = {grace}

[[packs]]
name = "{name}-pack-{currency.lower()}"
title = "pack"
currency = "{currency}"
price_micro = {price}
seconds_class = "hd"
duration_ms = {duration}
valid_days = {days}
"""
        for currency in CURRENCIES
        for name, unit, limit, minimum, commitment, grace, price, duration, days in (
            ("daily", "day", 70_000_000, 0, 0, 2, 500_000, 2_003, 9),
            ("enterprise", "month", 90_000_000, 5_010_000, 100_000_000, 24, 7_130_000, 9_999, 3),
            ("weekly", "week", 60_000_001, 1_990_000, 0, 3, 20_000, 7_001, 0),
        )
    )
    + """
[[plans]]
kind = "free"
name = "free"
title = "Free"
every = { unit = "day", count = 2 }
seconds_class = "hd"
allowance_ms = 9_001
budget = "free-work"

[[budgets]]
name = "free-work"
per_day_micro = 30_000
time_zone = "Asia/Shanghai"
days_ahead = 1
"""
)

SELLERS = read_sellers(
    """
[[sellers]]
code = "cn"
prefix = "CN"
legal_name = "上海闪光影像有限公司"
address = "上海"
country = "CN"
tax_id = "91310104MA1FR00000"
time_zone = "Asia/Shanghai"
currencies = ["CNY"]
tax = { rule = "vat", rates_bp = { CN = 600 } }

[[sellers]]
code = "de"
prefix = "DE"
legal_name = "Blitz Film GmbH"
address = "Berlin"
country = "DE"
tax_id = "DE123456789"
time_zone = "Europe/Berlin"
currencies = ["USD"]
tax = { rule = "vat", rates_bp = { DE = 1900 }, inclusive = true }
"""
)
TAXES = {"CNY": (600, False), "USD": (1900, True)}


def some_card(choose: random.Random, currency: str) -> RateCard:
    """Two models sold by the second, one by the image."""
    models: dict[str, Any] = {
        "film": ModelRates(
            choose.choice([1_000_000, 777_777, 1_234_567]),
            resolution={"720p": 10_000, "1080p": 16_001},
            tier={"standard": 10_000, "flex": 5_000},
            audio=12_500,
            hours=(
                Hours("off-peak", "22:00", "06:00", 7_000, ("mon", "thu", "fri", "sun")),
                Hours("noon", "12:00", "13:30", 11_111, ("mon", "sat")),
            ),
            volume=choose.choice([(), (Step(15_000, 9_000), Step(40_000, 7_777)), (Step(10_000, 12_000), Step(90_000, 0))]),
            min_ms=choose.choice([0, 2_000]),
            seconds_class={"720p": "hd"},
        ),
        "draft": ModelRates(
            choose.choice([300_000, 0, 333_333]), {"720p": 10_000}, {"flex": 9_999}, seconds_class={"720p": "hd"}
        ),
        "still": ModelRates(
            200_001, {"1080p": 10_000}, {"standard": 10_000}, unit="image", volume=choose.choice([(), (Step(7, 8_000),)])
        ),
    }
    return RateCard(currency, models)
