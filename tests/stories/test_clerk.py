"""The clerk's janitors that reach beyond the database."""

from pathlib import Path
from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.query import Pool
from gateway.clerk import janitors
from gateway.media.keys import PENDING, input_key, pending_key
from gateway.media.store import MediaStore
from gateway.settings import Settings
from tests.jobs.shop import open_shop

TWO_HOURS_MS = 2 * 3600 * 1000


def aged(job_id: UUID) -> UUID:
    """The id that the same request would have got two hours ago."""
    return UUID(int=job_id.int - (TWO_HOURS_MS << 80))


async def test_inputs_that_never_became_a_job_are_removed_and_nothing_else(pool: Pool, tmp_path: Path) -> None:
    store = MediaStore.open(f"file://{tmp_path}/media")
    async with pool.acquire() as conn:
        shop = await open_shop(conn)
        admitted = await shop.enqueue()
        await conn.execute("UPDATE gateway.job SET id = $2 WHERE id = $1", admitted, aged(admitted))
    requests = {"crashed": aged(new_id()), "admitted": aged(admitted), "under way": new_id()}
    for job_id in requests.values():
        await store.put_bytes(pending_key(shop.org_id.hex, job_id.hex), b"", content_type="application/octet-stream")
        await store.put_bytes(input_key(shop.org_id.hex, job_id.hex, 0), b"an image", content_type="image/png")

    remove = next(one.work for one in janitors(Settings(), store) if one.name == "remove_orphaned_inputs")
    assert [await remove(pool), await remove(pool)] == [1, 0]

    kept = [input_key(shop.org_id.hex, requests[name].hex, 0) for name in ("admitted", "under way")]
    assert sorted(await store.keys("orgs")) == sorted(kept)
    assert await store.keys(PENDING) == [pending_key(shop.org_id.hex, requests["under way"].hex)]
