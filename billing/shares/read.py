"""The statement of a payee: what was owed before, every movement and why, what is owed now."""

from datetime import datetime

import msgspec

from billing.kit.query import Conn
from billing.shares import sql
from billing.shares.model import Payee
from billing.shares.payables import account_of
from billing.shares.payees import payee
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
