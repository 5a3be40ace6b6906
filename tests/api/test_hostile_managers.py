"""Bad input to the management API: always a 4xx that says why, never a 5xx, and nothing is changed."""

from typing import Any

import httpx
import pytest

from gateway.access.scopes import SCOPES
from tests.api.test_managers import manage
from tests.stack import Customer, Stack

NOWHERE = "00000000-0000-0000-0000-000000000000"
JSON = {"content-type": "application/json"}
IDS = ("x", NOWHERE, NOWHERE.replace("-", ""), "%00", "..%2f", "{" + NOWHERE + "}", "a" * 4000, "é", "urn:uuid:" + NOWHERE)
CURSORS = ("x", "", "0" * 31, "0" * 4000, "%00", "-1", "é", NOWHERE)
BODIES: tuple[bytes, ...] = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"1e999",
    b'"x"',
    b'{"name": 5}',
    b'{"name": ""}',
    b'{"name": "\\u0000"}',
    b'{"name": "\\ud800"}',
    b'{"name": "' + b"a" * 201 + b'"}',
    b'{"name": "\xff"}',
    b'{"name": "x", "unknown": 1}',
    b'{"name": null}',
    b'{"labels": {"": "x"}, "name": "x"}',
    b'{"labels": {"a": "\\u0000"}, "name": "x"}',
    b'{"name": "x", "expires_at": "9999-12-31T23:59:59.999999-23:59"}',
    b'{"name": "x", "expires_at": "0001-01-01T00:00:00+23:59"}',
    b'{"name": "x", "prompt_days": 99999}',
    b'{"name": "x", "project_id": "\\u0000"}',
    b'{"name": "x", "restrictions": {"addresses": ["::/0", "\\u0000"]}}',
    b'{"name": "x", "restrictions": {"addresses": ["fe80::1%eth0/64"]}}',
    b'{"name": "x", "restrictions": {"models": ["\\u0000"]}}',
    b'{"overlap_s": -1}',
    b'{"overlap_s": 1e300}',
    b'{"email": "a@b.c", "role": "god"}',
    b'{"email": "' + b"a" * 300 + b'@b.c", "role": "owner"}',
    b'{"email": "\\u0130@b.c", "role": "owner"}',
    b'{"a":' * 100_000,
    b"[" * 100_000,
)


@pytest.fixture(scope="module")
def customer(desk: Stack) -> Customer:
    return desk.customer()


@pytest.fixture
def client(desk: Stack, customer: Customer) -> Any:
    with manage(desk, customer, *SCOPES) as one:
        yield one


def check(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, (answer.request.url, answer.request.content[:100], answer.text[:300])
    assert answer.headers["content-type"].startswith("application/problem+json") and answer.json()["detail"]


def tags(client: httpx.Client) -> list[tuple[str, str]]:
    """What there is, and its version."""
    pages = [client.get(f"/v1/{noun}", params={"limit": 100}).json()["data"] for noun in ("keys", "projects", "members")]
    return [(one["id"], one["etag"]) for page in pages for one in page]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_bodies(client: httpx.Client, body: bytes) -> None:
    key = client.get("/v1/keys").json()["data"][-1]["id"]
    project = client.get("/v1/projects").json()["data"][-1]["id"]
    before = tags(client)
    match = {**JSON, "if-match": "*"}
    for method, path in (
        ("POST", "/v1/keys"),
        ("PATCH", f"/v1/keys/{key}"),
        ("POST", f"/v1/keys/{key}/rotate"),
        ("POST", "/v1/members"),
        ("PATCH", f"/v1/members/{NOWHERE}"),
        ("PATCH", f"/v1/projects/{project}"),
        ("PATCH", "/v1/organization"),
        ("POST", "/v1/projects"),
    ):
        answer = client.request(method, path, content=body, headers=match)
        check(answer)
    assert tags(client) == before


@pytest.mark.parametrize("text", IDS)
def test_ids(client: httpx.Client, text: str) -> None:
    for noun in ("keys", "projects", "members"):
        check(client.get(f"/v1/{noun}/{text}"))
        check(client.patch(f"/v1/{noun}/{text}", json={"role": "viewer"} if noun == "members" else {}, headers={"if-match": "*"}))
    check(client.post(f"/v1/keys/{text}/rotate", json={}))
    check(client.post(f"/v1/keys/{text}/revoke"))
    check(client.delete(f"/v1/members/{text}", headers={"if-match": "*"}))
    check(client.post("/v1/keys", json={"name": "x", "project_id": text}))


@pytest.mark.parametrize("cursor", CURSORS)
def test_cursors_and_queries(client: httpx.Client, cursor: str) -> None:
    for noun in ("keys", "projects", "members"):
        answer = client.get(f"/v1/{noun}?cursor={cursor}")
        check(answer)
        check(client.get(f"/v1/{noun}?limit={cursor}"))
        check(client.get(f"/v1/{noun}?other={cursor}"))


@pytest.mark.parametrize("tag", ["", "x", '"', "W/*", '"999"', '"1', "**", "é", '"' * 5000])
def test_tags(client: httpx.Client, tag: str) -> None:
    answer = client.patch("/v1/organization", json={"name": "other"}, headers=[(b"if-match", tag.encode())])
    assert answer.status_code == 412, answer.text


@pytest.mark.parametrize("token", ["tl_mgmt_", "tl_mgmt_" + "é" * 20, "tl_mgmt_" + "A" * 49, "x" * 8000])
def test_tokens(desk: Stack, token: str) -> None:
    for path in ("/v1/keys", "/v1/organization", "/v1/usage", "/v1/jobs"):
        answer = httpx.get(desk.base_url + path, headers=[(b"authorization", b"Bearer " + token.encode())])
        assert answer.status_code == 401 and answer.json()["code"] == "invalid_api_key"


@pytest.mark.parametrize("body", [b"", b"{}", b"[{}]", b'[{"token": 5}]', b'[{"token": "' + b"a" * 300 + b'"}]', b"[" * 60_000, b"[" + b'{"token":"x"},' * 100 + b'{"token":"x"}]', b'"' + b"a" * 70_000 + b'"'])  # fmt: skip
def test_reports_of_leaks(desk: Stack, body: bytes) -> None:
    check(httpx.post(f"{desk.base_url}/v1/leaked-keys", content=body, headers=JSON))
