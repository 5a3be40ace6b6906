"""The courier against receivers that are well, slow, hostile or dead; and against its own death."""

import asyncio
import os
import sys
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from billing.kit.query import Pool
from gateway.webhooks.deliveries import find_delivery, forget_deliveries, resend, tries_of
from gateway.webhooks.endpoints import change_endpoint
from gateway.webhooks.model import DISABLED_AFTER_S, Endpoint, Try, pause_s
from tests.jobs.shop import Shop
from tests.webhooks.conftest import SECRETS, Office
from tests.webhooks.receiver import Received, inbox, saying

DELIVERED = ("job.queued", "delivered", 1)
WAITS = ("job.queued", "waiting", 1)


def verified(endpoint: Endpoint, received: Received) -> dict[str, Any]:
    return Webhook(SECRETS.of(endpoint.org_id, endpoint.id, endpoint.generation)).verify(received.body, received.headers)


async def tries(office: Office) -> list[Try]:
    """Of the only delivery."""
    async with office.pool.acquire() as conn:
        row = await conn.fetchrow("SELECT org_id, id FROM gateway.webhook_delivery")
        assert row is not None
        return await tries_of(conn, await find_delivery(conn, row["org_id"], row["id"]))


async def test_a_job_is_told_signed_and_as_it_was(office: Office, shop: Shop) -> None:
    async with inbox() as box:
        endpoint = await office.endpoint(box.url)
        held = await shop.running()
        await shop.settle(shop.delivered(held))
        await office.post()
        async with office.courier():
            told = {one["type"]: one["data"] for one in [verified(endpoint, await box.next()) for _ in range(3)]}
            await office.until(DELIVERED, ("job.running", "delivered", 1), ("job.succeeded", "delivered", 1))
    assert {event: data["state"] for event, data in told.items()} == {
        "job.queued": "queued", "job.running": "running", "job.succeeded": "succeeded",
    }  # fmt: skip
    assert told["job.queued"]["started_at"] is None
    assert told["job.running"]["billing"]["charged_micro"] == 0
    assert told["job.succeeded"]["billing"]["charged_micro"] == 5_000_000
    assert told["job.succeeded"]["artifacts"][0]["url"].startswith("https://gateway.example.com/v1/files/")


async def test_a_deleted_job_is_not_told_any_more(office: Office, shop: Shop) -> None:
    async with inbox() as box:
        await office.endpoint(box.url)
        job = await shop.enqueue()
        await office.post()
        async with office.pool.acquire() as conn:
            await conn.execute(
                "UPDATE gateway.job SET deleted_at = billing.now(), state = 'cancelled', finished_at = billing.now(),"
                " error_code = 'cancelled' WHERE id = $1",
                job,
            )
        async with office.courier():
            await office.until(("job.queued", "failed", 1))
        assert box.seen == []
    assert (await tries(office))[0].error == "the job was deleted"


REFUSALS = {
    "error": (saying("500 Oops", body=b"out of order"), 500, None, "out of order"),
    "not found": (saying("404 Not Found"), 404, None, ""),
    "redirect": (saying("302 Found", "location: http://127.0.0.1:1/\r\n"), None, "redirected", ""),
    "permanent redirect": (saying("308 Moved", "location: https://example.com/\r\n"), None, "redirected", ""),
    "nonsense": (saying("2oo OK"), None, "broken_answer", ""),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_is_no_success_is_tried_again(office: Office, shop: Shop, name: str) -> None:
    answer, status, error, said = REFUSALS[name]
    async with inbox(answer) as box:
        endpoint = await office.endpoint(box.url)
        await shop.enqueue()
        await office.post()
        async with office.courier():
            first = await box.next()
            await office.until(WAITS)
            await office.hasten()
            second = await box.next()
            await office.until(("job.queued", "waiting", 2))
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    for one in await tries(office):
        assert (one.status, (one.error or "").partition(":")[0] or None, one.answer) == (status, error, said)
    assert (await office.again(endpoint)).failing_since is not None


async def test_a_receiver_that_hangs_drips_or_hangs_up(office: Office, shop: Shop) -> None:
    async def hangs(_: Received, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def drips(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-a: b\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def hangs_up(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    for answer, code in ((hangs, "timed_out"), (drips, "timed_out"), (hangs_up, "broken_answer")):
        async with inbox(answer) as box:
            endpoint = await office.endpoint(box.url)
            await shop.enqueue()
            await office.post()
            async with office.courier(timeout_s=0.5):
                await box.next()
                await office.until(WAITS)
        assert (await tries(office))[0].error is not None
        assert (await tries(office))[0].error.startswith(code)  # pyright: ignore[reportOptionalMemberAccess] asserted above
        async with office.pool.acquire() as conn:
            await conn.execute("DELETE FROM gateway.webhook_delivery")
            await change_endpoint(conn, endpoint, enabled=False)


async def test_an_endless_answer_is_read_no_further_than_needed(office: Office, shop: Shop) -> None:
    written = 0

    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 16))
            written += 1 << 16
            await writer.drain()

    async with inbox(endless) as box:
        await office.endpoint(box.url)
        await shop.enqueue()
        await office.post()
        async with office.courier():
            await office.until(DELIVERED)
    assert written < 64 << 20


async def test_gone_disables_and_enabling_sends_what_waits(office: Office, shop: Shop) -> None:
    async with inbox(saying("410 Gone")) as box:
        endpoint = await office.endpoint(box.url)
        await shop.enqueue()
        await office.post()
        async with office.courier():
            await office.until(("job.queued", "failed", 1))
        closed = await office.again(endpoint)
        assert (closed.disabled_at is not None, closed.disabled_reason) == (True, "its server answered 410 Gone")


async def test_five_days_without_a_success_disable_and_what_waits_is_kept(office: Office, shop: Shop) -> None:
    answers = [saying("500 Oops"), saying("500 Oops"), saying("200 OK")]

    async def answer(one: Received, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(one, writer)

    async with inbox(answer) as box:
        endpoint = await office.endpoint(box.url)
        await shop.enqueue()
        await office.post()
        async with office.courier():
            await office.until(WAITS)
            async with office.pool.acquire() as conn:
                await conn.execute(
                    "UPDATE gateway.webhook_endpoint SET failing_since = failing_since - $1::interval",
                    timedelta(seconds=DISABLED_AFTER_S),
                )
            await office.hasten()
            await office.until(("job.queued", "waiting", 2))
            disabled = await office.again(endpoint)
            assert (disabled.disabled_reason or "").startswith("no delivery has succeeded since 20")
            await office.hasten()
            async with office.pool.acquire() as conn:
                await change_endpoint(conn, disabled, enabled=True)
            await office.until(("job.queued", "delivered", 3))
        assert (await office.again(endpoint)).failing_since is None


async def test_after_the_last_pause_a_delivery_has_failed_and_can_be_sent_by_hand(office: Office, shop: Shop) -> None:
    answers = [saying("500 Oops"), saying("204 No Content")]

    async def answer(one: Received, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(one, writer)

    async with inbox(answer) as box:
        await office.endpoint(box.url)
        await shop.enqueue()
        await office.post()
        async with office.pool.acquire() as conn:
            await conn.execute("UPDATE gateway.webhook_delivery SET tries = 9")
        async with office.courier():
            await office.until(("job.queued", "failed", 10))
            first = await box.next()
            async with office.pool.acquire() as conn, conn.transaction():
                row = await conn.fetchrow("SELECT org_id, id FROM gateway.webhook_delivery")
                assert row is not None
                await resend(conn, await find_delivery(conn, row["org_id"], row["id"]))
            await office.until(("job.queued", "delivered", 11))
            assert (await box.next()).headers["webhook-id"] == first.headers["webhook-id"]


async def test_a_dead_endpoint_delays_nobody(office: Office, shop: Shop) -> None:
    """The dead one keeps its four places for as long as the test runs; the other is told everything."""
    stuck = asyncio.Semaphore(0)

    async def hangs(_: Received, __: asyncio.StreamWriter) -> None:
        stuck.release()
        await asyncio.Event().wait()

    async with inbox(hangs) as dead, inbox() as well:
        await office.endpoint(dead.url)
        alive = await office.endpoint(well.url)
        for _ in range(12):
            await shop.enqueue()
        await office.post()
        async with office.courier(timeout_s=600):
            for _ in range(4):
                await stuck.acquire()
            for _ in range(12):
                await well.next()
            async with asyncio.timeout(20):
                while await office.deliveries(alive.id) != [DELIVERED] * 12:
                    await asyncio.sleep(0.02)
        assert len(dead.seen) == 4


async def test_an_address_that_became_private_is_not_called(office: Office, shop: Shop) -> None:
    await office.endpoint("https://127.0.0.1:9999/hook")
    await shop.enqueue()
    await office.post()
    async with office.courier():
        await office.until(WAITS)
    assert (await tries(office))[0].error.startswith("address_refused")  # pyright: ignore[reportOptionalMemberAccess] it failed


_SEND = """
import asyncio, sys
from billing.kit.pool import open_pool
from tests.webhooks.conftest import Office
async def main():
    async with await open_pool(sys.argv[1], name="courier") as pool:
        async with Office(pool, None).courier():
            await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_courier_that_is_killed_between_sending_and_recording_sends_again(office: Office, shop: Shop, dsn: str) -> None:
    async def kills(_: Received, writer: asyncio.StreamWriter) -> None:
        process.kill()  # it has been sent and cannot be recorded any more
        await process.wait()
        writer.close()

    async with inbox(kills) as box:
        await office.endpoint(box.url)
        await shop.enqueue()
        await office.post()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SEND, dsn, env={**os.environ, "PYTHONPATH": "."})
        first = await box.next()
        await process.wait()
        assert await office.deliveries() == [("job.queued", "waiting", 0)]
        url = box.url
    async with inbox() as again:
        async with office.pool.acquire() as conn:
            await conn.execute("UPDATE gateway.webhook_endpoint SET url = $1 WHERE url = $2", again.url, url)
        async with office.courier():
            await office.hasten()  # its claim has run out
            second = await again.next()
            await office.until(DELIVERED)
    assert second.headers["webhook-id"] == first.headers["webhook-id"]
    assert msgspec.json.decode(second.body) == msgspec.json.decode(first.body)


def test_the_pauses_between_tries_span_days_and_end() -> None:
    pauses = [pause_s(tries) for tries in range(1, 11)]
    assert pauses[-1] is None
    known = [pause for pause in pauses if pause is not None]
    assert len(known) == 9 and known[:6] == sorted(known[:6])  # the last ones are alike but for their jitter
    assert 4 <= known[0] <= 6
    assert 2 * 86400 < sum(known) < 5 * 86400


async def test_old_deliveries_and_forgotten_listeners_go(office: Office, shop: Shop, pool: Pool) -> None:
    await office.endpoint("https://example.com/")
    await office.endpoint(None)
    await shop.enqueue()
    await office.post()
    async with pool.acquire() as conn:
        assert await forget_deliveries(conn) == 0
        await conn.execute(
            "UPDATE gateway.webhook_endpoint SET created_at = created_at - interval '25 hours' WHERE kind = 'listener'"
        )
        assert await forget_deliveries(conn) == 1
        await conn.execute("UPDATE gateway.webhook_delivery SET created_at = created_at - interval '31 days'")
        assert await forget_deliveries(conn) == 1
        assert await conn.fetchval("SELECT count(*) FROM gateway.webhook_endpoint") == 1
