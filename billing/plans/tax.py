"""Which tax a sale bears; pure. A rule is anything that names the treatment of a sale from a seller to a buyer."""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from billing.kit.apportion import nearest

Category = Literal["S", "AE", "O"]
"""As EN 16931 codes it: standard rate, reverse charge, outside the scope of tax."""
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$")]
WHOLE_BP = 10_000


class Party(msgspec.Struct, frozen=True):
    """Who sells or buys, as it stands on an invoice. `country` is ISO 3166-1 alpha-2, or empty where it is not known."""

    legal_name: str
    address: str
    country: str
    tax_id: str


class Treatment(msgspec.Struct, frozen=True):
    """`rate_bp` is in hundredths of a percent. `inclusive`: prices contain the tax."""

    category: Category
    rate_bp: int = 0
    inclusive: bool = False


class TaxRule(Protocol):
    def treatment(self, seller: Party, buyer: Party) -> Treatment: ...


class NoTax(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="none", tag_field="rule"):
    """For a seller that owes no tax on sales."""

    def treatment(self, seller: Party, buyer: Party) -> Treatment:
        del seller, buyer
        return Treatment("O")


class Vat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="vat", tag_field="rule"):
    """Value added tax by country. `union`: countries that tax each other's services where they are received.

    At home, and for a buyer whose country is not known, the seller's rate. Within the union a buyer with a tax id owes the
    tax itself, any other pays its own country's rate. Elsewhere the sale is out of scope.
    """

    rates_bp: dict[Country, Annotated[int, Meta(ge=0, le=WHOLE_BP)]]
    union: tuple[Country, ...] = ()
    inclusive: bool = False

    def treatment(self, seller: Party, buyer: Party) -> Treatment:
        if buyer.country in ("", seller.country):
            return Treatment("S", self.rates_bp[seller.country], self.inclusive)
        if seller.country in self.union and buyer.country in self.union:
            if buyer.tax_id:
                return Treatment("AE")
            return Treatment("S", self.rates_bp[buyer.country], self.inclusive)
        return Treatment("O")


class Taxed(msgspec.Struct, frozen=True):
    """Minor units. `net` and `tax` are per line and sum to their totals."""

    net: tuple[int, ...]
    tax: tuple[int, ...]

    @property
    def net_minor(self) -> int:
        return sum(self.net)

    @property
    def tax_minor(self) -> int:
        return sum(self.tax)

    @property
    def total_minor(self) -> int:
        return self.net_minor + self.tax_minor


def tax(prices_minor: Sequence[int], treatment: Treatment) -> Taxed:
    """Rounds the tax once, on the sum, half away from zero; lines take their part of it by largest remainder."""
    parts = [price * treatment.rate_bp for price in prices_minor]
    taxes, _ = nearest(parts, WHOLE_BP + treatment.rate_bp if treatment.inclusive else WHOLE_BP)
    inside = taxes if treatment.inclusive else [0] * len(taxes)
    return Taxed(tuple(price - part for price, part in zip(prices_minor, inside, strict=True)), tuple(taxes))
