"""The server as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.stripe.control import Control
from tests.stripe.server.server import serving

START_S = 30.0


def test_it_says_where_it_listens_and_stops_when_told(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    hook = "http://127.0.0.1:9/hook"
    command = [
        sys.executable,
        "-m",
        "tests.stripe",
        "--port",
        "0",
        "--ready-file",
        str(ready),
        "--webhook-url",
        hook,
        "--clock",
        "virtual",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2], env=os.environ)
    try:
        deadline_s = time.monotonic() + START_S
        while not ready.exists():
            assert time.monotonic() < deadline_s
            assert process.poll() is None
        told = json.loads(ready.read_text())
        assert told["webhook_secret"].startswith("whsec_")
        found = httpx.get(f"{told['url']}/v1/webhook_endpoints", auth=(told["key"], ""))
        assert [one["url"] for one in found.json()["data"]] == [hook]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


async def test_a_world_is_written_down_and_read_back() -> None:
    async with serving(seed="a") as first, serving(seed="b") as second:
        for server in (first, second):
            made = httpx.AsyncClient(base_url=server.url, auth=("sk_test_offline", ""))
            async with made as client:
                await client.post("/v1/customers", content="name=Ada", headers={"idempotency-key": "k1"})
        before, after = Control(first.url), Control(second.url)
        await after.restore(await before.dump())
        assert await after.dump() == await before.dump()
        async with httpx.AsyncClient(base_url=second.url, auth=("sk_test_offline", "")) as client:
            again = await client.post("/v1/customers", content="name=Ada", headers={"idempotency-key": "k1"})
            assert again.headers["idempotent-replayed"] == "true"
            assert [one["id"] for one in (await client.get("/v1/customers")).json()["data"]] == [again.json()["id"]]
        await before.close()
        await after.close()


async def test_a_reset_forgets_everything() -> None:
    async with serving() as server:
        control = Control(server.url)
        async with httpx.AsyncClient(base_url=server.url, auth=("sk_test_offline", "")) as client:
            await client.post("/v1/customers")
            await control.reset(now=1000, seed="x", settings={"default_currency": "cny"})
            assert (await client.get("/v1/customers")).json()["data"] == []
            assert (await client.get("/v1/balance")).json()["available"][0]["currency"] == "cny"
        assert await control.now() == 1000
        await control.close()
