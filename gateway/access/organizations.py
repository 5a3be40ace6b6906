"""Open an organization with its wallets and first project."""

from uuid import UUID

import asyncpg

from billing.customers.model import TIME_ZONE_DEFAULT
from billing.customers.register import open_customer
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.wallets import open_wallet
from gateway.access import sql
from gateway.access.model import PROMPT_DAYS, Organization, OrganizationSettings
from gateway.errors import Conflict, InvalidRequest, NotFound


async def open_organization(conn: Conn, name: str, currency: str, time_zone: str | None = None) -> Organization:
    """Creates the organization, its customer, its wallets and a project named `default`; an existing one is returned.

    Raises InvalidRequest when it exists in another currency, BillingError for a time zone that is unknown or not the customer's.
    """
    created = await sql.ADD_ORGANIZATION.run(conn, new_id(), name, currency)
    found = await sql.ORGANIZATION.one(conn, name)
    if found.currency != currency:
        raise InvalidRequest(f"organization {name!r} exists and is billed in {found.currency}", param="currency")
    if created or time_zone is not None:
        await open_customer(conn, found.id, currency, time_zone or TIME_ZONE_DEFAULT)
    await open_wallet(conn, found.id, "live", currency)
    await open_wallet(conn, found.id, "test", currency)
    await sql.ADD_PROJECT.run(conn, found.id, new_id(), "default", PROMPT_DAYS)
    return found


async def list_organizations(conn: Conn) -> list[Organization]:
    return await sql.ORGANIZATIONS.all(conn)


async def find_organization(conn: Conn, name: str) -> Organization:
    """Raises NotFound naming the organizations there are."""
    found = await sql.ORGANIZATION.maybe(conn, name)
    if found is None:
        known = ", ".join(organization.name for organization in await list_organizations(conn)) or "none"
        raise NotFound(f"there is no organization {name!r}; there are: {known}")
    return found


async def read_organization(conn: Conn, org_id: UUID, *, lock: bool = False) -> OrganizationSettings:
    """`lock` keeps others from changing it until the transaction ends."""
    return await (sql.LOCKED_SETTINGS if lock else sql.SETTINGS).one(conn, org_id)


async def rename_organization(conn: Conn, org_id: UUID, name: str) -> OrganizationSettings:
    """Raises Conflict where another organization has the name; the transaction is then of no further use."""
    try:
        await sql.RENAME_ORGANIZATION.run(conn, org_id, name)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"the name {name!r} is taken; choose another", param="name") from error
    return await read_organization(conn, org_id)
