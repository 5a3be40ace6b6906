"""Integer money. Amounts are micro-units (10⁻⁶ of the currency), time is milliseconds; no float, ever."""

MICRO = 1_000_000
SYMBOLS = {"CNY": "¥", "USD": "$"}
"""Every currency there is. One is never converted into another."""


def charge_micro(duration_ms: int, rate_micro_per_s: int) -> int:
    """The price of a duration, rounded down: the one rounding between measured time and money.

    It is monotone in `duration_ms`, so what was held for a maximum always covers what is captured.
    """
    return duration_ms * rate_micro_per_s // 1000


def format_micro(amount_micro: int, currency: str) -> str:
    """`-1_500_000, "CNY"` → `-¥1.50`. At least two decimals, more only when they are not zero."""
    symbol = SYMBOLS.get(currency, f"{currency} ")
    units, fraction = divmod(abs(amount_micro), MICRO)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount_micro < 0 else ''}{symbol}{units:,}.{digits}"


def format_amount(amount: int, asset: str) -> str:
    """An amount in the smallest unit of its asset: money as `format_micro`, prepaid seconds as `-1.500 s`."""
    if not asset.startswith("SEC:"):
        return format_micro(amount, asset)
    seconds, ms = divmod(abs(amount), 1000)
    return f"{'-' if amount < 0 else ''}{seconds:,}.{ms:03d} s"


def parse_micro(text: str) -> int:
    """`"12.5"` → 12_500_000. Raises ValueError for anything but a plain decimal with at most six places."""
    units, _, fraction = text.strip().partition(".")
    digits = units.removeprefix("-") + fraction
    if not (digits.isascii() and digits.isdigit()) or len(fraction) > 6 or len(digits) > 18:
        message = f"{text!r} is not an amount; write a decimal such as 12.50 with at most six places"
        raise ValueError(message)
    value = int(digits.ljust(len(digits) + 6 - len(fraction), "0"))
    return -value if units.startswith("-") else value
