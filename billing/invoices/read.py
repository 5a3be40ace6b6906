"""Read invoices and credit notes."""

from uuid import UUID

import msgspec

from billing.errors import UnknownInvoice
from billing.invoices import sql
from billing.invoices.model import Invoice, JobOfLine
from billing.kit.query import Conn

_invoice = msgspec.json.Decoder(Invoice)


async def invoices(conn: Conn, customer_id: UUID, *, after: UUID | None = None, limit: int = 20) -> list[Invoice]:
    """The customer's, the newest first, from the one after `after` on."""
    return [_invoice.decode(row.document) for row in await sql.INVOICES.all(conn, customer_id, after, limit)]


async def find_invoice(conn: Conn, customer_id: UUID, invoice_id: UUID) -> Invoice:
    """Raises UnknownInvoice."""
    row = await sql.INVOICE.maybe(conn, invoice_id, customer_id)
    if row is None:
        raise UnknownInvoice(str(invoice_id))
    return _invoice.decode(row.document)


async def jobs_of(conn: Conn, customer_id: UUID, invoice_id: UUID) -> list[JobOfLine]:
    """The jobs that a document charges, by its lines, the oldest first. Raises UnknownInvoice."""
    await find_invoice(conn, customer_id, invoice_id)
    return await sql.JOBS_OF_INVOICE.all(conn, invoice_id)
