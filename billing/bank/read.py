"""Read what was settled by hand, and what suppliers have billed."""

from uuid import UUID

from billing.bank import sql
from billing.bank.model import Settlement, SupplierBill
from billing.kit.query import Conn


async def settlements(conn: Conn, customer_id: UUID, *, limit: int = 1000) -> list[Settlement]:
    """The customer's, the newest first."""
    return await sql.SETTLEMENTS.all(conn, customer_id, limit)


async def supplier_bills(conn: Conn, *, limit: int = 1000) -> list[SupplierBill]:
    """The latest month first, then by pool, in the order they were booked in."""
    return await sql.BILLS.all(conn, limit)
