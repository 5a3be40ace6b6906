"""OpenAI's own SDK against the running gateway: what a program written for their API meets here."""

from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeAlias

import openai
import pytest
from openai.types import Video

from tests.dialects.pictures import data_url, png
from tests.dialects.proxy import Fault, SpoilingProxy
from tests.stack import Customer, Stack

# The SDK marks every method of `videos` so; its shape lives on in gateways like this one.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

Sdk: TypeAlias = Any
"""Its types allow OpenAI's own models and sizes only."""

SMALL = {"prompt": "a lamp", "seconds": "1", "size": "320x180"}
PARKED = {**SMALL, "model": "parked"}


def sdk(stack: Stack, key: str) -> Sdk:
    return openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=key)


@pytest.fixture
def client(stack: Stack, customer: Customer) -> Generator[Sdk]:
    with closing(sdk(stack, customer.live)) as made:
        yield made


def test_a_video_from_request_to_file(client: Sdk, stack: Stack, customer: Customer) -> None:
    video = client.videos.create(**SMALL)
    assert isinstance(video, Video)
    assert (video.status, video.progress, video.seconds, video.size, video.model) == ("queued", 0, "1", "320x180", "testcard")

    done = client.videos.poll(video.id)
    assert (done.id, done.status, done.progress, done.error) == (video.id, "completed", 100, None)
    assert done.expires_at > done.completed_at >= done.created_at
    assert done.usage == {"output_seconds": 1.0, "frames": 24}
    assert done.cost["amount_micro"] == done.estimated_cost["amount_micro"] == 750_000
    wallet = stack.wallet(customer)
    assert (wallet.posted, wallet.held) == (1_000_000_000 - 750_000, 0)

    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"
    assert client.videos.download_content(video.id, variant="thumbnail").read()[:3] == b"\xff\xd8\xff"


def test_a_picture_is_the_first_frame(client: Sdk) -> None:
    video = client.videos.create(
        **SMALL, input_reference=("lamp.png", png(), "image/png"), extra_body={"return_last_frame": True}
    )
    assert client.videos.poll(video.id).status == "completed"
    assert client.videos.download_content(video.id, variant="last_frame").read()[:4] == b"\x89PNG"


@pytest.mark.parametrize("reference", [{"image_url": data_url(png())}, data_url(png()), f'{{"image_url": "{data_url(png())}"}}'])
def test_a_picture_as_a_data_url(client: Sdk, reference: object) -> None:
    video = client.videos.create(**PARKED, extra_body={"input_reference": reference})
    assert video.status == "queued"


def test_our_own_fields_travel_in_extra_body(client: Sdk) -> None:
    extra = {"fps": 12, "seed": 7, "audio": True, "tier": "flex", "metadata": {"scene": "4"}, "steps": 10, "guidance": 2.5}
    video = client.videos.create(**PARKED, extra_body=extra)
    assert video.metadata == {"scene": "4"}
    assert video.estimated_cost == {"amount_micro": 1_000_000 * 75 // 100 * 125 // 100 // 2, "currency": "CNY"}


def test_a_json_body_and_a_raw_post(client: Sdk) -> None:
    as_json = client.videos.create(**PARKED, extra_headers={"Content-Type": "application/json"})
    raw = client.post("/videos", body=PARKED, cast_to=Video)
    assert {as_json.status, raw.status} == {"queued"}


def test_the_pager_walks_through_all_pages(client: Sdk) -> None:
    made = [client.videos.create(**PARKED).id for _ in range(5)]
    assert [video.id for video in client.videos.list(limit=2)] == made[::-1]
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == made
    assert [video.id for video in client.videos.list(after=made[1])] == made[:1]


def test_an_empty_list_has_no_pages(client: Sdk) -> None:
    assert list(client.videos.list()) == []


async def test_the_asynchronous_client(stack: Stack, customer: Customer) -> None:
    client: Sdk = openai.AsyncOpenAI(base_url=f"{stack.base_url}/v1", api_key=customer.live)
    async with client:
        video = await client.videos.create(**SMALL, input_reference=("lamp.png", png(), "image/png"))
        parked = await client.videos.create(**PARKED)
        assert (await client.videos.poll(video.id)).status == "completed"
        assert [one.id async for one in client.videos.list(limit=1)] == [parked.id, video.id]
        assert (await client.videos.download_content(video.id)).content[4:8] == b"ftyp"
        with pytest.raises(openai.NotFoundError):
            await client.videos.retrieve("job_" + "0" * 32)


def test_a_failed_video_is_returned_by_poll(client: Sdk, stack: Stack, customer: Customer) -> None:
    video = client.videos.poll(client.videos.create(**SMALL | {"model": "giant", "size": "4096x2048"}).id)
    assert (video.status, video.error.code) == ("failed", "request_refused")
    assert video.cost["amount_micro"] == 0
    assert stack.wallet(customer).held == 0


# -- delete ------------------------------------------------------------------------------------------------------------
def test_a_finished_video_is_deleted(client: Sdk, stack: Stack, customer: Customer) -> None:
    video = client.videos.poll(client.videos.create(**SMALL).id)
    spent = stack.wallet(customer).posted
    gone = client.videos.delete(video.id)
    assert (gone.id, gone.object, gone.deleted) == (video.id, "video.deleted", True)
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(video.id)
    with pytest.raises(openai.NotFoundError):
        client.videos.delete(video.id)
    assert stack.wallet(customer).posted == spent


def test_a_waiting_video_is_deleted_and_costs_nothing(client: Sdk, stack: Stack, customer: Customer) -> None:
    assert client.videos.delete(client.videos.create(**PARKED).id).deleted
    wallet = stack.wallet(customer)
    assert (wallet.posted, wallet.held) == (1_000_000_000, 0)
    assert list(client.videos.list()) == []


def test_a_running_video_is_stopped_deleted_and_costs_nothing(client: Sdk, stack: Stack, customer: Customer) -> None:
    video = client.videos.create(**SMALL | {"model": "slow"})
    stack.wait(lambda: client.videos.retrieve(video.id).status == "in_progress", "the video is made")
    assert client.videos.delete(video.id).deleted
    wallet = stack.wallet(customer)
    assert (wallet.posted, wallet.held) == (1_000_000_000, 0)


# -- errors ------------------------------------------------------------------------------------------------------------
def test_an_unknown_key(stack: Stack) -> None:
    with closing(sdk(stack, "tl_live_nonsense")) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.videos.create(**SMALL)
    assert caught.value.code == "invalid_api_key"


def test_a_field_out_of_range_is_named(client: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.create(**SMALL | {"seconds": "500"})
    assert (caught.value.param, caught.value.code, caught.value.type) == ("seconds", "invalid_request", "invalid_request_error")


def test_an_unknown_field_is_named(client: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.create(**SMALL, extra_body={"loras": ["x"]})
    assert (caught.value.param, caught.value.code) == ("loras", "unsupported_field")


def test_a_link_into_our_own_network_is_refused(client: Sdk) -> None:
    with pytest.raises(openai.BadRequestError, match="never reached from here") as caught:
        client.videos.create(**SMALL, extra_body={"input_reference": {"image_url": "https://127.0.0.1/a.png"}})
    assert caught.value.param == "input_reference"


def test_no_money_is_said_once(stack: Stack) -> None:
    poor = stack.customer(amount_micro=1)
    with SpoilingProxy(stack.base_url, []) as proxy:
        with closing(openai.OpenAI(base_url=f"{proxy.base_url}/v1", api_key=poor.live)) as client:
            videos: Sdk = client.videos
            with pytest.raises(openai.APIStatusError) as caught:
                videos.create(**SMALL)
        assert (caught.value.status_code, caught.value.code, len(proxy.seen)) == (402, "insufficient_balance", 1)
    assert stack.job_count(poor) == 0


def test_what_no_model_can_do_is_refused_by_name(client: Sdk) -> None:
    video = client.videos.create(**PARKED)
    attempts = {
        "remix": lambda: client.videos.remix(video.id, prompt="blue"),
        "edits": lambda: client.videos.edit(prompt="blue", video=("a.mp4", b"x", "video/mp4")),
        "extensions": lambda: client.videos.extend(prompt="on", seconds="4", video=("a.mp4", b"x", "video/mp4")),
        "characters": lambda: client.videos.create_character(name="Ann", video=("a.mp4", b"x", "video/mp4")),
    }
    for name, attempt in attempts.items():
        with pytest.raises(openai.BadRequestError, match="none of the installed models") as caught:
            attempt()
        assert caught.value.param == name
    with pytest.raises(openai.BadRequestError):
        client.videos.get_character("char_1")


# -- one request, one job ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["cut", "unavailable"])
def test_an_answer_that_got_lost_is_given_again(stack: Stack, customer: Customer, fault: Fault) -> None:
    with SpoilingProxy(stack.base_url, [fault]) as proxy:
        with closing(openai.OpenAI(base_url=f"{proxy.base_url}/v1", api_key=customer.live)) as client:
            videos: Sdk = client.videos
            video = videos.create(**PARKED, input_reference=("lamp.png", png(), "image/png"))
        assert [headers["x-stainless-retry-count"] for headers in proxy.seen] == ["0", "1"]
    with closing(sdk(stack, customer.live)) as direct:
        assert [one.id for one in direct.videos.list()] == [video.id]
    assert stack.wallet(customer).held == 750_000


def test_an_idempotency_key_gets_the_same_answer(client: Sdk, stack: Stack, customer: Customer) -> None:
    create = client.videos.with_raw_response.create
    first, again = (create(**PARKED, extra_headers={"Idempotency-Key": "order-1"}) for _ in range(2))
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert stack.job_count(customer) == 1
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.videos.create(**PARKED | {"seconds": "2"}, extra_headers={"Idempotency-Key": "order-1"})
    assert caught.value.response.headers["x-should-retry"] == "false"
