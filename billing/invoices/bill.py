"""Bill: remember which line of a document charges which jobs, so that what it charges is given back once."""

from datetime import datetime
from uuid import UUID

from billing.invoices import sql
from billing.invoices.model import Invoice
from billing.invoices.sql import Used
from billing.kit.query import Conn
from billing.plans.model import MINOR


async def bill(conn: Conn, invoice: Invoice, used: list[Used], asked: tuple[UUID, datetime, list[datetime], str | None]) -> None:
    """`used` are the document's first lines, in order, as they were asked for with `asked`, whose account is still locked.

    Where a line was rounded up, so much more of it may be credited.
    """
    if not used:
        return
    numbers = list(range(1, len(used) + 1))
    keys = [(line.bucket, line.model, line.resolution, line.tier, line.unit, line.price_micro) for line in used]
    rounded = [line.amount_minor * MINOR - line.amount_micro for line in invoice.lines] if invoice.kind == "invoice" else []
    up = [max(one, 0) for one in rounded[: len(used)]] or [0] * len(used)
    charged = [line.charged_micro + one for line, one in zip(used, up, strict=True)]
    await sql.ADD_LINES.run(conn, invoice.id, numbers, charged, [line.refunded_micro for line in used])
    await sql.BILL.run(conn, *asked, invoice.id, numbers, *[list(column) for column in zip(*keys, strict=True)])
