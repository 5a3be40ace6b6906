"""PostgreSQL stopped at once (`pg_ctl stop -m immediate`) under load and started again: what was acknowledged is there, and ends."""

import asyncio
import signal
from pathlib import Path
from uuid import UUID

import httpx

from billing.ledger.verify import verify
from gateway.jobs.verify import verify_jobs
from gateway.video import parse_public_id
from tests.faults.harness import Cell, open_cell

CLIENTS, WARM = 8, 16
BOUND_S = 60.0
BODY = {"model": "testcard", "prompt": "a lamp", "size": "128x72", "fps": 16, "frames": 8}


class Load:
    """Clients that order without pause until told to stop, each order with a key of its own and until it is acknowledged."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.acknowledged: dict[str, UUID] = {}
        self.refused = 0
        self.another = asyncio.Condition()
        self.stopping = False

    async def client(self, number: int) -> None:
        headers = {"authorization": f"Bearer {self._cell.account.live}"}
        async with httpx.AsyncClient(trust_env=False, timeout=30, headers=headers) as http:
            count = 0
            while not self.stopping:
                await self._order(http, f"{number}-{count}")
                count += 1

    async def more(self, count: int) -> None:
        """Returns once `count` more orders have been acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(BOUND_S), self.another:
            await self.another.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def _order(self, http: httpx.AsyncClient, key: str) -> None:
        while True:
            url = self._cell.urls[self.refused % 2]
            answer = await http.post(f"{url}/v1/jobs", json=BODY, headers={"idempotency-key": key})
            if answer.status_code == 201:
                break
            assert answer.status_code in (409, 503), answer.text
            self.refused += 1
            await asyncio.sleep(0.05)
        job_id = parse_public_id(answer.json()["id"])
        assert job_id is not None
        async with self.another:
            self.acknowledged[key] = job_id
            self.another.notify_all()


async def test_nothing_acknowledged_is_lost_when_postgresql_is_stopped_at_once(tmp_path: Path) -> None:
    async with open_cell(tmp_path, lease_ttl_s=1.0, heartbeat_s=0.25, poll_s=0.1, attempts_max=10) as cell:
        load = Load(cell)
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(load.client(number))
            await load.more(WARM)
            stopped = cell.pids["postgres"]
            cell.signal("postgres", signal.SIGQUIT)
            async with asyncio.timeout(BOUND_S):
                while cell.pids["postgres"] == stopped:
                    await asyncio.sleep(0.01)
            await load.more(WARM)
            load.stopping = True
        conn = await cell.connect()
        async with asyncio.timeout(BOUND_S):
            while await conn.fetchval("SELECT count(*) FROM gateway.job WHERE finished_at IS NULL"):
                await asyncio.sleep(0.05)
        rows = await conn.fetch(
            "SELECT i.token, i.job_id, j.state FROM gateway.idempotency i JOIN gateway.job j ON j.id = i.job_id"
        )
        assert {row["token"]: row["job_id"] for row in rows} == load.acknowledged
        assert {row["state"] for row in rows} == {"succeeded"}
        assert await verify(conn) == [] and await verify_jobs(conn) == []
        await conn.close()
