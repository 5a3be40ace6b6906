"""What transfers recognised as revenue."""

from collections.abc import Collection
from uuid import UUID

from billing.charges import sql
from billing.kit.query import Conn
from billing.ledger.model import Book, platform_account_id
from billing.ledger.rules import SUBSCRIPTION, USAGE


def revenue_accounts(book: Book, currency: str) -> tuple[UUID, UUID]:
    """Where a capture books what was earned."""
    return platform_account_id(USAGE, book, currency), platform_account_id(SUBSCRIPTION, book, currency)


async def recognised(conn: Conn, transfer_ids: Collection[UUID], accounts: Collection[UUID]) -> dict[UUID, int]:
    """The revenue of each of these transfers that has any, below zero where it was given back."""
    if not transfer_ids:
        return {}
    return {row.transfer_id: row.amount_micro for row in await sql.REVENUE.all(conn, list(transfer_ids), list(accounts))}
