"""A ledger with one customer, and what tests say to it: every verb in a transaction of its own."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from billing.errors import BillingError
from billing.kit.ids import derived_id, new_id
from billing.kit.query import Conn
from billing.ledger.capture import capture
from billing.ledger.hold import hold
from billing.ledger.model import Captured, CaptureRequest, Finding, Held, HoldRequest, Released, platform_account_id
from billing.ledger.release import release
from billing.ledger.verify import verify
from billing.ledger.wallets import open_wallet, top_up

REVENUE = platform_account_id("revenue:usage", "live", "CNY")


class Ledger:
    """A customer with a wallet of one account that holds a hundred."""

    def __init__(self, conn: Conn, customer: UUID, wallet: UUID) -> None:
        self.conn, self.customer, self.wallet = conn, customer, wallet

    async def hold(self, *requests: tuple[UUID, int], wallet: UUID | None = None) -> list[Held | BillingError]:
        async with self.conn.transaction():
            return await hold(self.conn, [HoldRequest(key, wallet or self.wallet, amount) for key, amount in requests])

    async def held(self, amount_micro: int) -> UUID:
        """A new hold that was accepted."""
        hold_id = new_id()
        assert await self.hold((hold_id, amount_micro)) == [Held(hold_id, amount_micro)]
        return hold_id

    async def capture(self, *requests: tuple[UUID, int]) -> list[Captured | BillingError]:
        async with self.conn.transaction():
            return await capture(self.conn, [CaptureRequest(key, 0, amount, payload={"ms": amount}) for key, amount in requests])

    async def release(self, *ids: UUID) -> list[Released | BillingError]:
        async with self.conn.transaction():
            return await release(self.conn, ids)

    async def top_up(self, amount_micro: int, source: str | None = None) -> UUID:
        async with self.conn.transaction():
            return await top_up(
                self.conn, source=source or str(new_id()), customer_id=self.customer, asset="CNY", amount_micro=amount_micro
            )

    async def add_account(self, name: str, posted: int) -> UUID:
        """A further account of the wallet, funded from clearing by plain SQL as a grant would be. Returns its id."""
        account, transfer = derived_id("account", self.wallet, name), derived_id("top_up", self.wallet, name)
        clearing = platform_account_id("asset:clearing", "live", "CNY")
        async with self.conn.transaction():
            await self.conn.execute(
                "INSERT INTO billing.account (id, path, book, asset, wallet_id) VALUES ($1, $2, 'live', 'CNY', $3)",
                account,
                f"wallet:{self.customer}:live:CNY:{name}",
                self.wallet,
            )
            await self.conn.execute(
                "INSERT INTO billing.grant (account_id, wallet_id, kind, source) VALUES ($1, $2, 'paid', 'plain')",
                account,
                self.wallet,
            )
            await self.conn.execute(
                "INSERT INTO billing.balance (account_id, wallet_id, posted) VALUES ($1, $2, $3)",
                account,
                self.wallet,
                posted,
            )
            if posted:
                await self.conn.execute(
                    "INSERT INTO billing.transfer (id, kind, subject_id, payload) VALUES ($1, 'top_up', $2, '{}')",
                    transfer,
                    self.customer,
                )
                await self.conn.execute(
                    "INSERT INTO billing.entry SELECT t.id, leg, (ARRAY[$2::uuid, $3])[leg + 1], 'CNY', sign * $4::bigint, created_at"
                    " FROM billing.transfer t, (VALUES (0, -1), (1, 1)) AS l (leg, sign) WHERE t.id = $1",
                    transfer,
                    clearing,
                    account,
                    posted,
                )
        return account

    async def accounts(self) -> dict[UUID, tuple[int, int]]:
        """(posted, held) of each account of the wallet, in draw order."""
        rows = await self.conn.fetch(
            "SELECT b.account_id, b.posted, b.held FROM billing.balance b JOIN billing.grant g ON g.account_id = b.account_id"
            " WHERE b.wallet_id = $1 ORDER BY g.created_at",
            self.wallet,
        )
        return {row["account_id"]: (row["posted"], row["held"]) for row in rows}

    async def balance(self) -> tuple[int, int]:
        """(posted, held) of the wallet."""
        parts = (await self.accounts()).values()
        return sum(posted for posted, _ in parts), sum(held for _, held in parts)

    async def draws(self, hold_id: UUID) -> list[tuple[UUID, int, int, str]]:
        rows = await self.conn.fetch(
            "SELECT account_id, amount, captured, state FROM billing.hold WHERE id = $1 ORDER BY seq", hold_id
        )
        return [(row["account_id"], row["amount"], row["captured"], row["state"]) for row in rows]

    async def revenue(self) -> int:
        return await self.conn.fetchval(
            "SELECT coalesce(sum(amount), 0)::bigint FROM billing.entry WHERE account_id = $1", REVENUE
        )

    async def findings(self) -> list[Finding]:
        async with self.conn.transaction(isolation="repeatable_read", readonly=True):
            return await verify(self.conn)


async def until_blocked(conn: Conn) -> None:
    """Returns once another connection of this database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while not await conn.fetchval(waiting):
            pass


async def open_ledger(conn: Conn, funds_micro: int = 100) -> Ledger:
    customer = new_id()
    async with conn.transaction():
        wallet = await open_wallet(conn, customer, "live", "CNY")
    ledger = Ledger(conn, customer, wallet)
    if funds_micro:
        await ledger.top_up(funds_micro)
    return ledger


def codes(outcomes: Sequence[object]) -> list[str]:
    """`ok` or the code of each refusal."""
    return [outcome.code if isinstance(outcome, BillingError) else "ok" for outcome in outcomes]
