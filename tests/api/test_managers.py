"""Who may manage: classes of keys, scopes, and the manners of every change."""

import httpx

from billing.kit.query import Conn
from gateway.access.keys import issue_management_key
from gateway.access.revoke import revoke_key
from gateway.access.scopes import ROLES, Role, Scope
from tests.stack import Customer, Stack, bearer


def manage(desk: Stack, customer: Customer, *scopes: Scope, role: Role | None = None) -> httpx.Client:
    """A client with a management key of these scopes."""

    async def issue(conn: Conn) -> str:
        granted = ROLES[role] if role else frozenset(scopes)
        return (await issue_management_key(conn, customer.org_id, name="terraform", scopes=granted))[1]

    return httpx.Client(base_url=desk.base_url, headers=bearer(desk.database(issue)), trust_env=False, timeout=30)


def test_a_key_of_the_other_kind_is_told_so(desk: Stack) -> None:
    customer = desk.customer()
    refused = httpx.get(f"{desk.base_url}/v1/organization", headers=customer.bearer)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden") and "tl_mgmt_" in refused.json()["detail"]
    with manage(desk, customer, role="owner") as client:
        refused = client.post("/v1/jobs", json={"model": "testcard", "prompt": "a lamp", "seconds": 1})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden") and "tl_live_" in refused.json()["detail"]
        assert desk.job_count(customer) == 0


def test_a_missing_scope_is_named_with_who_has_it(desk: Stack) -> None:
    with manage(desk, desk.customer(), "organization:read") as client:
        found = client.get("/v1/organization")
        assert found.status_code == 200
        refused = client.patch("/v1/organization", json={"name": "x"}, headers={"if-match": found.headers["etag"]})
        assert refused.status_code == 403
        for word in ("organization:write", "owner", "terraform", "organization:read"):
            assert word in refused.json()["detail"]


def test_unknown_and_revoked_get_the_same_answer(desk: Stack) -> None:
    customer = desk.customer()

    async def issue_and_revoke(conn: Conn) -> str:
        key_id, token = await issue_management_key(conn, customer.org_id, name="gone", scopes=ROLES["owner"])
        await revoke_key(conn, customer.org_id, key_id)
        return token

    gone = desk.database(issue_and_revoke)
    unknown = gone[:-7] + ("A" if gone[-7] != "A" else "B") + gone[-6:]
    answers = [httpx.get(f"{desk.base_url}/v1/organization", headers=bearer(token)) for token in (gone, unknown, "nonsense")]
    assert {answer.status_code for answer in answers} == {401} and len({answer.content for answer in answers}) == 1


def test_a_change_says_what_it_has_read(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="owner") as client:
        read = client.get("/v1/organization")
        tag, change = read.headers["etag"], {"name": read.json()["name"] + " Ltd"}
        assert client.patch("/v1/organization", json=change).status_code == 428
        changed = client.patch("/v1/organization", json=change, headers={"if-match": tag})
        assert changed.json()["name"] == change["name"] and changed.headers["etag"] != tag
        stale = client.patch("/v1/organization", json={"name": "y"}, headers={"if-match": tag})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
        assert client.patch("/v1/organization", json={}, headers={"if-match": "*"}).headers["etag"] == changed.headers["etag"]
        assert client.get("/v1/organization").json() == changed.json()


def test_projects(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="admin") as client:
        made = [client.post("/v1/projects", json={"name": f"p{n}"}).json() for n in range(3)]
        assert client.post("/v1/projects", json={"name": "p0"}).status_code == 409
        first = client.get("/v1/projects", params={"limit": 2}).json()
        rest = client.get("/v1/projects", params={"limit": 2, "cursor": first["next_cursor"]}).json()
        assert [p["name"] for p in first["data"] + rest["data"]] == ["p2", "p1", "p0", "default"] and not rest["has_more"]
        path = f"/v1/projects/{made[0]['id']}"
        assert client.patch(path, json={"name": "p1"}, headers={"if-match": "*"}).status_code == 409
        kept = client.patch(path, json={"prompt_days": 0}, headers={"if-match": "*"}).raise_for_status().json()
        assert (kept["prompt_days"], made[0]["prompt_days"]) == (0, 30)
        archived = client.patch(path, json={"archived": True}, headers={"if-match": client.get(path).headers["etag"]})
        assert archived.json()["archived_at"] is not None
        assert client.patch(path, json={"archived": False}, headers={"if-match": "*"}).json()["archived_at"] is None


def test_archiving_a_project_revokes_its_keys(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="admin") as client:
        (project,) = client.get("/v1/projects").json()["data"]
        client.patch(f"/v1/projects/{project['id']}", json={"archived": True}, headers={"if-match": "*"}).raise_for_status()
        desk.wait(
            lambda: httpx.get(f"{desk.base_url}/v1/jobs", headers=customer.bearer).status_code == 401,
            "the key is dead",
            within_s=5,
        )


def test_another_organization_is_not_there(desk: Stack) -> None:
    mine, other = desk.customer(), desk.customer()
    with manage(desk, mine, role="owner") as client, manage(desk, other, role="owner") as stranger:
        project = client.get("/v1/projects").json()["data"][0]["id"]
        path = f"/v1/projects/{project}"
        assert client.get(path).status_code == 200
        refused = stranger.get(path), stranger.patch(path, json={"archived": True}, headers={"if-match": "*"})
        assert {answer.status_code for answer in refused} == {404}
        assert client.get(path).json()["archived_at"] is None


def test_managers_read_the_books_with_the_scope_for_it(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, "usage:read") as client:
        assert client.get("/v1/usage", params={"month": "2026-01"}).status_code == 200
        assert client.get("/v1/statement", params={"month": "2026-01"}).status_code == 200
        assert client.get("/v1/invoices").status_code == 403
    with manage(desk, customer, role="billing") as client:
        assert client.get("/v1/invoices").json()["data"] == []
        assert client.get("/v1/events").status_code == 200
    assert httpx.get(f"{desk.base_url}/v1/usage?month=2026-01", headers=customer.bearer).status_code == 200
