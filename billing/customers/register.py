"""The register of customers: open one, read them, correct what invoices say of one."""

import functools
import zoneinfo
from collections.abc import Collection
from uuid import UUID

import msgspec

from billing.customers import sql
from billing.customers.model import TIME_ZONE_DEFAULT, BillingDetails, Customer
from billing.errors import CustomerConflict, UnknownAsset, UnknownCustomer, UnknownTimeZone
from billing.kit.money import SYMBOLS
from billing.kit.query import Conn

NO_DETAILS = BillingDetails()


async def open_customer(
    conn: Conn,
    customer_id: UUID,
    currency: str,
    time_zone: str = TIME_ZONE_DEFAULT,
    details: BillingDetails = NO_DETAILS,
) -> Customer:
    """Opens the customer, or returns it as it is where it exists; its details are then left alone.

    Raises UnknownAsset, UnknownTimeZone, BillingDetailsInvalid, or CustomerConflict where it exists with another currency
    or time zone.
    """
    if currency not in SYMBOLS:
        raise UnknownAsset(repr(currency))
    if time_zone not in _time_zones() or not (await sql.IS_TIME_ZONE.one(conn, time_zone)).known:
        raise UnknownTimeZone(repr(time_zone))
    await sql.ADD_CUSTOMER.run(conn, customer_id, currency, time_zone, *msgspec.structs.astuple(details.checked()))
    found = await customer(conn, customer_id)
    if (found.currency, found.time_zone) != (currency, time_zone):
        raise CustomerConflict(f"{customer_id} is billed in {found.currency} on the clock of {found.time_zone}")
    return found


async def customer(conn: Conn, customer_id: UUID) -> Customer:
    """Raises UnknownCustomer."""
    found = await customers(conn, [customer_id])
    if customer_id not in found:
        raise UnknownCustomer(str(customer_id))
    return found[customer_id]


async def customers(conn: Conn, customer_ids: Collection[UUID]) -> dict[UUID, Customer]:
    """Those that exist, by id."""
    return {row.id: row for row in await sql.CUSTOMERS.all(conn, customer_ids)}


async def update_billing_details(conn: Conn, customer_id: UUID, details: BillingDetails) -> Customer:
    """Replaces all details; invoices that were issued keep theirs. Raises UnknownCustomer, BillingDetailsInvalid."""
    updated = await sql.UPDATE_DETAILS.maybe(conn, customer_id, *msgspec.structs.astuple(details.checked()))
    if updated is None:
        raise UnknownCustomer(str(customer_id))
    return updated


@functools.cache
def _time_zones() -> set[str]:
    """The names that Python knows; the database must know them too, because it cuts months by them."""
    return zoneinfo.available_timezones()
