"""How often somebody may try: counted in rows, so exactly, however many processes are asked at once."""

from collections.abc import Mapping

from billing.kit.query import Conn
from gateway.errors import SignInPaused
from gateway.people import sql
from gateway.people.model import FORGIVEN_S, pause_s


async def claim_attempt(conn: Conn, free: Mapping[bytes, int]) -> None:
    """Counts an attempt about each of these subjects as a failure, before it is known to be one: many at once are many.

    `free` says how many cost no wait. Raises SignInPaused, with nothing counted, where one of them must wait; the caller's
    transaction is committed before anything is compared.
    """
    subjects = sorted(free)
    await sql.OPEN_PACE.run(conn, subjects)
    rows = await sql.PACE.all(conn, subjects, FORGIVEN_S)
    wait_s = max(row.wait_s for row in rows)
    if wait_s > 0:
        raise SignInPaused(retry_after_s=int(wait_s) + 1)
    failures = [row.failures + 1 for row in rows]
    pauses = [pause_s(count, free[row.subject]) for row, count in zip(rows, failures, strict=True)]
    await sql.NOTE_FAILURES.run(conn, [row.subject for row in rows], failures, pauses)


async def forgive(conn: Conn, subject: bytes) -> None:
    """After a success: it starts anew."""
    await sql.FORGIVE_ALL.run(conn, subject)


async def forgive_one(conn: Conn, network: bytes) -> None:
    """After a success: a network, where others may be at work, is freed of this attempt only."""
    await sql.FORGIVE_ONE.run(conn, network)
