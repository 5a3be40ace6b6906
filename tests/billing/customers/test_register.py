"""Opening and correcting customers, on a real database."""

import zoneinfo
from typing import Any

import asyncpg
import pytest

from billing.customers.model import BillingDetails
from billing.customers.register import customer, customers, open_customer, update_billing_details
from billing.errors import (
    BillingDetailsInvalid,
    BillingError,
    CustomerConflict,
    UnknownAsset,
    UnknownCustomer,
    UnknownTimeZone,
)
from billing.kit.ids import new_id
from billing.kit.query import Conn

DETAILS = BillingDetails(legal_name="Acme GmbH", address="Hauptstr. 1\n10115 Berlin", country="DE", tax_id="DE123", language="en")


async def test_open_once(database: Conn) -> None:
    mine = new_id()
    opened = await open_customer(database, mine, "USD", "Europe/Berlin", DETAILS)
    assert (opened.id, opened.currency, opened.time_zone, opened.legal_name) == (mine, "USD", "Europe/Berlin", "Acme GmbH")
    assert await open_customer(database, mine, "USD", "Europe/Berlin") == opened
    assert await customer(database, mine) == opened
    other = await open_customer(database, new_id(), "CNY")
    assert other.time_zone == "Asia/Shanghai"
    assert await customers(database, [mine, other.id, new_id()]) == {mine: opened, other.id: other}


@pytest.mark.parametrize(
    "currency,time_zone,error",
    [
        ("EUR", "Asia/Shanghai", UnknownAsset),
        ("cny", "Asia/Shanghai", UnknownAsset),
        ("SEC:film", "Asia/Shanghai", UnknownAsset),
        ("CNY", "Asia/Atlantis", UnknownTimeZone),
        ("CNY", "asia/shanghai", UnknownTimeZone),
        ("CNY", "UTC+8", UnknownTimeZone),
        ("CNY", "+08:00", UnknownTimeZone),
        ("CNY", "", UnknownTimeZone),
        ("CNY", "../etc/passwd", UnknownTimeZone),
    ],
)
async def test_unknown_currencies_and_zones(database: Conn, currency: str, time_zone: str, error: type[BillingError]) -> None:
    async with database.transaction():
        with pytest.raises(error) as refused:
            await open_customer(database, new_id(), currency, time_zone)
        assert await database.fetchval("SELECT count(*) FROM billing.customer") == 0  # the transaction goes on
    assert refused.value.detail == repr(time_zone if error is UnknownTimeZone else currency)


async def test_the_base_is_kept(database: Conn) -> None:
    mine = (await open_customer(database, new_id(), "CNY")).id
    for currency, time_zone in (("USD", "Asia/Shanghai"), ("CNY", "Europe/Berlin")):
        with pytest.raises(CustomerConflict, match="is billed in CNY on the clock of Asia/Shanghai"):
            await open_customer(database, mine, currency, time_zone)
    for column, value in (("currency", "USD"), ("time_zone", "Europe/Berlin"), ("id", new_id())):
        with pytest.raises(asyncpg.RestrictViolationError, match="open another one"):
            await database.execute(f"UPDATE billing.customer SET {column} = $1", value)


async def test_details_are_corrected_as_a_whole(database: Conn) -> None:
    opened = await open_customer(database, new_id(), "CNY")
    updated = await update_billing_details(database, opened.id, DETAILS)
    assert (updated.legal_name, updated.country, updated.created_at) == ("Acme GmbH", "DE", opened.created_at)
    assert (await update_billing_details(database, opened.id, BillingDetails(language="zh"))).legal_name == ""
    with pytest.raises(UnknownCustomer):
        await update_billing_details(database, new_id(), DETAILS)


@pytest.mark.parametrize(
    "field,value", [("country", "de"), ("country", "DEU"), ("legal_name", "x" * 201), ("language", "fr"), ("tax_id", 1)]
)
async def test_details_no_invoice_could_print(database: Conn, field: str, value: Any) -> None:
    wrong = BillingDetails(**{field: value})
    mine = new_id()
    with pytest.raises(BillingDetailsInvalid, match=field):
        await open_customer(database, mine, "CNY", details=wrong)
    assert await customers(database, [mine]) == {}


async def test_every_zone_that_python_offers_is_one_the_database_knows(database: Conn) -> None:
    names = sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})
    unknown = await database.fetch("SELECT name FROM unnest($1::text[]) AS name WHERE NOT billing.is_time_zone(name)", names)
    assert [row["name"] for row in unknown] == []
