"""Wallets: open one, put money in, look at it."""

from uuid import UUID

import msgspec

from billing.errors import TransferConflict
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.model import (
    TEST_FLOOR_MICRO,
    Book,
    StatementLine,
    WalletState,
    paid_account_id,
    platform_account_id,
    wallet_id,
)


async def open_wallet(conn: Conn, customer_id: UUID, book: Book, asset: str) -> UUID:
    """Opens the customer's wallet and the platform accounts of its book, where they do not exist yet. Returns its id."""
    wallet = wallet_id(customer_id, book, asset)
    account = paid_account_id(wallet)
    for name in ("asset:clearing", "revenue:usage"):
        await sql.ADD_ACCOUNT.run(conn, platform_account_id(name, book, asset), f"{name}:{book}:{asset}", book, asset, None)
    await sql.ADD_WALLET.run(conn, wallet, customer_id, book, asset)
    await sql.ADD_ACCOUNT.run(conn, account, f"wallet:{customer_id}:{book}:{asset}:paid", book, asset, wallet)
    await sql.ADD_BALANCE.run(conn, account, wallet, TEST_FLOOR_MICRO if book == "test" else 0)
    return wallet


async def top_up(conn: Conn, *, source: str, customer_id: UUID, asset: str, amount_micro: int) -> UUID:
    """Posts clearing → wallet once per `source` (a payment's own id). Returns the transfer id; a replay changes nothing.

    Raises TransferConflict when the source was booked for another customer or amount, ValueError for an amount ≤ 0.
    """
    if amount_micro <= 0:
        message = f"a top-up must be more than zero, not {amount_micro}"
        raise ValueError(message)
    account = paid_account_id(await open_wallet(conn, customer_id, "live", asset))
    transfer = derived_id("top_up", source)
    payload = msgspec.json.encode({"source": source, "asset": asset, "amount_micro": amount_micro})
    if await sql.ADD_TRANSFER.run(conn, transfer, "top_up", customer_id, payload) == 0:
        if await sql.SAME_TRANSFER.run(conn, transfer, "top_up", customer_id, payload) == 0:
            raise TransferConflict(f"top-up {source}")
        return transfer
    clearing = platform_account_id("asset:clearing", "live", asset)
    await sql.CREDIT_BALANCE.run(conn, account, amount_micro)
    await sql.POST_ENTRIES.run(conn, [transfer] * 2, [0, 1], [clearing, account], [asset] * 2, [-amount_micro, amount_micro])
    return transfer


async def wallets(conn: Conn, customer_id: UUID) -> list[WalletState]:
    return await sql.WALLETS.all(conn, customer_id)


async def lines_of(conn: Conn, subject_id: UUID) -> list[StatementLine]:
    """The entries a subject caused, in order: for a job, its charge."""
    return await sql.LINES_OF_SUBJECT.all(conn, subject_id)
