"""Each rule finds exactly the damage it is for, and nothing is found where nothing is wrong."""

import pytest

from billing.kit.ids import new_id
from billing.ledger.capture import capture
from billing.ledger.hold import hold
from billing.ledger.model import CaptureRequest, HoldRequest, wallet_id
from billing.ledger.release import release
from gateway.jobs.cancel import cancel
from gateway.jobs.janitors import expire_queued, rescue_lost_leases
from gateway.jobs.settle import settle
from tests.jobs.shop import RATE_MICRO, Shop


async def every_state(shop: Shop) -> None:
    """Jobs in all seven states, some after several attempts, one that was charged nothing."""
    await settle(shop.conn, [shop.delivered(await shop.running(), duration_ms=4321)])
    await settle(shop.conn, [shop.delivered(await shop.running(rate_micro=0))])
    await settle(shop.conn, [shop.delivered(await shop.running(), duration_ms=60_000)])
    retried = await shop.running()
    await shop.give_up(retried)
    (again,) = await shop.lease()
    await shop.give_up(again, final=True)
    await cancel(shop.conn, shop.org_id, await shop.enqueue())
    await shop.enqueue(deadline_s=-1)
    await expire_queued(shop.conn)
    lost = await shop.running(ttl_s=-1)
    await rescue_lost_leases(shop.conn, attempts_max=3)
    (found,) = await shop.lease()
    assert found.id == lost.id
    await cancel(shop.conn, shop.org_id, (await shop.running()).id)
    await shop.enqueue()
    states = {row["state"] for row in await shop.conn.fetch("SELECT DISTINCT state FROM gateway.job")}
    assert states == {"queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"}


async def rules(shop: Shop) -> set[str]:
    return {finding.rule for finding in await shop.findings()}


async def test_nothing_is_found_where_nothing_is_wrong(shop: Shop) -> None:
    assert await shop.findings() == []
    await every_state(shop)
    assert await shop.findings() == []


JOB = "UPDATE gateway.job SET "
SUCCEEDED = " WHERE id = (SELECT id FROM gateway.job WHERE state = 'succeeded' AND delivered_ms = 4321)"
QUEUED = " WHERE id = (SELECT id FROM gateway.job WHERE state = 'queued')"
RUNNING = "(SELECT id FROM gateway.job WHERE state = 'running')"
PLANTED = {
    "the hold is of another amount": ("job_has_its_hold", JOB + "hold_micro = hold_micro + 1" + QUEUED),
    "the hold is gone": ("job_has_its_hold", "DELETE FROM billing.hold WHERE id = " + RUNNING),
    "the job is gone": (
        "hold_has_one_job",
        "WITH gone AS (DELETE FROM gateway.job" + QUEUED + " RETURNING id)"
        " DELETE FROM gateway.job_event WHERE job_id = (SELECT id FROM gone)",
    ),
    "the charge is not the capture": ("charged_is_captured", JOB + "charged_micro = 1" + SUCCEEDED),
    "the charge is not the measure": ("charged_what_was_delivered", JOB + "delivered_ms = delivered_ms + 1" + SUCCEEDED),
    "the measure passes the hold": ("charged_what_was_delivered", JOB + "delivered_ms = 4999 WHERE delivered_ms = 60000"),
    "the record is gone": (
        "job_has_its_usage_record",
        "ALTER TABLE billing.usage DISABLE TRIGGER ALL; SET LOCAL session_replication_role = replica;"
        " DELETE FROM billing.usage WHERE delivered_ms = 4321",
    ),
    "a line of the log is missing": (
        "log_is_gapless_and_ends_in_the_state",
        "DELETE FROM gateway.job_event WHERE seq = 2 AND job_id = (SELECT id FROM gateway.job" + SUCCEEDED + ")",
    ),
    "the log is gone": ("log_is_gapless_and_ends_in_the_state", "DELETE FROM gateway.job_event WHERE job_id = " + RUNNING),
    "the log starts late": (
        "log_is_gapless_and_ends_in_the_state",
        "UPDATE gateway.job_event SET seq = seq - 1 WHERE job_id = " + RUNNING + " AND seq < 3",
    ),
    "the log goes on": (
        "log_is_gapless_and_ends_in_the_state",
        "INSERT INTO gateway.job_event (org_id, job_id, seq, kind) SELECT org_id, id, event_seq + 1, state FROM gateway.job"
        + QUEUED,
    ),
    "the log ends in another state": (
        "log_is_gapless_and_ends_in_the_state",
        "UPDATE gateway.job_event SET kind = 'running' WHERE job_id IN (SELECT id FROM gateway.job" + QUEUED + ")",
    ),
    "an attempt is missing": ("attempts_are_numbered", "DELETE FROM gateway.attempt WHERE attempt = 1 AND job_id = " + RUNNING),
    "an attempt too many": ("attempts_are_numbered", "UPDATE gateway.attempt SET attempt = 3 WHERE attempt = 2"),
    "an attempt before the first": ("attempts_are_numbered", JOB + "attempt = 0" + SUCCEEDED),
    "an event of no job": (
        "log_has_its_job",
        "INSERT INTO gateway.job_event (org_id, job_id, seq, kind) SELECT gen_random_uuid(), gen_random_uuid(), 1, 'queued'",
    ),
    "an attempt of no job": (
        "attempt_has_its_job",
        "INSERT INTO gateway.attempt (org_id, job_id, attempt, replica, owner, accelerator) VALUES (gen_random_uuid(), gen_random_uuid(), 1, 'r', gen_random_uuid(), 'h100')",
    ),
}


ALSO = {
    "the hold is gone": ["held_equals_open_holds"],
    "the charge is not the capture": ["charged_what_was_delivered", "job_has_its_usage_record"],
    "the charge is not the measure": ["job_has_its_usage_record"],
    "the measure passes the hold": ["job_has_its_usage_record"],
    "an attempt before the first": ["job_has_its_usage_record"],
}
"""What else the same damage breaks."""


@pytest.mark.parametrize("planted", PLANTED)
async def test_each_damage_is_found_by_its_rule(damaged: Shop, planted: str) -> None:
    await every_state(damaged)
    rule, damage = PLANTED[planted]
    await damaged.conn.execute(damage)
    assert await rules(damaged) == {rule, *ALSO.get(planted, ())}


async def test_a_hold_that_ended_alone_is_found(damaged: Shop) -> None:
    ended = await damaged.enqueue()
    await release(damaged.conn, [ended])
    assert await rules(damaged) == {"job_and_hold_end_together"}


async def test_a_charge_without_a_result_is_found(damaged: Shop) -> None:
    job_id = await damaged.enqueue()
    await capture(damaged.conn, [CaptureRequest(job_id, 0, 1)])
    assert await rules(damaged) == {"job_and_hold_end_together", "charged_is_captured"}


async def test_a_result_without_a_charge_is_found(damaged: Shop) -> None:
    """Succeeded for nothing while the hold was given back: both amounts are zero, only the states differ."""
    held = await damaged.running(rate_micro=0)
    await settle(damaged.conn, [damaged.delivered(held)])
    assert await rules(damaged) == set()
    await damaged.conn.execute("UPDATE billing.hold SET state = 'released'")
    assert "job_and_hold_end_together" in await rules(damaged)


async def test_an_end_that_kept_its_hold_is_found(damaged: Shop) -> None:
    await damaged.enqueue()
    await damaged.conn.execute("UPDATE gateway.job SET state = 'expired', finished_at = clock_timestamp(), error_code = 'x'")
    await damaged.conn.execute("UPDATE gateway.job_event SET kind = 'expired'")
    assert await rules(damaged) == {"job_and_hold_end_together"}


async def test_a_hold_nobody_asked_for_is_found(damaged: Shop) -> None:
    await hold(damaged.conn, [HoldRequest(new_id(), wallet_id(damaged.org_id, "live", "CNY"), RATE_MICRO)])
    assert await rules(damaged) == {"hold_has_one_job"}


async def test_a_job_id_used_twice_is_found(damaged: Shop) -> None:
    """The key of a job is (organization, id), the key of a hold only the id."""
    await damaged.enqueue()
    await damaged.conn.execute(
        "CREATE TEMPORARY TABLE twin AS SELECT * FROM gateway.job; UPDATE twin SET org_id = gen_random_uuid();"
        "DO $$ BEGIN EXECUTE (SELECT format('INSERT INTO gateway.job (%1$s) SELECT %1$s FROM twin', string_agg(column_name, ', '))"
        " FROM information_schema.columns WHERE (table_schema, table_name, is_generated) = ('gateway', 'job', 'NEVER')); END $$;"
        "INSERT INTO gateway.job_event (org_id, job_id, seq, kind) SELECT org_id, id, 1, 'queued' FROM twin"
    )
    assert await rules(damaged) == {"hold_has_one_job"}
