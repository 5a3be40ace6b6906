"""What is offered is checked before it is published: every mistake is named, and nothing is written."""

import pytest

from billing.errors import CatalogueInvalid, UnknownTimeZone
from billing.kit.query import Conn
from billing.plans.catalogue import catalogue_in_force, publish_catalogue, read_catalogue
from billing.plans.model import Catalogue
from billing.plans.sellers import read_sellers
from tests.billing.plans.shop import CATALOGUE, SELLERS
from tests.tidy.checks import ROOT

STUDIO = (ROOT / "deploy" / "catalogue" / "plans.toml").read_text()


def test_the_packaged_files_are_sound() -> None:
    assert {plan.name for plan in CATALOGUE.plans} >= {"studio", "enterprise", "free"}
    assert read_sellers((ROOT / "deploy" / "catalogue" / "sellers.toml").read_text()).of("USD").code == "demo-us"


@pytest.mark.parametrize("old,new,named", [
    ("fee_micro = 500_000_000", "fee_micro = 500.0", r"Expected `int`, got `float` - at `\$\.plans\[0\]\.fee_micro`"),
    ("fee_micro = 500_000_000", "fee_micro = 500_000_001", "fee_micro"),
    ("included_ms = 600_000", "included_ms = 0", "included_ms"),
    ('currency = "CNY"', 'currency = "EUR"', "EUR"),
    ('seconds_class = "standard"', 'seconds_class = "Ünknown"', "seconds_class"),
    ('kind = "subscription"', 'kind = "lifetime"', "lifetime"),
    ('title = "Studio"', 'title = "Studio"\ncolour = "red"', "colour"),
    ('name = "studio-pro"', 'name = "studio"', "two plans are called studio"),
    ('budget = "free-work"', 'budget = "gone"', "plan free: there is no budget gone"),
    ("[[plans]]", "[[plans]", "line 5"),
])  # fmt: skip
async def test_a_mistake_is_named(database: Conn, old: str, new: str, named: str) -> None:
    with pytest.raises(CatalogueInvalid, match=named):
        await publish_catalogue(database, read_catalogue(STUDIO.replace(old, new, 1)))
    assert await catalogue_in_force(database) == Catalogue()


def test_a_time_zone_that_does_not_exist() -> None:
    with pytest.raises(UnknownTimeZone, match="'Asia/Atlantis'"):
        read_catalogue(STUDIO.replace("Asia/Shanghai", "Asia/Atlantis"))
    with pytest.raises(UnknownTimeZone, match="'Asia/Atlantis'"):
        read_sellers(SELLERS.replace("Asia/Shanghai", "Asia/Atlantis"))


@pytest.mark.parametrize("old,new,named", [
    ("CN = 600", "CN = 6.0", "float"),
    ("CN = 600", "DE = 600", "no rate for CN"),
    ('prefix = "TLCN"', 'prefix = "tl cn"', "prefix"),
    ('rule = "vat"', 'rule = "vat"\n    union = ["CN", "FR"]', "no rate for FR"),
    ("    [[sellers]]", SELLERS + "\n    [[sellers]]", "CNY is billed by cn and by cn"),
])  # fmt: skip
def test_a_mistake_about_a_seller_is_named(old: str, new: str, named: str) -> None:
    with pytest.raises(CatalogueInvalid, match=named):
        read_sellers(SELLERS.replace(old, new, 1))


async def test_the_last_catalogue_is_in_force(database: Conn) -> None:
    await publish_catalogue(database, CATALOGUE)
    await publish_catalogue(database, CATALOGUE)
    await publish_catalogue(database, Catalogue())
    assert await catalogue_in_force(database) == Catalogue()
    await publish_catalogue(database, CATALOGUE)
    assert await catalogue_in_force(database) == CATALOGUE
    assert await database.fetchval("SELECT count(*) FROM billing.catalogue") == 3
