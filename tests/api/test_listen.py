"""`tallylight webhooks`, `listen` and `trigger` against the API, with a management key."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from standardwebhooks import Webhook

from billing.kit.query import Conn
from gateway.access.keys import issue_management_key
from gateway.access.scopes import ROLES
from tests.stack import ROOT, Customer, Stack
from tests.webhooks.receiver import inbox


@pytest.fixture
def environment(desk: Stack) -> dict[str, str]:
    """What the command finds: the gateway, and a developer's management key of an organization of this test's own."""
    customer: Customer = desk.customer()

    async def issue(conn: Conn) -> str:
        return (await issue_management_key(conn, customer.org_id, name="terminal", scopes=ROLES["developer"]))[1]

    return {**os.environ, "TALLYLIGHT_BASE_URL": desk.base_url, "TALLYLIGHT_API_KEY": desk.database(issue)}


async def run(environment: dict[str, str], *argv: str) -> Any:
    """What the command wrote as JSON."""
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *argv, "--json", cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE
    )
    out, err = await done.communicate()
    assert done.returncode == 0, err.decode()
    return json.loads(out)


@asynccontextmanager
async def listening(environment: dict[str, str], url: str) -> AsyncGenerator[tuple[Process, dict[str, str]]]:
    """The running command, and the line it began with."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "listen", "--forward-to", url, "--json", cwd=ROOT, env=environment, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_what_happens_is_handed_on_signed_until_ctrl_c(environment: dict[str, str]) -> None:
    async with inbox() as box, listening(environment, box.url) as (process, begun):
        (sent,) = await run(environment, "trigger", "job.succeeded")
        received = await box.next()
        told = Webhook(begun["secret"]).verify(received.body, received.headers)
        assert (told["type"], told["sample"], received.headers["webhook-id"]) == ("job.succeeded", True, sent["id"])
        assert process.stdout is not None
        line = json.loads(await process.stdout.readline())
        assert (line["id"], line["event"], line["status"]) == (sent["id"], "job.succeeded", 204)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert (await run(environment, "webhooks", "list"))["data"] == []


async def test_a_program_that_does_not_answer_is_said_and_does_not_end_it(environment: dict[str, str]) -> None:
    async with inbox() as gone:
        nowhere = gone.url
    async with listening(environment, nowhere) as (process, _):
        for event in ("job.queued", "plan.renewed"):
            await run(environment, "trigger", event)
            assert process.stdout is not None
            line = json.loads(await process.stdout.readline())
            assert line["event"] == event and "does not answer" in line["error"]


async def test_the_life_of_an_endpoint_at_the_terminal(environment: dict[str, str]) -> None:
    made = await run(environment, "webhooks", "create", "https://example.com/hook", "--event", "job.failed")
    secret = await run(environment, "webhooks", "secret", made["id"])
    rotated = await run(environment, "webhooks", "rotate", made["id"])
    assert rotated["previous"] == secret["secret"]
    assert (await run(environment, "webhooks", "disable", made["id"]))["enabled"] is False
    assert (await run(environment, "webhooks", "enable", made["id"]))["enabled"] is True
    (sent,) = await run(environment, "trigger", "job.failed", "--webhook", made["id"])
    assert [one["id"] for one in (await run(environment, "webhooks", "deliveries", made["id"]))["data"]] == [sent["id"]]
    assert (await run(environment, "webhooks", "delivery", sent["id"]))["delivery"] == sent
    assert (await run(environment, "webhooks", "resend", sent["id"]))["state"] == "waiting"
    assert await run(environment, "webhooks", "delete", made["id"]) == {"id": made["id"], "deleted": True}
