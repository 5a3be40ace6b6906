"""The shortcut past the router changes no answer: another spelling of a hot path takes the router, and says the same."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.stack import Stack

ASKS = {
    "/v1/jobs": {"model": "testcard", "prompt": "x"},
    "/v1/videos": {"model": "testcard", "prompt": "x"},
    "/api/v3/contents/generations/tasks": {"model": "testcard", "content": [{"type": "text", "text": "x"}]},
}
NOWHERE = "job_" + "0" * 32


@pytest.fixture(scope="module")
def client(desk: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=desk.base_url, headers=desk.customer().bearer, trust_env=False) as one:
        yield one


def shown(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """What must be the same; the rest names the moment or the request."""
    return answer.status_code, answer.content, {k: v for k, v in answer.headers.items() if k not in ("date", "x-request-id")}


@pytest.mark.parametrize("path", ASKS)
def test_a_job_reads_the_same_by_either_way(client: httpx.Client, path: str) -> None:
    made = client.post(path, json=ASKS[path]).raise_for_status().json()["id"]
    straight, routed = client.get(f"{path}/{made}"), client.get(f"{path}/{made}/")
    assert straight.status_code == 200
    if path == "/v1/jobs":  # the queue is looked at once a second
        assert (straight.json() | {"queue_position": 0}) == (routed.json() | {"queue_position": 0})
    else:
        assert shown(straight) == shown(routed)
    assert all(answer.headers["x-request-id"].startswith("req_") for answer in (straight, routed))


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize(
    "last, body",
    [
        ("", b"{prompt}"),
        ("", b'{"model": "no such model", "prompt": "x", "content": [{"type": "text", "text": "x"}]}'),
        (f"/{NOWHERE}", None),
        ("/job_short", None),
    ],
)
def test_a_refusal_reads_the_same_by_either_way(client: httpx.Client, path: str, last: str, body: bytes | None) -> None:
    method, headers = ("GET", {}) if body is None else ("POST", {"content-type": "application/json"})
    straight, routed = (client.request(method, path + last + end, content=body, headers=headers) for end in ("", "/"))
    assert 400 <= straight.status_code < 500
    assert shown(straight) == shown(routed)
    keyless = client.request(method, path + last, content=body, headers={**headers, "authorization": "Bearer nothing"})
    assert keyless.status_code == 401


@pytest.mark.parametrize("path", ASKS)
def test_a_method_that_is_not_hot_is_routed(client: httpx.Client, path: str) -> None:
    assert client.put(path).status_code == 405
    assert client.get(path).status_code == client.get(f"{path}/").status_code == 200


def counted(client: httpx.Client) -> float:
    found = re.search(
        r'^tallylight_http_request_seconds_count\{method="GET",route="/v1/jobs/\{job_id\}",status="4xx"\} ([0-9.]+)$',
        client.get("/metrics").text,
        re.MULTILINE,
    )
    return float(found[1]) if found else 0.0


def test_both_ways_count_under_the_same_route(client: httpx.Client) -> None:
    before = counted(client)
    for end in ("", "/"):
        assert client.get(f"/v1/jobs/{NOWHERE}{end}", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"
    assert counted(client) == before + 2
