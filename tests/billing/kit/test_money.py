"""Amounts as people write and read them."""

import pytest

from billing.kit.money import format_micro, parse_micro


@pytest.mark.parametrize(
    "amount,currency,text",
    [
        (0, "CNY", "¥0.00"),
        (1, "CNY", "¥0.000001"),
        (-1, "USD", "-$0.000001"),
        (1_500_000, "USD", "$1.50"),
        (10_000_000, "CNY", "¥10.00"),
        (-1_234_567_890_000, "CNY", "-¥1,234,567.89"),
        (2_345_000, "EUR", "EUR 2.345"),
    ],
)
def test_is_written(amount: int, currency: str, text: str) -> None:
    assert format_micro(amount, currency) == text


@pytest.mark.parametrize(
    "text,amount",
    [
        ("0", 0), ("1", 1_000_000), (" 12.5 ", 12_500_000), ("-0.000001", -1), (".5", 500_000), ("1.", 1_000_000),
        ("999999999999.999999", 999_999_999_999_999_999), ("-7", -7_000_000), ("1000000", 1_000_000_000_000),
    ],
)  # fmt: skip
def test_is_read(text: str, amount: int) -> None:
    assert parse_micro(text) == amount


@pytest.mark.parametrize(
    "text", ["", "-", ".", "1.0000001", "1.2.3", "1,5", "١٢", "1e3", "--1", "1 2", "x", "1000000000000.000000", "0.-5"]
)
def test_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a decimal such as 12\.50 with at most six places") as refused:
        parse_micro(text)
    assert str(refused.value).startswith(f"{text!r} is not an amount; ")
