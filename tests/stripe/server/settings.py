"""What the control plane can set: who the account is, what things cost and how long they take."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct, field

HOUR_S = 3600
DAY_S = 24 * HOUR_S


class Fee(Struct, frozen=True):
    """`percent` of what was paid and `fixed` minor units on top, by the currency that is settled in."""

    percent: Decimal = Decimal("2.9")
    fixed: dict[str, int] = field(default_factory=lambda: {"usd": 30, "cny": 200, "hkd": 235})


class Settings(Struct, frozen=True):
    secret_keys: tuple[str, ...] = ("sk_test_offline",)
    platform: str = "acct_1Platform000000000"
    country: str = "US"
    name: str = "Offline"
    default_currency: str = "usd"
    settles: dict[str, str] = {}
    """Currencies that are converted on arrival, and into what: {"cny": "usd"}. Every other one settles as it is."""
    rates: dict[str, Decimal] = field(default_factory=lambda: {"cny/usd": Decimal("0.1389"), "usd/cny": Decimal("7.1")})
    """What one unit of the first is worth in the second."""
    fees: dict[str, Fee] = field(default_factory=lambda: {"card": Fee(), "alipay": Fee(), "wechat_pay": Fee()})
    dispute_fee: dict[str, int] = field(default_factory=lambda: {"usd": 1500, "cny": 10000})
    dispute_due_s: int = 10 * DAY_S
    available_after_s: int = 2 * DAY_S
    balance_transaction: Literal["at_once", "late", "on_command"] = "at_once"
    """`late`: null for `balance_transaction_after_s` after an asynchronous capture; `on_command`: until the control plane says so."""
    balance_transaction_after_s: int = 30
    refund_settles_after_s: int = DAY_S
    payouts: Literal["manual", "daily"] = "manual"
    payout_arrives_after_s: int = 2 * DAY_S
    idempotency_keys_last_s: int = DAY_S
    webhooks: Literal["auto", "manual"] = "auto"
    """`manual`: nothing is delivered until the control plane says what, in which order and how often."""
    webhook_retries_s: tuple[int, ...] = (60, 300, 1800, 7200, 18000, 36000, 43200, 43200, 43200, 43200)
    """Waits between attempts; Stripe gives up after about three days."""
    invoice_finalizes_after_s: int = HOUR_S
    invoice_retries_s: tuple[int, ...] = (3 * DAY_S, 5 * DAY_S, 7 * DAY_S)
    invoice_ends: Literal["past_due", "uncollectible"] = "past_due"
    """What becomes of an invoice whose last retry failed."""
    checkout_expires_after_s: int = DAY_S
    authorization_lasts_s: int = 7 * DAY_S
