"""Quotas over HTTP: set by managers, seen by keys, said in headers and refusals of every dialect."""

from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.api.test_managers import manage
from tests.stack import Customer, Stack, bearer

JOB = {"model": "testcard", "prompt": "a lamp", "seconds": 2}
DAILY = {"name": "daily", "scope": "key", "meter": "generated_ms", "per": "day", "limit": 5000}


def create(desk: Stack, customer: Customer, **body: Any) -> httpx.Response:
    return httpx.post(f"{desk.base_url}/v1/jobs", headers=customer.bearer, json={**JOB, **body}, timeout=30)


def test_a_quota_from_its_making_to_its_end(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="admin") as client:
        made = client.post("/v1/quotas", json=DAILY)
        assert made.status_code == 201 and made.json()["subject"] is None and made.json()["standings"] == []
        path, tag = f"/v1/quotas/{made.json()['id']}", {"if-match": made.headers["etag"]}
        assert client.post("/v1/quotas", json=DAILY).json()["code"] == "conflict"
        assert [create(desk, customer).status_code for _ in range(3)] == [201, 201, 429]
        standing = client.get(path).json()["standings"]
        assert [(one["used"], one["held"], one["remaining"]) for one in standing] == [(0, 4000, 1000)]
        assert client.get(path, params={"subject": "nobody"}).json()["standings"][0]["held"] == 0
        assert client.patch(path, json={"limit": 6000}).status_code == 428
        changed = client.patch(path, json={"limit": 6000}, headers=tag)
        assert changed.json()["limit"] == 6000 and changed.headers["etag"] != tag["if-match"]
        assert client.patch(path, json={"limit": 7000}, headers=tag).status_code == 412
        assert create(desk, customer).status_code == 201
        assert client.delete(path, headers=tag).status_code == 412
        assert client.delete(path, headers={"if-match": "*"}).status_code == 204
        assert client.get(path).status_code == 404
        assert create(desk, customer).status_code == 201


def test_a_refusal_names_the_quota_and_its_figures(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="owner") as client:
        client.post("/v1/quotas", json={**DAILY, "scope": "organization"}).raise_for_status()
        client.post(
            "/v1/quotas", json={"name": "jobs", "scope": "key", "meter": "concurrent_jobs", "limit": 9}
        ).raise_for_status()
        admitted = create(desk, customer)
        assert admitted.headers["ratelimit-policy"] == '"daily";q=5000;w=86400;qu="generated-ms"'
        assert admitted.headers["ratelimit"].startswith('"daily";r=3000;t=')
        refused = create(desk, customer, seconds=4)
        problem = refused.json()
        (standing,) = [one["standings"][0] for one in client.get("/v1/quotas").json()["data"] if one["name"] == "daily"]
    assert (refused.status_code, problem["code"]) == (429, "quota_exceeded")
    assert problem["quota"] == {
        "name": "daily", "scope": "organization", "subject": "", "meter": "generated_ms", "limit": 5000, "used": standing["used"],
        "held": standing["held"], "requested": 4000, "resets_at": standing["resets_at"],
    }  # fmt: skip
    for word in ("'daily'", "5 s per day", "2 s held", "may take 4 s", "It resets at"):
        assert word in problem["detail"]
    assert refused.headers["ratelimit"].startswith('"daily";r=3000;t=')
    left_s = int(refused.headers["retry-after"])
    assert 0 < left_s <= 86_400 and datetime.fromisoformat(standing["resets_at"]).minute == 0
    assert refused.headers.get("x-should-retry") == ("false" if left_s > 60 else None)


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/videos", {"model": "testcard", "prompt": "a lamp", "seconds": "4"}),
        ("/api/v3/contents/generations/tasks", {"model": "testcard", "content": [{"type": "text", "text": "a lamp"}]}),
    ],
)
def test_other_dialects_refuse_in_their_own_shape(desk: Stack, path: str, body: dict[str, Any]) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="owner") as client:
        client.post("/v1/quotas", json={**DAILY, "limit": 0}).raise_for_status()
    refused = httpx.post(f"{desk.base_url}{path}", headers=customer.bearer, json=body, timeout=30)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (429, "quota_exceeded") and "'daily'" in error["message"]
    assert refused.headers["x-should-retry"] == "false" and refused.headers["ratelimit-policy"].startswith('"daily";q=0')


def test_a_key_sees_what_concerns_it_and_no_other_key(desk: Stack) -> None:
    customer, stranger = desk.customer(), desk.customer()
    with manage(desk, customer, role="owner") as client:
        client.post("/v1/quotas", json=DAILY).raise_for_status()
        (other,) = [one["id"] for one in client.get("/v1/keys").json()["data"] if one["name"] == "lenient"]
        client.post("/v1/quotas", json={**DAILY, "name": "theirs", "subject": other}).raise_for_status()
        client.post("/v1/quotas", json={**DAILY, "name": "test", "livemode": False}).raise_for_status()
        client.post("/v1/quotas", json={**DAILY, "name": "users", "scope": "end_user"}).raise_for_status()
        create(desk, customer, end_user="ann").raise_for_status()
        httpx.post(f"{desk.base_url}/v1/jobs", headers=bearer(customer.lenient), json={**JOB, "end_user": "ben"}, timeout=30)
        assert len(client.get("/v1/quotas", params={"limit": 3}).json()["data"]) == 3

    def seen(token: str, **params: str) -> dict[str, list[tuple[str, int]]]:
        answer = httpx.get(f"{desk.base_url}/v1/quotas", headers=bearer(token), params=params)
        return {one["name"]: [(s["subject"], s["held"]) for s in one["standings"]] for one in answer.json()["data"]}

    (mine,) = seen(customer.live)["daily"]
    assert mine[1] == 2000
    assert seen(customer.live) == {"daily": [mine], "users": []}
    assert seen(customer.live, end_user="ben") == {"daily": [mine], "users": [("ben", 2000)]}
    assert seen(customer.test).keys() == {"test"}
    assert seen(stranger.live) == {}
    assert httpx.post(f"{desk.base_url}/v1/quotas", headers=customer.bearer, json=DAILY).status_code == 403


@pytest.mark.parametrize(
    "body, param",
    [
        ({**DAILY, "name": "Daily!"}, "name"),
        ({**DAILY, "limit": -1}, "limit"),
        ({**DAILY, "limit": 10**15}, "limit"),
        ({**DAILY, "per": None}, "per"),
        ({**DAILY, "meter": "concurrent_jobs"}, "per"),
        ({**DAILY, "meter": "concurrent_jobs", "per": None, "rolling": True}, "rolling"),
        ({**DAILY, "scope": "organization", "subject": "x"}, "subject"),
        ({**DAILY, "subject": "no id"}, "subject"),
        ({**DAILY, "subject": "0" * 32}, "subject"),
        ({**DAILY, "scope": "project", "subject": "0" * 32}, "subject"),
        ({**DAILY, "scope": "end_user", "subject": "a\x00"}, "subject"),
        ({**DAILY, "window": "day"}, "window"),
    ],
)
def test_what_makes_no_sense_is_named(desk: Stack, body: dict[str, Any], param: str) -> None:
    with manage(desk, desk.customer(), role="owner") as client:
        refused = client.post("/v1/quotas", json=body)
        assert (refused.status_code, refused.json()["param"]) == (400, param)


def test_the_tag_of_a_key_is_its_end_user(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="owner") as client:
        project = client.get("/v1/projects").json()["data"][0]["id"]
        key = client.post("/v1/keys", json={"name": "tv", "project_id": project, "end_user": "lobby"}).raise_for_status().json()
        client.post("/v1/quotas", json={**DAILY, "scope": "end_user", "limit": 3000}).raise_for_status()
    tagged = bearer(key["key"])
    answers = [httpx.post(f"{desk.base_url}/v1/jobs", headers=tagged, json=JOB, timeout=30) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429] and "'lobby'" in answers[1].json()["detail"]
    seen = httpx.get(f"{desk.base_url}/v1/quotas", headers=tagged).json()["data"][0]["standings"]
    assert [(one["subject"], one["held"]) for one in seen] == [("lobby", 2000)]


def test_a_foreign_quota_is_nobodys(desk: Stack) -> None:
    ann, ben = desk.customer(), desk.customer()
    with manage(desk, ann, role="owner") as client:
        path = f"/v1/quotas/{client.post('/v1/quotas', json=DAILY).json()['id']}"
    with manage(desk, ben, role="owner") as client:
        match = {"if-match": "*"}
        answers = [client.get(path), client.patch(path, json={"limit": 1}, headers=match), client.delete(path, headers=match)]
        assert [answer.status_code for answer in answers] == [404, 404, 404]
        assert client.get("/v1/quotas").json()["data"] == []
