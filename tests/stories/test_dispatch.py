"""Dispatch on a real database, with a real Triton and real files: what a job costs and where it ends, whatever goes wrong."""

import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from billing.kit.ids import new_id
from billing.kit.query import Pool
from billing.ledger.model import TEST_FLOOR
from gateway.jobs.cancel import cancel
from gateway.jobs.waiting import inbox
from gateway.media.keys import input_key
from gateway.media.store import open_store
from gateway.video import InputMedia
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.workshop import Triton, Workshop, open_workshop, started

FRAMES_9_MS = 562
CHARGE_MICRO = FRAMES_9_MS * RATE_MICRO // 1000
HOLD_MICRO = CHARGE_MICRO


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    yield from started(tmp_path_factory.mktemp("triton"))


@pytest.fixture
async def workshop(pool: Pool, dsn: str, triton: Triton, tmp_path: Path) -> AsyncIterator[Workshop]:
    async with open_workshop(pool, dsn, tmp_path, [triton.port]) as opened:
        yield opened


async def cancelled(workshop: Workshop, job_id: UUID) -> str | None:
    async with workshop.pool.acquire() as conn, conn.transaction():
        return await cancel(conn, workshop.account.org_id, job_id)


# -- the good end ------------------------------------------------------------------------------------------------------
async def test_a_job_is_charged_what_was_measured_at_its_frozen_rate(workshop: Workshop) -> None:
    async with workshop.dispatching():
        job_id = await workshop.order()
        row = await workshop.ended(job_id)
    assert (row["state"], row["frames"], row["delivered_ms"]) == ("succeeded", 9, FRAMES_9_MS)
    assert row["charged_micro"] == CHARGE_MICRO
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)
    assert await workshop.log(job_id) == ["queued", "running", "succeeded"]
    assert await workshop.attempts(job_id) == [("r0", "succeeded", None)]
    artifacts = workshop.artifacts(row)
    assert set(artifacts) == {"video", "thumbnail"}
    for artifact in artifacts.values():
        assert hashlib.sha256(workshop.file(artifact)).hexdigest() == artifact.sha256


async def test_every_attempt_costs_what_the_catalogue_says_of_its_chip(workshop: Workshop) -> None:
    async with workshop.dispatching():
        job_id = await workshop.order()
        await workshop.ended(job_id)
    async with workshop.pool.acquire() as conn:
        (attempt,) = await conn.fetch("SELECT accelerator, price_micro_usd_per_hour, device_ms FROM gateway.attempt")
        used = await conn.fetchval("SELECT cost_micro FROM billing.usage WHERE subject_id = $1", job_id)
        booked = await conn.fetchval(
            "SELECT coalesce(-sum(e.amount), 0)::bigint FROM billing.entry e JOIN billing.account a ON a.id = e.account_id"
            " WHERE a.path LIKE 'expense:cogs:%'"
        )
    assert (attempt["accelerator"], attempt["price_micro_usd_per_hour"]) == ("cpu", 50_000)
    assert used == booked == attempt["device_ms"] * 50_000 // 3_600_000


async def test_a_new_leader_starts_the_first_jobs_and_then_all_others(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "FIRST_MAX", 2)
    jobs = [await workshop.order() for _ in range(6)]
    async with workshop.dispatching():
        jobs += [await workshop.order() for _ in range(2)]
        assert {(await workshop.ended(job_id))["state"] for job_id in jobs} == {"succeeded"}
    assert await workshop.wallet() == (FUNDS_MICRO - len(jobs) * CHARGE_MICRO, 0)
    assert [len(await workshop.attempts(job_id)) for job_id in jobs] == [1] * len(jobs)


async def test_the_metrics_say_what_the_ledger_accrued_and_earned(workshop: Workshop) -> None:
    """By pool, model and outcome, also of attempts that failed."""
    before = {name: _counted(name) for name in ("attempt_cost_micro_usd", "revenue_micro", "generated_seconds")}
    (replica,) = workshop.settings.replicas
    dear = msgspec.structs.replace(replica, price_micro_usd_per_hour=9_000_000_000)
    async with workshop.dispatching(attempts_max=1, replicas=(dear,)):
        for prompt in ("a lamp", "a lamp", "fault:error"):
            await workshop.ended(await workshop.order(prompt))
        await workshop.ended(await workshop.order(token=workshop.account.test))  # costs as much, and earns nothing
    async with workshop.pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT a.path, -sum(e.amount)::bigint AS cost FROM billing.entry e"
            " JOIN billing.account a ON a.id = e.account_id WHERE a.path LIKE 'expense:cogs:%' GROUP BY a.path"
        )
        used = await conn.fetchrow(
            "SELECT sum(u.net_micro + u.prepaid_micro)::bigint AS revenue FROM billing.usage u"
            " JOIN billing.usage_series s ON s.id = u.series_id WHERE s.book = 'live'"
        )
    accrued = Counter[tuple[str, ...]]()
    for row in rows:
        accrued[tuple(row["path"].split(":")[-3:])] += row["cost"]
    assert {key[-1] for key in accrued} == {"succeeded", "failed"}
    assert Counter(_counted("attempt_cost_micro_usd")) - Counter(before["attempt_cost_micro_usd"]) == accrued
    earned = Counter(_counted("revenue_micro")) - Counter(before["revenue_micro"])
    assert used is not None and earned == {("cpu", "testcard", "CNY"): used["revenue"]} and used["revenue"] == 2 * CHARGE_MICRO
    made = Counter(_counted("generated_seconds")) - Counter(before["generated_seconds"])
    assert sum(made.values()) == pytest.approx(3 * FRAMES_9_MS / 1000)


def _counted(name: str) -> dict[tuple[str, ...], float]:
    """By the values of its labels."""
    labels = {"attempt_cost_micro_usd": ("pool", "model", "outcome"), "revenue_micro": ("pool", "model", "currency")}
    return {
        tuple(sample.labels[label] for label in labels.get(name, ("pool", "model"))): sample.value
        for metric in REGISTRY.collect()
        if metric.name == f"tallylight_{name}"
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


async def test_an_automatic_length_is_charged_as_delivered_and_the_rest_of_the_hold_returns(workshop: Workshop) -> None:
    async with workshop.dispatching():
        row = await workshop.ended(await workshop.order(frames=40, auto=True))
    assert row["state"] == "succeeded"
    assert 20 <= row["frames"] < 40
    assert row["charged_micro"] == (row["frames"] * 1000 // 16) * RATE_MICRO // 1000 < row["hold_micro"]
    assert await workshop.wallet() == (FUNDS_MICRO - row["charged_micro"], 0)


async def test_a_test_key_runs_the_test_card_and_spends_no_money(workshop: Workshop) -> None:
    async with workshop.dispatching():
        job_id = await workshop.order("fault:error", token=workshop.account.test)
        row = await workshop.ended(job_id)
    assert (row["state"], row["livemode"], row["charged_micro"]) == ("succeeded", False, CHARGE_MICRO)
    assert await workshop.wallet("live") == (FUNDS_MICRO, 0)
    assert await workshop.wallet("test") == (-CHARGE_MICRO, 0)
    assert TEST_FLOOR < -CHARGE_MICRO


async def test_a_reference_image_reaches_the_model(workshop: Workshop) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(picture, "PNG")
    store = open_store(workshop.settings)
    put = await store.put_bytes(
        input_key(workshop.account.org_id.hex, new_id().hex, 0), picture.getvalue(), content_type="image/png"
    )
    media = InputMedia("first_frame", put.key, put.sha256, "image/png", 64, 64, put.bytes)
    async with workshop.dispatching():
        plain = await workshop.ended(await workshop.order(width=320, height=180))
        shown = await workshop.ended(await workshop.order(inputs=(media,), width=320, height=180))
    assert (plain["state"], shown["state"]) == ("succeeded", "succeeded")
    assert _red(workshop.file(workshop.artifacts(shown)["thumbnail"])) > 10 * _red(
        workshop.file(workshop.artifacts(plain)["thumbnail"])
    )


def _red(jpeg: bytes) -> int:
    """How many pixels are nothing but red; one at least."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        pixels = picture.convert("RGB").tobytes()
        return 1 + sum(r > 230 and g < 25 and b < 25 for r, g, b in zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True))


# -- failed attempts ---------------------------------------------------------------------------------------------------
FAULTS = {
    "truncate": "truncated",
    "zero_frames": "not_h264",
    "lying_duration": "wrong_frames",
    "not_mp4": "not_mp4",
    "too_many_frames": "wrong_frames",
    "no_final": "contract_broken",
    "error": "backend_failed",
    "stall": "backend_stalled",
}
"""A model's fault, and what operators are told about the attempt."""


async def test_no_fault_of_a_model_is_charged(workshop: Workshop) -> None:
    """Each on a replica of its own, so that no breaker keeps the next one waiting."""
    one = workshop.settings.replicas[0]
    replicas = tuple(msgspec.structs.replace(one, name=name, slots=1) for name in FAULTS)
    async with workshop.dispatching(attempts_max=1, stall_s=2.0, replicas=replicas):
        jobs = {name: await workshop.order(f"fault:{name}") for name in FAULTS}
        rows = {name: await workshop.ended(job_id) for name, job_id in jobs.items()}
    assert {(row["state"], row["error_code"], row["charged_micro"]) for row in rows.values()} == {
        ("failed", "generation_failed", 0)
    }
    async with workshop.pool.acquire() as conn:
        told = {row["job_id"]: row["message"] for row in await conn.fetch("SELECT job_id, message FROM gateway.attempt")}
    assert {name: told[job_id].partition(": ")[0] for name, job_id in jobs.items()} == FAULTS
    assert await workshop.wallet() == (FUNDS_MICRO, 0)
    assert not list(Path(workshop.settings.media_url.removeprefix("file://")).rglob("*.mp4"))
