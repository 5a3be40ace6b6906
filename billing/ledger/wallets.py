"""Wallets: open one, put money in, look at it."""

import re
from uuid import UUID

from billing.errors import UnknownAsset
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.model import (
    SECONDS,
    TEST_FLOOR,
    Book,
    StatementLine,
    WalletState,
    credit_account_id,
    paid_account_id,
    payable_account_id,
    platform_account_id,
    platform_path,
    wallet_id,
)
from billing.ledger.post import Posting, post_all, stored_amounts
from billing.ledger.rules import DRAWN

_CLASS_OF_SECONDS = re.compile(SECONDS + "[a-z0-9-]{1,40}")


async def open_wallet(conn: Conn, customer_id: UUID, book: Book, asset: str) -> UUID:
    """Opens the customer's wallet and what captures from it need, where they do not exist yet. Returns its id.

    A wallet of a currency has an account of its own for what is paid in; one of prepaid seconds has only grants.
    Raises UnknownAsset.
    """
    await open_asset(conn, book, asset)
    wallet = wallet_id(customer_id, book, asset)
    await sql.ADD_WALLET.run(conn, wallet, customer_id, book, asset)
    if not asset.startswith(SECONDS):
        floor = TEST_FLOOR if book == "test" else 0
        await _open_account(conn, paid_account_id(wallet), wallet, (customer_id, book, asset, "paid"), floor)
    return wallet


async def open_payable(conn: Conn, payee_id: UUID, asset: str) -> UUID:
    """Opens the account on which what we owe a payee stands, where it does not exist yet. Returns its id. Raises UnknownAsset."""
    if await sql.HAS_ASSET.maybe(conn, asset) is None:
        raise UnknownAsset(asset)
    wallet = wallet_id(payee_id, "live", asset)
    await sql.ADD_WALLET.run(conn, wallet, payee_id, "live", asset)
    await _open_account(conn, payable_account_id(wallet), wallet, (payee_id, "live", asset, "payable"), 0)
    return payable_account_id(wallet)


async def open_asset(conn: Conn, book: Book, asset: str) -> None:
    """Makes our accounts that captures in this asset credit. A class of seconds comes into being here. Raises UnknownAsset."""
    is_seconds = asset.startswith(SECONDS)
    if _CLASS_OF_SECONDS.fullmatch(asset):
        await sql.ADD_SECONDS.run(conn, asset)
    if await sql.HAS_ASSET.maybe(conn, asset) is None:
        raise UnknownAsset(asset)
    names = {drawn.to for drawn in DRAWN.values() if drawn.to.startswith("units:") == is_seconds}
    names |= set() if is_seconds else {drawn.earned for drawn in DRAWN.values() if drawn.earned}
    rows = sorted((platform_account_id(name, book, asset), platform_path(name, book, asset), asset, book) for name in names)
    await sql.ADD_PLATFORM_ACCOUNTS.run(conn, *[list(column) for column in zip(*rows, strict=True)])


async def _open_account(conn: Conn, account: UUID, wallet: UUID, name: tuple[UUID, Book, str, str], floor: int) -> None:
    """An account that is filled and emptied again and again."""
    customer_id, book, asset, kind = name
    await sql.ADD_ACCOUNT.run(conn, account, f"wallet:{customer_id}:{book}:{asset}:{kind}", book, asset, wallet)
    await sql.ADD_GRANT.run(conn, account, wallet, kind, 0, None, None, None, 0, None, kind)
    await sql.ADD_BALANCE.run(conn, account, wallet, floor)


async def top_up(conn: Conn, *, source: str, customer_id: UUID, asset: str, amount_micro: int) -> UUID:
    """Posts clearing → wallet once per `source` (a payment's own id). Returns the transfer id; a replay changes nothing.

    Raises TransferConflict when the source was booked for another customer or amount, ValueError for an amount ≤ 0.
    """
    if amount_micro <= 0:
        raise ValueError(f"a top-up must be more than zero, not {amount_micro}")
    account = paid_account_id(await open_wallet(conn, customer_id, "live", asset))
    posting = Posting(
        kind="top_up",
        source=source,
        subject_id=customer_id,
        book="live",
        asset=asset,
        amounts={"amount": amount_micro},
        accounts={"wallet": account},
        facts={"source": source},
    )
    (transfer,) = await post_all(conn, [posting])
    return transfer


async def set_credit_limit(conn: Conn, *, source: str, customer_id: UUID, book: Book, asset: str, limit_micro: int) -> UUID:
    """Lets a postpaid customer owe `limit_micro`, invoiced or not, from now on; once per `source`. Returns the credit account.

    A limit below what is owed already stops new holds and nothing else. Raises TransferConflict when the source has set
    another limit, ValueError for one below zero.
    """
    if limit_micro < 0:
        raise ValueError(f"a credit limit must not be below zero, it is {limit_micro}")
    wallet = await open_wallet(conn, customer_id, book, asset)
    account = credit_account_id(wallet)
    await _open_account(conn, account, wallet, (customer_id, book, asset, "credit"), 0)
    await sql.LOCK_ACCOUNTS.all(conn, [account])
    before = await sql.CREDIT_LIMIT.one(conn, account)
    transfer = derived_id("credit_limit", f"{account}/{source}")
    stored = await stored_amounts(conn, transfer)
    posting = Posting(
        kind="credit_limit",
        source=f"{account}/{source}",
        subject_id=account,
        book=book,
        asset=asset,
        amounts=stored or {"change": limit_micro - before.amount},
        accounts={"credit": account},
        facts={"limit": limit_micro, "source": source},
    )
    await post_all(conn, [posting])
    return account


async def wallets(conn: Conn, customer_id: UUID) -> list[WalletState]:
    return await sql.WALLETS.all(conn, customer_id)


async def lines_of(conn: Conn, subject_id: UUID) -> list[StatementLine]:
    """The entries a subject caused, in order: for a job, its charge."""
    return await sql.LINES_OF_SUBJECT.all(conn, subject_id)
