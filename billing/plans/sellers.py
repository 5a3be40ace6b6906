"""Who sells: the legal entities, the currency each of them bills, and the tax it owes."""

import tomllib
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from billing.errors import CatalogueInvalid, UnknownAsset
from billing.plans.calendar import zone_of
from billing.plans.model import Currency, Name
from billing.plans.tax import Country, NoTax, Party, Vat

Rule: TypeAlias = NoTax | Vat
"""The rules that a file can name; `TaxRule` is what each of them does."""


class Seller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A legal entity. Its invoices are numbered without gaps per year of its `time_zone`, under `prefix`."""

    code: Name
    prefix: Annotated[str, Meta(pattern="^[A-Z0-9]{1,12}$")]
    legal_name: Annotated[str, Meta(min_length=1, max_length=200)]
    address: Annotated[str, Meta(max_length=1000)]
    country: Country
    tax_id: str
    time_zone: str
    currencies: tuple[Currency, ...]
    payment_days: Annotated[int, Meta(ge=0, le=365)] = 30
    payment: str = ""
    tax: Rule = NoTax()

    @property
    def party(self) -> Party:
        return Party(self.legal_name, self.address, self.country, self.tax_id)


class Sellers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sellers: tuple[Seller, ...]

    def of(self, currency: str) -> Seller:
        """Raises UnknownAsset."""
        for seller in self.sellers:
            if currency in seller.currencies:
                return seller
        raise UnknownAsset(f"nobody sells in {currency}")


def read_sellers(text: str) -> Sellers:
    """Parses and checks sellers.toml. Raises CatalogueInvalid naming the entry, UnknownTimeZone."""
    try:
        sellers = msgspec.convert(tomllib.loads(text), Sellers)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CatalogueInvalid(str(error)) from error
    billed: dict[str, str] = {}
    for seller in sellers.sellers:
        zone_of(seller.time_zone)
        for currency in seller.currencies:
            if currency in billed:
                raise CatalogueInvalid(f"{currency} is billed by {billed[currency]} and by {seller.code}")
            billed[currency] = seller.code
        if isinstance(seller.tax, Vat):
            missing = {seller.country, *seller.tax.union} - set(seller.tax.rates_bp)
            if missing:
                raise CatalogueInvalid(f"{seller.code}: tax.rates_bp has no rate for {', '.join(sorted(missing))}")
    codes = [seller.code for seller in sellers.sellers] + [seller.prefix for seller in sellers.sellers]
    if len(set(codes)) < len(codes):
        raise CatalogueInvalid("two sellers have the same code or prefix")
    return sellers
