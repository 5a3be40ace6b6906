"""Grants: open one with what it holds, move what is left of one on, end those whose time is over."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from billing.errors import InsufficientFunds, UnknownAccount
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.model import SECONDS, Balance, Book, grant_account_id
from billing.ledger.post import Posting, post_all, stored_amounts
from billing.ledger.rules import RULES
from billing.ledger.wallets import open_asset, open_wallet


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A grant of `amount`, made by the event `kind` (a rule that opens one), once per `source`.

    Prepaid seconds that are sold name the `currency`, the price without tax that is deferred (`basis_micro`), the tax, and in
    `accounts` which {wallet} or {credit} account pays where it is not a payment.
    """

    kind: str
    source: str
    customer_id: UUID
    asset: str
    amount: int
    book: Book = "live"
    priority: int = 0
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    currency: str = ""
    basis_micro: int = 0
    tax_micro: int = 0
    accounts: Mapping[str, UUID] = {}


async def issue(conn: Conn, issues: Sequence[Issue]) -> list[UUID]:
    """Opens each grant and posts its event, in the caller's transaction. Returns the grants' accounts; a replay changes nothing.

    Raises TransferConflict for a source used with other terms, InsufficientFunds where the paying account does not cover it,
    UnknownAsset, UnknownAccount, and ValueError for terms that make no sense; then the transaction must not be committed.
    """
    accounts = [await _open(conn, one) for one in issues]
    await post_all(conn, [_posting(one, account) for one, account in zip(issues, accounts, strict=True)])
    return accounts


async def _open(conn: Conn, one: Issue) -> UUID:
    rule = RULES.get(one.kind)
    if rule is None or not rule.opens:
        raise ValueError(f"{one.kind!r} opens no grant")
    if one.amount <= 0:
        raise ValueError(f"a grant must be of more than nothing, not {one.amount}")
    if one.asset.startswith(SECONDS) != (rule.opens in ("pack", "subscription", "allowance")):
        raise ValueError(f"{one.kind} cannot be of {one.asset}")
    wallet = await open_wallet(conn, one.customer_id, one.book, one.asset)
    account = grant_account_id(wallet, rule.opens, one.source)
    path = f"wallet:{one.customer_id}:{one.book}:{one.asset}:{rule.opens}:{account}"
    currency = None
    if rule.opens in ("pack", "subscription"):
        currency = one.currency
        await open_asset(conn, one.book, currency)
    await sql.ADD_ACCOUNT.run(conn, account, path, one.book, one.asset, wallet)
    await sql.ADD_GRANT.run(
        conn, account, wallet, rule.opens, one.priority, one.starts_at, one.expires_at, one.amount, one.basis_micro, currency,
        one.source,
    )  # fmt: skip
    await sql.ADD_BALANCE.run(conn, account, wallet, 0)
    return account


def _posting(one: Issue, account: UUID) -> Posting:
    amounts = {
        "amount": one.amount,
        "basis": one.basis_micro,
        "tax": one.tax_micro,
        "total": one.basis_micro + one.tax_micro,
    }
    is_seconds = one.asset.startswith(SECONDS)
    return Posting(
        kind=one.kind,
        source=f"{account}/{one.source}",
        subject_id=one.customer_id,
        book=one.book,
        asset=one.currency if is_seconds else one.asset,
        units=one.asset if is_seconds else "",
        amounts={leg.amount: amounts[leg.amount] for leg in RULES[one.kind].legs},
        accounts={"grant": account, **one.accounts},
        dimensions={"customer": str(one.customer_id)},
        facts={
            "source": one.source,
            "priority": one.priority,
            "starts_at": one.starts_at and one.starts_at.isoformat(),
            "expires_at": one.expires_at and one.expires_at.isoformat(),
        },
    )


async def roll_over(conn: Conn, account_id: UUID, into: Issue) -> UUID:
    """Moves `into.amount` seconds of a subscription's grant, and the price deferred for them, to a new grant. Returns it.

    `into` has the kind `rollover`; its basis follows from the old grant. Rolling over again is a replay. Raises
    InsufficientFunds for more than is left and not held, UnknownAccount, and what `issue` raises.
    """
    balance = await lock_grant(conn, account_id)
    wallet = await open_wallet(conn, into.customer_id, into.book, into.asset)
    account = grant_account_id(wallet, RULES["rollover"].opens, into.source)
    terms = msgspec.structs.replace(into, currency=balance.basis_asset or "", accounts={"from": account_id})
    stored = await stored_amounts(conn, _posting(terms, account).id)
    if stored is None and into.amount > balance.free:
        raise InsufficientFunds(f"roll-over of {into.amount} from {account_id}")
    basis_micro = stored["basis"] if stored else earned_micro(balance, into.amount)
    await issue(conn, [msgspec.structs.replace(terms, basis_micro=basis_micro)])
    return account


async def expire(conn: Conn, limit: int = 500) -> list[UUID]:
    """Takes what is left, and not held, out of at most `limit` grants whose time is over. Returns their accounts.

    A live hold keeps its part; when it ends, another call finds what it left. Safe to run twice and on two machines.
    """
    over = {one.account_id: one for one in await sql.LIST_EXPIRED.all(conn, limit)}
    postings: list[Posting] = []
    for balance in await sql.LOCK_ACCOUNTS.all(conn, list(over)):
        one, left = over[balance.account_id], balance.posted - balance.held
        if left <= 0:  # somebody else was here before we had the lock
            continue
        rule = RULES[f"expire_{balance.kind}"]
        amounts = {"amount": left, "earned": earned_micro(balance, left)}
        is_seconds = one.asset.startswith(SECONDS)
        postings.append(
            Posting(
                kind=f"expire_{balance.kind}",
                source=f"{balance.account_id}/{balance.posted}",
                subject_id=one.customer_id,
                book=one.book,
                asset=balance.basis_asset or "" if is_seconds else one.asset,
                units=one.asset if is_seconds else "",
                amounts={leg.amount: amounts[leg.amount] for leg in rule.legs},
                accounts={"grant": balance.account_id},
            )
        )
    await post_all(conn, postings)
    return [posting.accounts["grant"] for posting in postings]


async def lock_grant(conn: Conn, account_id: UUID) -> Balance:
    """Raises UnknownAccount."""
    found = await lock_grants(conn, {account_id})
    if not found:
        raise UnknownAccount(str(account_id))
    return found[0]


async def lock_grants(conn: Conn, account_ids: set[UUID]) -> list[Balance]:
    """Those there are, in the order of their ids."""
    return await sql.LOCK_ACCOUNTS.all(conn, list(account_ids))


def earned_micro(balance: Balance, amount: int) -> int:
    """What of the deferred price goes with the next `amount` units of a grant."""
    return balance.recognised_micro(balance.posted - amount) - balance.recognised_micro(balance.posted)
