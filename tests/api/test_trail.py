"""Everything that managers do, and everything they are refused, stands in their organization's trail; no secret does."""

from typing import Any

import httpx
import msgspec

from billing.kit.query import Conn
from gateway.audit.model import Entry
from gateway.audit.read import Sought, entries_after
from tests.api.test_keys import ANY, create
from tests.api.test_managers import manage
from tests.stack import Customer, Stack


def trail(desk: Stack, customer: Customer) -> list[Entry]:
    async def read(conn: Conn) -> list[Entry]:
        return await entries_after(conn, customer.org_id, 0, Sought(), limit=1000)

    return desk.database(read)


def test_every_write_is_recorded_once_with_what_it_changed(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="owner") as client:
        client.patch("/v1/organization", json={"name": f"new {customer.org_id}"}, headers=ANY).raise_for_status()
        project = client.post("/v1/projects", json={"name": "film"}).json()["id"]
        client.patch(f"/v1/projects/{project}", json={"archived": True}, headers=ANY).raise_for_status()
        key = create(client, labels={"team": "a"})
        path = f"/v1/keys/{key['id']}"
        client.patch(path, json={"labels": {"team": "b"}}, headers=ANY).raise_for_status()
        client.patch(path, json={"labels": {"team": "b"}}, headers=ANY).raise_for_status()
        rotated = client.post(f"{path}/rotate", json={}).json()
        for _ in range(2):
            client.post(f"{path}/revoke").raise_for_status()
        members = [client.post("/v1/members", json={"email": f"{n}@example.com", "role": "owner"}).json()["id"] for n in "ab"]
        client.patch(f"/v1/members/{members[0]}", json={"role": "viewer"}, headers=ANY).raise_for_status()
        client.delete(f"/v1/members/{members[0]}", headers=ANY).raise_for_status()
        lost = create(client)
        httpx.post(f"{desk.base_url}/v1/leaked-keys", json=[{"token": lost["key"], "url": "https://code.example/x"}])
    entries = trail(desk, customer)
    assert [entry.action for entry in entries] == [
        "organization.change",
        "project.create",
        "project.change",
        "key.create",
        "key.change",
        "key.rotate",
        "key.revoke",
        "member.add",
        "member.add",
        "member.change",
        "member.remove",
        "key.create",
        "key.leaked",
    ]
    changed = entries[4]
    labels = [msgspec.json.decode(side or "")["labels"] for side in (changed.before, changed.after)]
    assert labels == [{"team": "a"}, {"team": "b"}] and changed.object_id == key["id"] and changed.address == "127.0.0.1"
    assert changed.request_id and msgspec.json.decode(changed.actor)["name"] == "terraform"
    whole = str(entries)
    for secret in (key["key"], rotated["key"], lost["key"]):
        assert secret not in whole and secret[8:40] not in whole


def test_what_was_refused_is_recorded_and_nothing_else(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="viewer") as client:
        assert client.post("/v1/projects", json={"name": "x"}).status_code == 403
        assert client.get("/v1/projects/nonsense").status_code == 404
    with manage(desk, customer, role="developer") as client:
        body: dict[str, Any] = {"name": "x", "kind": "management", "scopes": ["billing:write"]}
        assert client.post("/v1/keys", json=body).status_code == 403
        assert client.post("/v1/keys", json={}).status_code == 400
    refused = [(entry.action, entry.refused, entry.after) for entry in trail(desk, customer)]
    assert refused == [("project.create", "forbidden", None), ("key.create", "forbidden", None)]


def test_an_organization_reads_its_own_trail(desk: Stack) -> None:
    ann, ben = desk.customer(), desk.customer()
    with manage(desk, ann, role="owner") as client:
        key = create(client)
        client.post(f"/v1/keys/{key['id']}/revoke").raise_for_status()
        found = client.get("/v1/audit").raise_for_status().json()
        created, revoked = found["data"]
        assert [created["action"], revoked["action"]] == ["key.create", "key.revoke"]
        assert (created["before"], created["after"]["name"], created["refused"]) == (None, key["name"], None)
        assert found["head"] == f"{revoked['position']}:{revoked['digest']}"

        def positions(**query: str) -> list[int]:
            return [one["position"] for one in client.get("/v1/audit", params=query).raise_for_status().json()["data"]]

        assert positions(action="key.revoke") == positions(after="1") == positions(since=revoked["at"]) == [2]
        assert positions(limit="1") == positions(until=revoked["at"]) == [1]
        assert positions(object=key["id"], actor=created["actor"]["id"], outcome="done") == [1, 2]
        assert positions(outcome="refused") == positions(object="nothing") == []
        for wrong in ("after=-1", "limit=0", "outcome=x", "since=yesterday", "until=2026-01-01", "org=x"):
            assert client.get(f"/v1/audit?{wrong}").status_code == 400, wrong
    with manage(desk, ben, "audit:read") as client:
        assert client.get("/v1/audit", params={"object": key["id"]}).json()["data"] == []
    with manage(desk, ann, "keys:read") as client:
        assert client.get("/v1/audit").status_code == 403
        assert client.get("/v1/audit").status_code == 403
    with manage(desk, ann, "audit:read") as client:
        assert [one["action"] for one in client.get("/v1/audit?outcome=refused").json()["data"]] == ["audit_entries.list"] * 2
