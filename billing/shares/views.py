"""Share a pool among creators by their views: counted, closed after the fraud window, corrected by what differs."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from billing.errors import PoolConflict, StatementRefused, UnknownPool
from billing.kit.apportion import apportion
from billing.kit.ids import derived_id
from billing.kit.money import SYMBOLS, format_micro
from billing.kit.query import Conn
from billing.shares import sql
from billing.shares.model import NETWORK, PROBLEMS_MAX, Problem, ViewPool
from billing.shares.payables import Because, Payables
from billing.shares.payees import payees_by_reference


async def open_pool(
    conn: Conn, name: str, starts_on: date, ends_on: date, *, currency: str, pool_micro: int, closes_at: datetime
) -> ViewPool:
    """Says what will be shared of a period, and from when on its counts are final enough to pay by; once.

    Raises PoolConflict for a pool that cannot be, or that was opened otherwise.
    """
    if not NETWORK.fullmatch(name) or currency not in SYMBOLS or pool_micro <= 0 or starts_on >= ends_on:
        raise PoolConflict(f"{name!r}: a pool has a name of small letters, digits and dashes, a currency, an amount and a period")
    await sql.ADD_POOL.run(
        conn, derived_id("view_pool", f"{name}/{starts_on}"), name, starts_on, ends_on, currency, pool_micro, closes_at
    )
    found = await _lock(conn, name, starts_on)
    if (found.ends_on, found.currency, found.pool_micro, found.closes_at) != (ends_on, currency, pool_micro, closes_at):
        raise PoolConflict(f"{name} of {starts_on} was opened with other terms")
    return found


async def count_views(
    conn: Conn, name: str, starts_on: date, views: Sequence[tuple[str, int]], total: int
) -> tuple[ViewPool, int]:
    """Takes the whole count in, of creators by reference; it replaces the one before. Returns the pool and the count's revision.

    Where the pool has been shared already, what differs is given and taken at once. Raises UnknownPool, and StatementRefused
    with every row that is wrong: then nothing is changed.
    """
    pool = await _lock(conn, name, starts_on)
    known = await payees_by_reference(conn, (reference for reference, _ in views))
    problems = [
        problem
        for number, (reference, count) in enumerate(views, start=1)
        if (problem := _problem(number, reference, count, pool, {one: found.currency for one, found in known.items()}))
    ]
    seen: dict[str, int] = {}
    for number, (reference, _) in enumerate(views, start=1):
        if (first := seen.setdefault(reference, number)) != number:
            problems.append(Problem(number, f"{reference} is row {first} again"))
    if (counted := sum(count for _, count in views)) != total:
        problems.append(Problem(0, f"the total says {total}, the rows come to {counted}"))
    if problems:
        raise StatementRefused(problems[:PROBLEMS_MAX])
    revision = (await sql.LAST_REVISION.one(conn, pool.id)).revision + 1
    ids, counts = [known[reference].id for reference, _ in views], [count for _, count in views]
    await sql.ADD_COUNTS.run(conn, pool.id, revision, ids, counts)
    if pool.closed_at is not None:
        await _share(conn, pool, revision)
    return pool, revision


async def close_due_pool(conn: Conn) -> int:
    """Shares the next pool whose fraud window is over and whose views were counted. Returns 1, or 0 where there is none."""
    pool = await sql.DUE_POOL.maybe(conn)
    if pool is None:
        return 0
    await sql.CLOSE_POOL.run(conn, pool.id)
    await _share(conn, pool, (await sql.LAST_REVISION.one(conn, pool.id)).revision)
    return 1


async def pools(conn: Conn) -> list[ViewPool]:
    return await sql.POOLS.all(conn)


async def _share(conn: Conn, pool: ViewPool, revision: int) -> None:
    """Moves what each creator should have by this count, less what it has had. No views, no shares."""
    counted = await sql.COUNTED.all(conn, pool.id, revision)
    total = sum(one.views for one in counted)
    due = apportion(pool.pool_micro, [one.views for one in counted]) if total else [0] * len(counted)
    payables = Payables(pool.currency)
    for one, due_micro in zip(counted, due, strict=True):
        basis = f"{one.views} of {total} views of {format_micro(pool.pool_micro, pool.currency)}, revision {revision}"
        why = Because(
            kind="pool_share",
            source=f"{pool.id}/{revision}",
            subject_id=pool.id,
            basis=basis,
            dimensions={"pool": pool.name},
            pool_id=pool.id,
            revision=revision,
        )
        payables.move(one.payee_id, due_micro - one.shared_micro, why)
    await payables.write(conn)


def _problem(number: int, reference: str, count: int, pool: ViewPool, currencies: Mapping[str, str]) -> Problem | None:
    if reference not in currencies:
        return Problem(number, f"there is no payee {reference}")
    if currencies[reference] != pool.currency:
        return Problem(number, f"{reference} is paid in {currencies[reference]}, the pool is in {pool.currency}")
    if count < 0:
        return Problem(number, "views are 0 or more")
    return None


async def _lock(conn: Conn, name: str, starts_on: date) -> ViewPool:
    found = await sql.LOCK_POOL.maybe(conn, name, starts_on)
    if found is None:
        raise UnknownPool(f"{name} of {starts_on}")
    return found
