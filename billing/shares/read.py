"""What is read of shares: a payee's statement – what was owed before, every movement and why, what is owed now – and lists.

Lists are in pages, the newest first, from the one after `after` on.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from billing.errors import UnknownPool
from billing.kit.query import Conn
from billing.shares import sql
from billing.shares.model import Accrual, Agreement, Payee, TakenIn, ViewPool
from billing.shares.payables import account_of
from billing.shares.payees import agreement_of, payee
from billing.shares.sql import Line


class PayeeStatement(msgspec.Struct, frozen=True):
    """`opening_micro` + the lines = `closing_micro`."""

    payee: Payee
    start: datetime
    end: datetime
    opening_micro: int
    closing_micro: int
    lines: list[Line]


async def payee_statement(conn: Conn, reference: str, start: datetime, end: datetime) -> PayeeStatement:
    """What moved in `[start, end)`. Run it in a REPEATABLE READ transaction. Raises UnknownPayee."""
    found = await payee(conn, reference)
    account = account_of(found.id, found.currency)
    opening = (await sql.BALANCE_BEFORE.one(conn, account, start)).amount_micro
    lines = await sql.LINES.all(conn, account, start, end)
    return PayeeStatement(found, start, end, opening, opening + sum(line.amount_micro for line in lines), lines)


async def owed(conn: Conn, payees: Sequence[Payee]) -> dict[UUID, int]:
    """What is owed to each now; below zero where more was taken back than it had left."""
    return {one.payee_id: one.posted for one in await sql.OWED.all(conn, [payee.id for payee in payees])}


async def accruals(conn: Conn, payee_id: UUID, *, after: UUID | None, limit: int) -> list[Accrual]:
    """What the payee got or gave back, and how that came about."""
    return await sql.ACCRUALS.all(conn, payee_id, after, limit)


async def agreement_page(conn: Conn, subject: str | None, *, after: UUID | None, limit: int) -> list[Agreement]:
    return [agreement_of(row) for row in await sql.AGREEMENT_PAGE.all(conn, subject, after, limit)]


async def statement_page(conn: Conn, *, after: UUID | None, limit: int) -> list[TakenIn]:
    return await sql.STATEMENT_PAGE.all(conn, after, limit)


async def pool_page(conn: Conn, *, after: UUID | None, limit: int) -> list[ViewPool]:
    return await sql.POOL_PAGE.all(conn, after, limit)


async def pool_by_id(conn: Conn, pool_id: UUID) -> ViewPool:
    """Raises UnknownPool."""
    found = await sql.POOL.maybe(conn, pool_id)
    if found is None:
        raise UnknownPool(str(pool_id))
    return found
