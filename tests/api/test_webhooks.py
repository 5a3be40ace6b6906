"""Webhooks over the management API: endpoints, secrets, the log, and what a listener does."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from billing.kit.query import Conn
from gateway.settings import Secret
from gateway.webhooks.post import post_events
from tests.api.test_managers import manage
from tests.stack import Customer, Stack, running_stack

HOOK = {"url": "https://example.com/hook"}
READ, WRITE = "webhooks:read", "webhooks:write"


@pytest.fixture
def customer(desk: Stack) -> Customer:
    return desk.customer()


@pytest.fixture
def client(desk: Stack, customer: Customer) -> Iterator[httpx.Client]:
    with contextlib.closing(manage(desk, customer, READ, WRITE)) as opened:
        yield opened


def post_all(desk: Stack) -> None:
    async def post(conn: Conn) -> int:
        return await post_events(conn, events_max=100_000)

    while desk.database(post):
        pass


def create(client: httpx.Client, **fields: object) -> dict[str, object]:
    answer = client.post("/v1/webhooks", json={**HOOK, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def order(desk: Stack, customer: Customer, **fields: object) -> str:
    """Makes a job; nobody runs it here."""
    body = {"model": "testcard", "prompt": "x", **fields}
    return httpx.post(f"{desk.base_url}/v1/jobs", headers=customer.bearer, json=body, timeout=30).raise_for_status().json()["id"]


def test_an_endpoint_is_made_changed_disabled_and_removed(client: httpx.Client) -> None:
    made = create(client, events=["job.succeeded"], description="ours")
    path = f"/v1/webhooks/{made['id']}"
    assert (made["kind"], made["enabled"], made["events"], made["livemode"]) == ("url", True, ["job.succeeded"], True)
    answer = client.get(path)
    assert answer.json() == made
    assert client.patch(path, json={"enabled": False}).status_code == 428
    changed = client.patch(path, json={"enabled": False, "events": []}, headers={"if-match": answer.headers["etag"]})
    assert (changed.json()["enabled"], changed.json()["disabled_reason"]) == (False, "disabled by its owner")
    assert (changed.json()["events"], changed.json()["description"]) == ([], "ours")
    assert client.patch(path, json={"enabled": True}, headers={"if-match": answer.headers["etag"]}).status_code == 412
    again = client.patch(path, json={"enabled": True}, headers={"if-match": changed.headers["etag"]})
    assert (again.json()["enabled"], again.json()["disabled_reason"]) == (True, None)
    assert [one["id"] for one in client.get("/v1/webhooks").json()["data"]] == [made["id"]]
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "body,param",
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://metadata/"}, "url"),
        ({**HOOK, "events": ["job.exploded"]}, "events[0]"),
        ({**HOOK, "form": "ark"}, "form"),
        ({**HOOK, "secret": "mine"}, "secret"),
    ],
)
def test_what_cannot_be_an_endpoint_is_named(client: httpx.Client, body: dict[str, object], param: str) -> None:
    answer = client.post("/v1/webhooks", json=body)
    assert (answer.status_code, answer.json()["param"]) == (400, param)


def test_there_are_twenty_endpoints_at_most(client: httpx.Client) -> None:
    for _ in range(20):
        create(client)
    assert client.post("/v1/webhooks", json=HOOK).json()["code"] == "invalid_request"


def test_a_secret_is_replaced_while_the_old_one_is_still_valid(client: httpx.Client) -> None:
    path = f"/v1/webhooks/{create(client)['id']}"
    first = client.get(f"{path}/secret").json()
    assert first["previous"] is None
    second = client.post(f"{path}/rotate", json={"overlap_s": 60}).json()
    assert (second["previous"], second["secret"] != first["secret"]) == (first["secret"], True)
    assert client.get(f"{path}/secret").json() == second
    assert client.post(f"{path}/rotate", json={"overlap_s": 0}).json()["previous"] is None


def test_only_who_has_the_scope_of_this_organization_gets_at_it(desk: Stack, client: httpx.Client, customer: Customer) -> None:
    path = f"/v1/webhooks/{create(client)['id']}"
    trigger = client.post(f"{path}/trigger", json={"event": "job.failed"}).json()["id"]
    with contextlib.closing(manage(desk, desk.customer(), READ, WRITE)) as stranger:
        for method, url in (
            ("GET", path), ("DELETE", path), ("GET", f"{path}/secret"), ("POST", f"{path}/rotate"), ("GET", f"{path}/deliveries"),
            ("GET", f"/v1/webhook-deliveries/{trigger}"), ("POST", f"/v1/webhook-deliveries/{trigger}/resend"),
        ):  # fmt: skip
            assert stranger.request(method, url, json={} if url.endswith("rotate") else None).status_code == 404, (method, url)
        assert stranger.get("/v1/webhooks").json()["data"] == []
    with contextlib.closing(manage(desk, customer, READ)) as reader:
        assert reader.get(path).status_code == 200
        assert reader.get(f"{path}/secret").status_code == 403
        assert reader.delete(path).status_code == 403
    assert httpx.get(f"{desk.base_url}{path}", headers=customer.bearer).status_code == 403


def test_what_was_done_is_in_the_trail_and_no_secret_is(desk: Stack, client: httpx.Client, customer: Customer) -> None:
    path = f"/v1/webhooks/{create(client)['id']}"
    secrets = [client.get(f"{path}/secret").json()["secret"], client.post(f"{path}/rotate", json={}).json()["secret"]]
    client.delete(path)

    async def trail(conn: Conn) -> list[tuple[str, str]]:
        rows = await conn.fetch(
            "SELECT action, t::text AS whole FROM gateway.audit_entry t WHERE org_id = $1 ORDER BY position", customer.org_id
        )
        return [(row["action"], row["whole"]) for row in rows]

    entries = desk.database(trail)
    assert [name for name, _ in entries] == ["webhook.create", "webhook_secret.rotate", "webhook.delete"]
    assert not [secret for secret in secrets for _, whole in entries if secret in whole]


def test_a_listener_waits_fetches_and_tells_what_became_of_it(desk: Stack, client: httpx.Client, customer: Customer) -> None:
    made = client.post("/v1/webhooks", json={"events": ["job.queued"]}).json()
    assert (made["kind"], made["url"]) == ("listener", None)
    path = f"/v1/webhooks/{made['id']}"
    waiting = f"{path}/deliveries?state=waiting"
    assert client.get(waiting).json()["data"] == []
    job = order(desk, customer)
    post_all(desk)
    (one,) = client.get(f"{waiting}&wait=20").json()["data"]
    assert (one["event"], one["job_id"], one["state"]) == ("job.queued", job, "waiting")
    detail = client.get(f"/v1/webhook-deliveries/{one['id']}").json()
    told = Webhook(client.get(f"{path}/secret").json()["secret"]).verify(detail["body"], detail["headers"])
    assert (told["type"], told["data"]["id"], detail["headers"]["webhook-id"]) == ("job.queued", job, one["id"])
    outcome = client.post(f"/v1/webhook-deliveries/{one['id']}/outcome", json={"status": 200, "took_ms": 12})
    assert (outcome.json()["state"], outcome.json()["tries"]) == ("delivered", 1)
    assert client.get(waiting).json()["data"] == []
    assert client.get(f"/v1/webhook-deliveries/{one['id']}").json()["tries"][0]["took_ms"] == 12


def test_an_event_is_tried_out_and_sent_again(client: httpx.Client) -> None:
    path = f"/v1/webhooks/{create(client, events=['job.succeeded'])['id']}"
    posted = client.post(f"{path}/trigger", json={"event": "wallet.runs_dry"})
    assert posted.status_code == 202
    detail = client.get(f"/v1/webhook-deliveries/{posted.json()['id']}").json()
    assert '"sample":true' in detail["body"]
    again = client.post(f"/v1/webhook-deliveries/{posted.json()['id']}/resend")
    assert (again.status_code, again.json()["state"]) == (202, "waiting")
    outcome = client.post(f"/v1/webhook-deliveries/{posted.json()['id']}/outcome", json={"status": 200, "took_ms": 1})
    assert (outcome.status_code, outcome.json()["param"]) == (400, "message_id")
    sdk = f"/v1/webhooks/{create(client, form='openai')['id']}"
    assert client.post(f"{sdk}/trigger", json={"event": "job.queued"}).json()["param"] == "event"
    done = client.post(f"{sdk}/trigger", json={"event": "job.expired"}).json()
    assert '"video.failed"' in client.get(f"/v1/webhook-deliveries/{done['id']}").json()["body"]


@pytest.mark.parametrize("url", ["http://example.com/", "https://10.0.0.1/", "https://user@example.com/", "ftp://example.com/"])
def test_a_callback_into_our_own_network_is_refused(desk: Stack, customer: Customer, url: str) -> None:
    body = {"model": "testcard", "prompt": "x", "callback_url": url}
    answer = httpx.post(f"{desk.base_url}/v1/jobs", headers=customer.bearer, json=body)
    assert (answer.status_code, answer.json()["param"]) == (400, "callback_url")
    assert desk.job_count(customer) == 0


def test_callbacks_have_a_log_and_a_secret_of_the_organization(desk: Stack, client: httpx.Client, customer: Customer) -> None:
    job = order(desk, customer, callback_url="https://example.com/done")
    post_all(desk)
    (one,) = client.get("/v1/webhooks/callbacks_live/deliveries").json()["data"]
    assert (one["job_id"], one["url"], one["event"]) == (job, "https://example.com/done", "job.queued")
    assert client.get("/v1/webhooks/callbacks_live/secret").json()["secret"].startswith("whsec_")
    assert client.get("/v1/webhooks/callbacks_test/deliveries").json()["data"] == []
    assert client.delete("/v1/webhooks/callbacks_live").json()["param"] == "webhook_id"


def test_a_gateway_without_a_secret_for_webhooks_says_so(dsn: str, tmp_path: Path) -> None:
    with running_stack(dsn, tmp_path, replicas=0, roles=("api",), webhook_secret=Secret()) as stack:
        customer = stack.customer()
        with contextlib.closing(manage(stack, customer, READ, WRITE)) as client:
            for method in ("GET", "POST"):
                answer = client.request(method, "/v1/webhooks", json=HOOK)
                assert (answer.status_code, answer.json()["code"]) == (501, "webhooks_off")
        body = {"model": "testcard", "prompt": "x", "callback_url": HOOK["url"]}
        answer = httpx.post(f"{stack.base_url}/v1/jobs", headers=customer.bearer, json=body)
        assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (400, "unsupported_field", "callback_url")


@pytest.mark.parametrize(
    "query,param", [("state=lost", "state"), ("wait=31", "wait"), ("limit=0", "limit"), ("since=1", "since")]
)
def test_a_wrong_question_is_named(client: httpx.Client, query: str, param: str) -> None:
    answer = client.get(f"/v1/webhooks/{create(client)['id']}/deliveries?{query}")
    assert (answer.status_code, answer.json()["param"]) == (400, param)
