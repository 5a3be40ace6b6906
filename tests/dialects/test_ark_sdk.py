"""The SDKs of Volcengine and BytePlus against the running gateway: what a program written for Ark meets here."""

from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeAlias

import byteplussdkarkruntime as byteplus
import httpx
import pytest
import volcenginesdkarkruntime as volcengine
from byteplussdkarkruntime import _exceptions as byteplus_errors
from volcenginesdkarkruntime import _exceptions as volcengine_errors

from tests.dialects.pictures import data_url, png
from tests.dialects.proxy import SpoilingProxy
from tests.stack import Customer, Stack

Tasks: TypeAlias = Any
"""`content_generation.tasks` of either SDK; both are untyped where it matters."""

TEXT = [{"type": "text", "text": "a lamp"}]
PARKED = {"model": "parked", "content": TEXT, "resolution": "480p", "duration": 1}
SDKS = {"volcengine": (volcengine, volcengine_errors), "byteplus": (byteplus, byteplus_errors)}


@pytest.fixture(params=SDKS)
def vendor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def errors(vendor: str) -> Any:
    return SDKS[vendor][1]


def connect(vendor: str, base_url: str, key: str) -> Any:
    return SDKS[vendor][0].Ark(base_url=f"{base_url}/api/v3", api_key=key)


@pytest.fixture
def tasks(vendor: str, stack: Stack, customer: Customer) -> Generator[Tasks]:
    with closing(connect(vendor, stack.base_url, customer.live)) as client:
        yield client.content_generation.tasks


def test_a_task_from_request_to_file(tasks: Tasks, stack: Stack, customer: Customer) -> None:
    content = [
        {"type": "text", "text": "a lamp --fps 12"},
        {"type": "image_url", "image_url": {"url": data_url(png())}, "role": "first_frame"},
    ]
    made = tasks.create(
        model="testcard",
        content=content,
        resolution="480p",
        ratio="1:1",
        duration=1,
        return_last_frame=True,
        safety_identifier="u1",
    )
    stack.wait(lambda: tasks.get(task_id=made.id).status not in ("queued", "running"), "the task ends")
    task = tasks.get(task_id=made.id)
    assert (task.id, task.status, task.error, task.safety_identifier) == (made.id, "succeeded", None, "u1")
    assert (task.resolution, task.ratio, task.duration, task.framespersecond) == ("480p", "1:1", 1, 12)
    assert (task.service_tier, task.generate_audio, task.draft, task.revised_prompt) == ("default", False, False, None)
    assert task.usage.completion_tokens == task.usage.total_tokens == 640 * 640 * 12 // 1024
    assert task.updated_at >= task.created_at
    for link in (task.content.video_url, task.content.last_frame_url):
        assert link.startswith(f"{stack.base_url}/v1/files/{customer.org_id.hex}/{made.id}/")
        assert set(httpx.URL(link).params) == {"expires", "key", "signature"}
    wallet = stack.wallet(customer)
    assert (wallet.posted, wallet.held) == (1_000_000_000 - 750_000, 0)


def test_only_what_is_set_counts(tasks: Tasks) -> None:
    task = tasks.get(task_id=tasks.create(model="parked", content=TEXT).id)  # the SDK sends the other eighteen as null
    assert (task.status, task.seed, task.resolution, task.ratio, task.duration) == ("queued", -1, "720p", "16:9", 4)
    assert (task.content, task.usage, task.error) == (None, None, None)


def test_a_failed_task_says_why(tasks: Tasks, stack: Stack) -> None:
    made = tasks.create(model="giant", content=TEXT, resolution="1080p", ratio="4:1", duration=1)
    stack.wait(lambda: tasks.get(task_id=made.id).status not in ("queued", "running"), "the task ends")
    task = tasks.get(task_id=made.id)
    assert (task.status, task.error.code, task.usage) == ("failed", "request_refused", None)


def test_the_list_filters_and_pages(tasks: Tasks) -> None:
    ids = [tasks.create(**PARKED, service_tier=tier).id for tier in ("default", "flex", "default")]
    page = tasks.list(page_num=2, page_size=2)
    assert (page.total, [task.id for task in page.items]) == (3, [ids[0]])
    assert [task.id for task in tasks.list(service_tier="flex").items] == [ids[1]]
    assert [task.id for task in tasks.list(task_ids=ids[:2], status="queued", model="parked").items] == [ids[1], ids[0]]
    assert tasks.list(status="succeeded").total == tasks.list(model="testcard").total == tasks.list(task_ids="cgt-1").total == 0


# -- delete ------------------------------------------------------------------------------------------------------------
def test_a_waiting_task_is_cancelled_and_then_deleted(
    tasks: Tasks,
    stack: Stack,
    customer: Customer,
    errors: Any,
) -> None:
    made = tasks.create(**PARKED)
    assert stack.wallet(customer).held == 750_000
    tasks.delete(task_id=made.id)
    task = tasks.get(task_id=made.id)
    assert (task.status, task.error.code) == ("cancelled", "cancelled")
    assert stack.wallet(customer).held == 0
    tasks.delete(task_id=made.id)
    with pytest.raises(errors.ArkNotFoundError):
        tasks.get(task_id=made.id)


def test_a_running_task_is_not_deleted(tasks: Tasks, stack: Stack, errors: Any) -> None:
    made = tasks.create(model="slow", content=TEXT, duration=1, resolution="480p")
    stack.wait(lambda: tasks.get(task_id=made.id).status == "running", "the task runs")
    with pytest.raises(errors.ArkConflictError) as caught:
        tasks.delete(task_id=made.id)
    assert caught.value.code == "job_not_finished"
    assert tasks.get(task_id=made.id).status == "running"


# -- errors ------------------------------------------------------------------------------------------------------------
def test_an_unknown_key(vendor: str, stack: Stack, errors: Any) -> None:
    with closing(connect(vendor, stack.base_url, "nonsense")) as client, pytest.raises(errors.ArkAuthenticationError):
        client.content_generation.tasks.create(**PARKED)


def test_a_field_is_named_as_ark_names_it(tasks: Tasks, errors: Any) -> None:
    with pytest.raises(errors.ArkBadRequestError, match="duration must be between") as caught:
        tasks.create(**PARKED | {"duration": 500})
    assert (caught.value.param, caught.value.code, caught.value.type) == ("duration", "invalid_request", "BadRequest")
    with pytest.raises(errors.ArkBadRequestError) as caught:
        tasks.create(**PARKED, watermark=True)
    assert (caught.value.param, caught.value.code) == ("watermark", "unsupported_field")


def test_no_money_is_said_once(vendor: str, stack: Stack, errors: Any) -> None:
    poor = stack.customer(amount_micro=1)
    with SpoilingProxy(stack.base_url, []) as proxy:
        with closing(connect(vendor, proxy.base_url, poor.live)) as client, pytest.raises(errors.ArkAPIStatusError) as caught:
            client.content_generation.tasks.create(**PARKED)
        assert (caught.value.status_code, caught.value.code, len(proxy.seen)) == (402, "insufficient_balance", 1)


# -- one request, one job ----------------------------------------------------------------------------------------------
def test_an_answer_that_got_lost_is_given_again_for_a_key(vendor: str, stack: Stack, customer: Customer) -> None:
    with SpoilingProxy(stack.base_url, ["unavailable"]) as proxy:
        with closing(connect(vendor, proxy.base_url, customer.live)) as client:
            client.content_generation.tasks.create(**PARKED, extra_headers={"Idempotency-Key": "order-1"})
        assert len(proxy.seen) == 2
        assert proxy.seen[0]["x-client-request-id"] != proxy.seen[1]["x-client-request-id"]  # so it cannot stand for a key
    assert stack.job_count(customer) == 1


async def test_the_asynchronous_client(stack: Stack, customer: Customer) -> None:
    client = volcengine.AsyncArk(base_url=f"{stack.base_url}/api/v3", api_key=customer.live)
    tasks: Tasks = client.content_generation.tasks
    made = await tasks.create(**PARKED)
    assert (await tasks.list()).total == 1
    await tasks.delete(task_id=made.id)
    assert (await tasks.get(task_id=made.id)).status == "cancelled"
    await client.close()
