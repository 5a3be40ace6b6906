"""The log of API calls as an organization sees it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from billing.kit.query import Conn
from gateway.requests.read import forget_requests
from tests.api.test_managers import manage
from tests.stack import Customer, Stack

JOB = {"model": "testcard", "prompt": "a very private lamp", "seconds": 1}


def calls(desk: Stack, customer: Customer) -> str:
    """Three that change something or are refused, two that read. Returns the job."""
    with httpx.Client(base_url=desk.base_url, headers=customer.bearer, trust_env=False) as client:
        job = client.post("/v1/jobs", json=JOB, headers={"x-request-id": "mine-1"}).json()["id"]
        assert client.post("/v1/jobs", json={**JOB, "seconds": -1}).status_code == 400
        assert client.get("/v1/jobs/job_" + "0" * 32).status_code == 404
        for _ in range(2):
            assert client.get(f"/v1/jobs/{job}?secret=tl_live_query").status_code in {200, 400}
    return job


def logged(desk: Stack, client: httpx.Client, count: int, **query: str) -> list[dict[str, Any]]:
    """Returns once so many calls are in the log: they are written a second later."""

    def listed() -> list[dict[str, Any]]:
        return client.get("/v1/requests", params=query).raise_for_status().json()["data"]

    desk.wait(lambda: len(listed()) >= count, f"{count} calls are logged")
    return listed()


def test_a_call_is_found_with_its_price_and_without_what_was_sent(desk: Stack) -> None:
    customer = desk.customer()
    job = calls(desk, customer)
    with manage(desk, customer, "usage:read") as client:
        data = logged(desk, client, 3)
        made = next(one for one in data if one["request_id"] == "mine-1")
        assert (made["method"], made["route"], made["status"], made["code"], made["job"]) == ("POST", "/v1/jobs", 201, None, job)
        assert made["price_micro"] == 1_000_000 and made["currency"] == "CNY" and made["duration_ms"] >= 0
        refused = {(one["status"], one["code"]) for one in data} - {(201, None)}
        assert {(400, "invalid_request"), (404, "not_found")} <= refused
        assert [one["status"] for one in logged(desk, client, 1, code="not_found")] == [404]
        assert {one["status"] for one in logged(desk, client, 1, status="400")} == {400}
        assert logged(desk, client, 1, caller=made["caller"], limit="1")[0]["caller"] == made["caller"]
        page = client.get("/v1/requests", params={"limit": "1"}).json()
        rest = client.get("/v1/requests", params={"cursor": page["next_cursor"]}).json()["data"]
        assert page["has_more"] and page["data"][0]["id"] not in {one["id"] for one in rest}
        everything = client.get("/v1/requests").text
        assert "lamp" not in everything and "secret" not in everything and customer.live not in everything


def test_calls_are_grouped_by_how_they_ended(desk: Stack) -> None:
    customer = desk.customer()
    calls(desk, customer)
    with manage(desk, customer, "usage:read") as client:
        logged(desk, client, 3)
        groups = client.get("/v1/requests/groups").json()["data"]
        seen = {(one["method"], one["route"], one["status"], one["code"]): one for one in groups}
        made = seen["POST", "/v1/jobs", 201, None]
        assert made["calls"] == 1 and made["request_id"] == "mine-1" and made["mean_ms"] <= made["max_ms"]
        assert seen["POST", "/v1/jobs", 400, "invalid_request"]["calls"] == 1


def test_another_organization_sees_nothing_of_it(desk: Stack) -> None:
    ann, ben = desk.customer(), desk.customer()
    calls(desk, ann)
    with manage(desk, ann, "usage:read") as client:
        caller = logged(desk, client, 3)[0]["caller"]
    with manage(desk, ben, "usage:read") as client:
        assert client.get("/v1/requests", params={"caller": caller}).json()["data"] == []
        assert client.get("/v1/requests/groups", params={"caller": caller}).json()["data"] == []


def test_bad_filters_are_refused(desk: Stack) -> None:
    with manage(desk, desk.customer(), "usage:read") as client:
        for wrong in ("status=9", "status=x", "caller=x", "since=yesterday", "since=2026-01-01", "until=x", "cursor=x", "user=x"):
            assert client.get(f"/v1/requests?{wrong}").status_code == 400, wrong
    with manage(desk, desk.customer(), "keys:read") as client:
        assert client.get("/v1/requests").status_code == 403


def test_what_is_old_is_forgotten(desk: Stack) -> None:
    customer = desk.customer()
    calls(desk, customer)
    with manage(desk, customer, "usage:read") as client:
        logged(desk, client, 3)
        old = datetime.now(UTC) - timedelta(days=31)

        async def forget(conn: Conn) -> int:
            await conn.execute("UPDATE gateway.request SET at = $2 WHERE org_id = $1 AND status >= 400", customer.org_id, old)
            return await forget_requests(conn)

        assert desk.database(forget) >= 2
        kept = client.get("/v1/requests", params={"since": "2020-01-01T00:00:00Z"}).json()["data"]
        assert {one["status"] for one in kept} == {201}
