"""Links in requests, through the API as it is served: what is fetched, and that nothing leads into our own network."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dialects.pictures import png
from tests.egress import corpus
from tests.egress.servers import Tripwire, answering, server
from tests.media.test_images import png_of
from tests.stack import Customer, Stack, running_stack

Ask = Callable[[str], tuple[str, dict[str, Any]]]

ASKS: dict[str, Ask] = {
    "native": lambda url: ("/v1/jobs", _native(url)),
    "openai": lambda url: ("/v1/videos", {"model": "testcard", "prompt": "x", "input_reference": {"image_url": url}}),
    "ark": lambda url: ("/api/v3/contents/generations/tasks", _ark(url)),
}
PARAMS = {"native": "inputs[0].url", "openai": "input_reference", "ark": "content[0].image_url.url"}


def _native(url: str) -> dict[str, Any]:
    return {"model": "testcard", "prompt": "x", "inputs": [{"role": "first_frame", "url": url}]}


def _ark(url: str) -> dict[str, Any]:
    return {"model": "testcard", "content": [{"type": "image_url", "image_url": {"url": url}}]}


@pytest.fixture(scope="module")
def door(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("door")
    opened = ("127.0.0.2/32",)
    with running_stack(module_dsn, folder, replicas=0, roles=(), egress_networks=opened) as stack:
        stack.processes["api"].argv = [sys.executable, "-m", "tests.egress.door"]
        stack.start("api")
        yield stack


@pytest.fixture
def customer(door: Stack) -> Customer:
    return door.customer()


@pytest.fixture
async def client(door: Stack, customer: Customer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=door.base_url, headers=customer.bearer, trust_env=False, timeout=60) as opened:
        yield opened


@pytest.fixture
async def tripwire() -> AsyncIterator[Tripwire]:
    async with Tripwire().listening() as wire:
        yield wire


async def refused(client: httpx.AsyncClient, dialect: str, url: str) -> str:
    """The sentence of the refusal, which names the field in the dialect's own shape."""
    path, body = ASKS[dialect](url)
    answer = await client.post(path, json=body)
    problem = answer.json() if dialect == "native" else answer.json()["error"]
    code = "invalid_request" if "\0" in url else "invalid_media"
    assert (answer.status_code, problem["code"], problem["param"]) == (400, code, PARAMS[dialect]), (url, answer.text)
    return problem["detail" if dialect == "native" else "message"]


@pytest.mark.parametrize("dialect", ASKS)
async def test_a_link_is_followed_and_what_lies_there_is_an_upload_like_any_other(
    door: Stack, client: httpx.AsyncClient, customer: Customer, dialect: str
) -> None:
    seen: list[bytes] = []
    async with server(answering(png(), seen=seen)) as port:
        path, body = ASKS[dialect](f"http://picture.example.com:{port}/a.png?size=1")
        answer = await client.post(path, json=body)
        assert answer.is_success, answer.text
    assert seen[0].startswith(b"GET /a.png?size=1 HTTP/1.1\r\n")
    org, job = customer.org_id.hex, answer.json()["id"].removeprefix("job_")
    stored = Path(door.settings.media_url.removeprefix("file://")) / "orgs" / org / "jobs" / job / "inputs" / "0"
    assert stored.read_bytes() == png()


@pytest.mark.parametrize("dialect", ASKS)
async def test_what_is_no_picture_is_refused_as_an_upload_is(client: httpx.AsyncClient, dialect: str) -> None:
    for body, sentence in (
        (b"<html>", "send a PNG, JPEG or WebP image"),
        (png_of(9000, 9000), "8192 pixels per edge at most"),
        (png() + b"PK\x03\x04", "other data follows the image"),
        (png()[:-9], "ends early"),
        (bytes(21 << 20), "more than 20971520 bytes"),
    ):
        async with server(answering(body)) as port:
            assert sentence in await refused(client, dialect, f"http://picture.example.com:{port}/")
    async with server(answering(b"", "404 Not Found")) as port:
        assert "answered 404" in await refused(client, dialect, f"http://picture.example.com:{port}/")


async def test_no_form_of_a_link_leads_into_our_own_network(client: httpx.AsyncClient, tripwire: Tripwire) -> None:
    forms = list(dict.fromkeys(corpus.urls(tripwire.port)))
    assert len(forms) > 1000
    # An empty reference is none, and a long one breaks the field's own limit: neither is a link.
    links = [(dialect, url) for dialect, url in zip(cycle(ASKS), forms, strict=False) if 0 < len(url) <= 2048]
    for at in range(0, len(links), 16):
        await asyncio.gather(*(refused(client, dialect, url) for dialect, url in links[at : at + 16]))
    assert tripwire.hits == 0


@pytest.mark.parametrize("dialect", ASKS)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_leads_nowhere(client: httpx.AsyncClient, tripwire: Tripwire, dialect: str, status: str) -> None:
    for target in (
        f"http://127.0.0.1:{tripwire.port}/",
        f"//[::1]:{tripwire.port}/",
        f"http://rebound.example.com:{tripwire.port}/",
    ):
        async with server(answering(b"", status, f"location: {target}\r\n")) as port:
            assert "redirects are not followed" in await refused(client, dialect, f"http://picture.example.com:{port}/")
    assert tripwire.hits == 0


async def test_a_name_that_changes_its_mind_is_believed_once(client: httpx.AsyncClient, tripwire: Tripwire) -> None:
    """The tripwire listens on the same port of 127.0.0.1 as the picture does of 127.0.0.2."""
    async with server(answering(png()), port=tripwire.port):
        path, body = ASKS["native"](f"http://rebound.example.com:{tripwire.port}/a.png")
        assert (await client.post(path, json=body)).status_code == 201
        for dialect in ASKS:
            assert "never reached" in await refused(client, dialect, f"http://rebound.example.com:{tripwire.port}/a.png")
    assert tripwire.hits == 0


async def test_one_customers_slow_servers_delay_only_that_customer(door: Stack, client: httpx.AsyncClient) -> None:
    waiting, released = asyncio.Semaphore(0), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        waiting.release()
        await released.wait()
        await answering(png())(_asked(), writer)

    async with server(slow) as slow_port, server(answering(png())) as port:
        path, body = ASKS["native"](f"http://picture.example.com:{slow_port}/")
        stuck = [asyncio.create_task(client.post(path, json=body)) for _ in range(20)]
        for _ in range(4):
            await waiting.acquire()
        path, body = ASKS["native"](f"http://picture.example.com:{port}/")
        assert (await client.post(path, json=body, headers=door.customer().bearer)).status_code == 201
        released.set()
        assert {answer.status_code for answer in await asyncio.gather(*stuck)} == {201}


def _asked() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(b"\r\n\r\n")
    return reader


async def test_several_links_and_uploads_in_one_request(client: httpx.AsyncClient) -> None:
    async with server(answering(png("red"))) as port:
        link = f"http://picture.example.com:{port}/"
        body = {"model": "testcard", "prompt": "x", "inputs": [{"role": "reference", "url": link}] * 3}
        answer = await client.post("/v1/jobs", json=body)
        assert answer.status_code == 201, answer.text
    both = {"role": "first_frame", "url": "https://example.com/a.png", "data": "data:image/png;base64,AAAA"}
    answer = await client.post("/v1/jobs", json={"model": "testcard", "prompt": "x", "inputs": [both]})
    assert (answer.status_code, answer.json()["param"]) == (400, "inputs[0]")
