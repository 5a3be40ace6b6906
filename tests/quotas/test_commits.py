"""A COMMIT that reaches PostgreSQL and whose answer is lost: what was reserved is reserved once, and is not in its own way."""

import asyncio

from billing.kit.pool import open_pool
from billing.pricing.book import PriceBook
from gateway.admit import Admission
from gateway.fleet.costs import ComputeCosts
from gateway.fleet.promises.quotes import Quotes
from tests.faults.proxy import commit_after, way_to
from tests.quotas.desk import Desk, video


async def test_a_batch_whose_commit_was_not_answered_counts_once(desk: Desk, dsn: str) -> None:
    requests = await desk.limit("requests", meter="requests", limit=3)
    seconds = await desk.limit("seconds", limit=15_000, per="minute", rolling=True)
    async with way_to(dsn) as way, await open_pool(way.dsn.reveal(), name="through", size_min=1, size_max=2) as pool:
        admission = Admission(pool, PriceBook(), ComputeCosts({}), Quotes(pool, {}), waiting_max=64)
        way.proxy.cut_when = commit_after(b"INSERT INTO gateway.job (")
        admitted = await asyncio.gather(*[admission.admit(desk.ask(video())) for _ in range(3)])
        assert way.proxy.cuts == 1 and len({one.job_id for one in admitted}) == 3
        assert (await desk.counts(requests), await desk.counts(seconds)) == ((0, 3), (0, 15_000))
        await admission.close()
    await desk.refused()
