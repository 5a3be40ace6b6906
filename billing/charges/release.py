"""Release: give a job's hold back; what its attempts cost is recorded all the same."""

from collections.abc import Sequence

import msgspec

from billing.charges.accrue import accrue
from billing.charges.model import Ended, series_of, usage_of
from billing.charges.record import record
from billing.errors import BillingError
from billing.kit.query import Conn
from billing.ledger import release as ledger
from billing.ledger.hold import lock_holds
from billing.ledger.model import Released


async def release(conn: Conn, jobs: Sequence[Ended]) -> list[Released | BillingError]:
    """Frees each hold whole, in the caller's transaction. Returns one outcome each; releasing again is a replay.

    A hold that was captured or never made is HoldNotOpen and stays as it is.
    """
    holds = await lock_holds(conn, [job.id for job in jobs])
    fresh = {job.id: job for job in jobs if job.id in holds and holds[job.id].state == "held"}
    outcomes = await ledger.release(conn, [job.id for job in jobs])
    await accrue(conn, list(fresh.values()))
    await record(
        conn,
        [
            msgspec.structs.replace(
                usage_of(job.id, series_of(job, job.facts, job.outcome), job.facts),
                requested_ms=job.requested if job.terms.unit == "ms" else 0,
            )
            for job in fresh.values()
            if job.facts is not None and job.facts.attempts
        ],
    )
    return outcomes
