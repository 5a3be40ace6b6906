"""Tax: which treatment a sale has, and that its parts always sum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.plans.tax import NoTax, Party, TaxRule, Treatment, Vat, tax

EU = Vat({"DE": 1900, "FR": 2000, "AT": 2000}, union=("DE", "FR", "AT"))
SELLER = Party("Nordlicht", "", "DE", "DE123456789")


@pytest.mark.parametrize("rule,country,tax_id,treatment", [
    (NoTax(), "DE", "", Treatment("O")),
    (EU, "DE", "DE999", Treatment("S", 1900)),
    (EU, "", "", Treatment("S", 1900)),
    (EU, "FR", "", Treatment("S", 2000)),
    (EU, "FR", "FR123", Treatment("AE")),
    (EU, "CN", "", Treatment("O")),
    (Vat({"DE": 1900}, inclusive=True), "DE", "", Treatment("S", 1900, inclusive=True)),
])  # fmt: skip
def test_the_treatment_follows_from_who_sells_to_whom(rule: TaxRule, country: str, tax_id: str, treatment: Treatment) -> None:
    assert rule.treatment(SELLER, Party("x", "", country, tax_id)) == treatment


@given(st.lists(st.integers(-(10**9), 10**9), max_size=20), st.integers(0, 10_000), st.booleans())
def test_lines_sum_to_totals_and_prices_stay(prices: list[int], rate_bp: int, inclusive: bool) -> None:
    taxed = tax(prices, Treatment("S", rate_bp, inclusive))
    if inclusive:
        assert [net + part for net, part in zip(taxed.net, taxed.tax, strict=True)] == prices
        assert taxed.total_minor == sum(prices)
    else:
        assert list(taxed.net) == prices
    exact = sum(prices) * rate_bp
    unit = 10_000 + rate_bp if inclusive else 10_000
    assert abs(taxed.tax_minor * unit - exact) * 2 <= unit
