"""A job's life over the native API, on a real Triton: events, waiting, files, links, listing, deleting, estimating."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack import Stack, running_stack

TINY = {"model": "testcard", "prompt": "a lamp", "frames": 16, "fps": 16, "size": "128x72"}


@pytest.fixture(scope="module")
def stack(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("native")
    with running_stack(module_dsn, folder) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, headers=stack.customer().bearer, timeout=60) as one:
        yield one


@pytest.fixture
def job(client: httpx.Client) -> dict[str, object]:
    answer = client.post("/v1/jobs", json=TINY, headers={"prefer": "wait=30"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (201, "wait=30")
    assert answer.json()["state"] == "succeeded"
    return answer.json()


def events(client: httpx.Client, path: str, **headers: str) -> list[tuple[str, str]]:
    with client.stream("GET", path, headers=headers) as stream:
        lines = list(stream.iter_lines())
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ") and line != "event: progress"]
    return list(zip(ids, kinds, strict=True))


def test_usage_is_reported_by_the_labels_of_a_request(client: httpx.Client) -> None:
    for team in ("news", "sport", "sport"):
        made = client.post("/v1/jobs", json={**TINY, "labels": {"team": team}}, headers={"prefer": "wait=30"}).json()
        assert (made["state"], made["labels"]) == ("succeeded", {"team": team})
    answer = client.get("/v1/usage", params={"group_by": "label:team", "from": "2020-01-01", "to": "2100-01-01"})
    assert answer.status_code == 200, answer.text
    lines = answer.json()["data"]
    jobs = {line["labels"]["team"]: (line["jobs"], line["delivered_ms"]) for line in lines if line["labels"]["team"]}
    assert jobs == {"news": (1, 1000), "sport": (2, 2000)}


def test_events_are_told_in_order_end_with_the_job_and_resume(client: httpx.Client) -> None:
    made = client.post("/v1/jobs", json=TINY).json()
    path = f"/v1/jobs/{made['id']}/events"
    assert events(client, path) == [("1", "queued"), ("2", "running"), ("3", "succeeded")]
    assert events(client, path, **{"last-event-id": "2"}) == [("3", "succeeded")]


def test_files_whole_by_range_and_by_link(client: httpx.Client, job: dict[str, object]) -> None:
    path = f"/v1/jobs/{job['id']}/artifacts/video"
    whole = client.get(path)
    assert whole.content[4:8] == b"ftyp"
    part = client.get(path, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"ftyp", f"bytes 4-7/{len(whole.content)}")
    assert client.get(path, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert client.get(path, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert client.head(path).headers["content-length"] == str(len(whole.content))
    (link,) = [file["url"] for file in client.get(f"/v1/jobs/{job['id']}").json()["artifacts"] if file["name"] == "video"]
    assert httpx.get(link).content == whole.content
    assert httpx.get(link + "0").status_code == 403


def test_money_in_the_answers(client: httpx.Client, job: dict[str, object]) -> None:
    estimate = client.post("/v1/estimate", json=TINY).json()
    assert job["billing"]["charged_micro"] == estimate["amount_max_micro"] == 750_000  # pyright: ignore[reportIndexIssue] – JSON
    assert [tier["tier"] for tier in estimate["tiers"]] == ["priority", "standard", "flex"]


def test_listing_goes_on_where_it_stopped(client: httpx.Client, job: dict[str, object]) -> None:
    client.post("/v1/jobs", json=TINY, headers={"prefer": "wait"})
    seen, cursor = list[str](), None
    while True:
        page = client.get("/v1/jobs", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        seen += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        cursor = page["next_cursor"]
    assert seen == sorted(seen, reverse=True) and len(seen) == len(set(seen)) >= 2
    assert client.get("/v1/jobs", params={"state": "failed"}).json()["data"] == []


def test_another_organization_sees_nothing(stack: Stack, job: dict[str, object]) -> None:
    with httpx.Client(base_url=stack.base_url, headers=stack.customer().bearer) as stranger:
        for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/artifacts/video")]:
            assert stranger.request(method, f"/v1/jobs/{job['id']}{path}").status_code == 404, path
        assert stranger.get("/v1/jobs").json()["data"] == []


def test_a_finished_job_cannot_be_cancelled_and_can_be_deleted(client: httpx.Client, job: dict[str, object]) -> None:
    path = f"/v1/jobs/{job['id']}"
    assert client.post(f"{path}/cancel").json()["state"] == "succeeded"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
