"""Many submissions at once through three API processes, against quotas that have room for one."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from billing.kit.query import Conn
from gateway.quotas.define import NewQuota, create_quota
from gateway.quotas.verify import verify_quotas
from tests.conftest import free_port
from tests.stack import Process, Stack, beside, running_stack

SUBMISSIONS = int(os.environ.get("TALLYLIGHT_TEST_SUBMISSIONS", "30"))
JOB = {"model": "testcard", "prompt": "a lamp", "seconds": 2, "end_user": "ann"}
KINDS: list[dict[str, Any]] = [
    {"meter": "generated_ms", "per": "day", "limit": 3999},
    {"meter": "requests", "per": "month", "limit": 1},
    {"meter": "requests", "per": "week", "limit": 1, "rolling": True},
    {"meter": "concurrent_jobs", "limit": 1},
    {"meter": "money_micro", "per": "hour"},
]


@pytest.fixture(scope="module")
def three(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, list[str]]]:
    """Three API processes on one database, and where they answer."""
    with ExitStack() as stack:
        first = stack.enter_context(running_stack(module_dsn, tmp_path_factory.mktemp("first"), replicas=0, roles=("api",)))
        urls = [first.base_url]
        for n in range(2):
            port, api = free_port(), first.processes["api"]
            folder = tmp_path_factory.mktemp(f"another-{n}")
            process = Process("api", api.argv, {**api.environment, "TALLYLIGHT_PORT": str(port)}, folder / "log")
            stack.callback(process.stop)
            process.start()
            urls.append(f"http://127.0.0.1:{port}")
            first.wait(lambda url=urls[-1]: _ready(url), "another API is ready")
        yield first, urls


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).is_success
    except httpx.TransportError:
        return False


async def at_once(urls: list[str], bearer: dict[str, str]) -> list[int]:
    limits = httpx.Limits(max_connections=SUBMISSIONS)
    async with httpx.AsyncClient(headers=bearer, limits=limits, timeout=60, trust_env=False) as client:
        asks = [client.post(f"{urls[n % 3]}/v1/jobs", json=JOB) for n in range(SUBMISSIONS)]
        return sorted(answer.status_code for answer in await asyncio.gather(*asks))


@pytest.mark.parametrize("scope", ["organization", "project", "key", "model", "end_user"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind['meter']}-{kind.get('per', 'at-once')}")
def test_exactly_one_is_accepted(three: tuple[Stack, list[str]], scope: str, kind: dict[str, Any]) -> None:
    stack, urls = three
    customer = stack.customer()
    if kind["meter"] == "money_micro":  # one and a half times what the first of these may cost
        estimate = httpx.post(f"{urls[0]}/v1/estimate", headers=customer.bearer, json=JOB).json()
        kind = {**kind, "limit": estimate["amount_max_micro"] * 3 // 2}

    async def limit(conn: Conn) -> None:
        await create_quota(conn, customer.org_id, NewQuota(name="one", scope=scope, **kind))  # pyright: ignore[reportArgumentType] – a case

    stack.database(limit)
    assert beside(at_once(urls, customer.bearer)) == [201] + [429] * (SUBMISSIONS - 1)
    assert stack.job_count(customer) == 1
    assert stack.database(verify_quotas) == []
