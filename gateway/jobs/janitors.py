"""What the clerk does about jobs: each janitor is idempotent, bounded, and safe to run twice at once."""

from collections.abc import Sequence

from billing.kit.query import Conn
from gateway.jobs import sql
from gateway.jobs.cancel import release_holds
from gateway.jobs.model import JobRef, Lost

_ROWS_MAX = 500


async def rescue_lost_leases(conn: Conn, *, attempts_max: int) -> list[Lost]:
    """Jobs whose owner stopped beating go back to the queue, or end after `attempts_max` attempts. Returns them."""
    lost = await sql.RESCUE.all(conn, attempts_max, _ROWS_MAX)
    await release_holds(conn, [JobRef(row.org_id, row.id) for row in lost if row.state != "queued"])
    return lost


async def expire_queued(conn: Conn) -> int:
    """Jobs not started before their deadline end uncharged. Returns how many."""
    changed = await sql.EXPIRE.all(conn, _ROWS_MAX)
    await release_holds(conn, [JobRef(row.org_id, row.id) for row in changed])
    return len(changed)


async def expired_assets(conn: Conn) -> list[JobRef]:
    """Jobs whose files are due for removal."""
    return await sql.EXPIRED_ASSETS.all(conn, _ROWS_MAX)


async def forget_assets(conn: Conn, job: JobRef) -> None:
    """Notes that the job's files are gone."""
    await sql.FORGET_ASSETS.run(conn, job.org_id, job.id)


async def forget_prompts(conn: Conn) -> int:
    """What was asked for, of jobs that ended longer ago than their project keeps it. Returns how many were forgotten."""
    return await sql.FORGET_PROMPTS.run(conn, _ROWS_MAX)


async def without_jobs(conn: Conn, requests: Sequence[JobRef]) -> list[JobRef]:
    """Those that never became a job."""
    known = await sql.CREATED.all(conn, [one.org_id for one in requests], [one.id for one in requests])
    ids = {row.id for row in known}
    return [one for one in requests if one.id not in ids]


async def forget_answers(conn: Conn) -> int:
    """Idempotency records older than 48 hours; the jobs and charges they led to stay. Returns how many."""
    return await sql.FORGET_ANSWERS.run(conn, 10 * _ROWS_MAX)


async def count_live(conn: Conn) -> dict[str, int]:
    """How many jobs wait and run, by state."""
    counted = {row.state: row.n for row in await sql.LIVE.all(conn)}
    return {state: counted.get(state, 0) for state in ("queued", "running", "cancelling")}
