"""Connections with bounded waits. Everything that talks to PostgreSQL goes through a pool made here."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from billing.kit.query import Command, Conn, Pool, Query, Record

Result = TypeVar("Result")

APP_ROLE = "tallylight_app"
"""What the processes act as; made by the first migration. It cannot change history."""
BATCH_ROLE = "tallylight_batch"
"""What admission and polls act as: statements for many customers at once, with the rights that those take."""


class Acting(msgspec.Struct, frozen=True):
    """The role before, and the one from now on."""

    before: str
    now: str


ACT_FOR = Command("SELECT set_config('role', 'tallylight_tenant', true), set_config('tallylight.tenant', $1::uuid::text, true)")
"""For the rest of the transaction: the role of those who see one customer's rows only, and which customer that is."""
ACT_AS = Query(Acting, "SELECT current_setting('role') AS before, set_config('role', $1::text, true) AS now")

_TRIES = 3
_encode = msgspec.json.encode
_decode = msgspec.json.decode


async def prepare(conn: "asyncpg.Connection[Record]") -> None:
    """Makes jsonb values of a connection travel as encoded bytes both ways, as every statement of ours expects."""
    await conn.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + (value if isinstance(value, bytes) else _encode(value)),
        decoder=lambda value: value[1:],
        format="binary",
    )


@asynccontextmanager
async def tenant(
    pool: Pool, customer_id: UUID, *, isolation: Literal["repeatable_read"] | None = None, readonly: bool = False
) -> AsyncGenerator[Conn]:
    """A transaction that sees and changes what is this customer's and nothing else, whatever its statements ask for.

    Role and customer end with the transaction, however it ends: the connection goes back as it came.
    """
    async with pool.acquire(timeout=5) as conn, conn.transaction(isolation=isolation, readonly=readonly):
        await ACT_FOR.run(conn, customer_id)
        yield conn


@asynccontextmanager
async def as_platform(conn: Conn) -> AsyncGenerator[None]:
    """For the part of a tenant's transaction that moves money: it writes accounts that are nobody's.

    What it is given must have been found by the tenant before.
    """
    acting = await ACT_AS.one(conn, APP_ROLE)
    yield  # no `finally`: after an error the transaction can only be ended, and that ends the role as well
    await ACT_AS.one(conn, acting.before)


@asynccontextmanager
async def _platform(pool: Pool) -> AsyncGenerator[Conn]:
    async with pool.acquire(timeout=5) as conn, conn.transaction():
        yield conn


async def transact(pool: Pool, work: Callable[[Conn], Awaitable[Result]], *, of: UUID | None = None) -> Result:
    """Runs `work` in a transaction of its own, as the tenant `of` where one is given; three times at most, when PostgreSQL ends
    it for a conflict with another.

    Then nothing was written. Any other failure is raised at once: what became of that transaction is for the caller to find out.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            async with _platform(pool) if of is None else tenant(pool, of) as conn:
                return await work(conn)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            if attempt == _TRIES:
                raise
        await asyncio.sleep(random.uniform(0.5, 1.0) * 0.02 * 2**attempt)  # noqa: S311 – jitter, not a secret
    raise AssertionError("unreachable")


async def _keep(_: "asyncpg.Connection[Record]") -> None:
    """Asyncpg ends an open transaction itself. Nothing here listens, locks or sets anything for a session, so there is
    nothing more to undo, and a round trip for it would double the price of a small statement.
    """


async def open_pool(
    dsn: str,
    *,
    name: str,
    size_min: int = 2,
    size_max: int = 8,
    statement_timeout_ms: int = 5000,
    role: str = "",
    plans_once: bool = False,
) -> Pool:
    """A pool whose jsonb values travel as encoded bytes both ways: decode where the struct is known.

    Timeouts bound a statement, a lock wait and a transaction left idle, so that a lost client cannot keep a wallet locked.
    With `role` every connection acts as that role from its start on, such as `tallylight_app`, which cannot change history; what
    is reset between two uses does not reset it. With `plans_once` no statement is planned anew for the values it is given: where
    rows are found by id, planning costs more than running. Raises OSError or asyncpg errors when the server cannot be reached
    within 10 s.
    """
    pool = await asyncpg.create_pool(
        dsn,
        min_size=size_min,
        max_size=size_max,
        timeout=10,
        command_timeout=statement_timeout_ms / 1000 + 1,
        max_inactive_connection_lifetime=300,
        init=prepare,
        reset=_keep,
        server_settings={
            "application_name": name,
            "statement_timeout": str(statement_timeout_ms),
            "lock_timeout": str(statement_timeout_ms),
            "idle_in_transaction_session_timeout": str(statement_timeout_ms * 2),
            "timezone": "UTC",
            **({"role": role} if role else {}),
            **({"plan_cache_mode": "force_generic_plan"} if plans_once else {}),
        },
    )
    assert pool is not None
    return pool
