"""A request's own callback, from the running gateway to a server of the customer's, in each dialect."""

import contextlib
from typing import Any

import httpx
import openai
import pytest
from standardwebhooks import Webhook

from tests.api.test_managers import manage
from tests.stack import Customer, Stack
from tests.webhooks.receiver import Inbox, inbox

TEXT = [{"type": "text", "text": "a lamp"}]


def secret(stack: Stack, customer: Customer) -> str:
    with contextlib.closing(manage(stack, customer, "webhooks:read", "webhooks:write")) as client:
        return client.get("/v1/webhooks/callbacks_live/secret").raise_for_status().json()["secret"]


async def order(stack: Stack, customer: Customer, path: str, body: dict[str, Any]) -> str:
    async with httpx.AsyncClient(base_url=stack.base_url, headers=customer.bearer, timeout=30) as client:
        answer = await client.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()["id"]


async def told(box: Inbox, signed: str, *, until: tuple[str, str]) -> list[dict[str, Any]]:
    """The verified bodies, up to the one whose field has the value; they may come in any order but the last is the end."""
    bodies: list[dict[str, Any]] = []
    name, value = until
    while not bodies or bodies[-1][name] != value:
        received = await box.next()
        bodies.append(Webhook(signed).verify(received.body, received.headers))
    return bodies


async def test_ark_is_sent_the_task_at_each_status(stack: Stack, customer: Customer) -> None:
    async with inbox() as box:
        body = {"model": "testcard", "content": TEXT, "duration": 1, "resolution": "480p", "callback_url": box.url}
        task = await order(stack, customer, "/api/v3/contents/generations/tasks", body)
        bodies = await told(box, secret(stack, customer), until=("status", "succeeded"))
        assert {body["id"] for body in bodies} == {task}
        async with httpx.AsyncClient() as client:
            film = await client.get(bodies[-1]["content"]["video_url"])
        assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")


async def test_openai_is_told_the_end_in_its_own_form(stack: Stack, customer: Customer) -> None:
    async with inbox() as box:
        body = {"model": "testcard", "prompt": "a lamp", "seconds": "1", "size": "640x480", "callback_url": box.url}
        video = await order(stack, customer, "/v1/videos", body)
        received = await box.next()
        with openai.OpenAI(api_key="unused", webhook_secret=secret(stack, customer)) as client:
            event = client.webhooks.unwrap(received.body.decode(), received.headers)
        assert (event.type, event.model_dump()["data"]["id"]) == ("video.completed", video)


async def test_native_is_told_everything(stack: Stack, customer: Customer) -> None:
    async with inbox() as box:
        body = {"model": "testcard", "prompt": "a lamp", "seconds": 1, "size": "640x480", "callback_url": box.url}
        job = await order(stack, customer, "/v1/jobs", body)
        bodies = await told(box, secret(stack, customer), until=("type", "job.succeeded"))
        assert {body["data"]["id"] for body in bodies} == {job}
        assert bodies[-1]["data"]["billing"]["charged_micro"] > 0


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/videos"])
async def test_a_callback_that_leads_inside_is_refused(stack: Stack, customer: Customer, path: str) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, headers=customer.bearer, timeout=30) as client:
        answer = await client.post(path, json={"model": "testcard", "prompt": "x", "callback_url": "https://127.0.0.1/"})
    problem = answer.json() if path == "/v1/jobs" else answer.json()["error"]
    assert (answer.status_code, problem["param"]) == (400, "callback_url")
