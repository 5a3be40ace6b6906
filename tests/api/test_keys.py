"""Keys over the management API: what they carry, how they change, rotate and end."""

from typing import Any

import httpx
import pytest

from gateway.access.model import new_token
from tests.api.test_managers import manage
from tests.stack import Stack, bearer

ANY = {"if-match": "*"}


def works(desk: Stack, token: str) -> bool:
    """Whether an inference key is taken; asked without Authenticator's memory of it being of age."""
    return httpx.get(f"{desk.base_url}/v1/jobs", headers=bearer(token)).status_code == 200


def soon_dead(desk: Stack, token: str) -> None:
    desk.wait(lambda: not works(desk, token), "the key is dead", within_s=5)


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    return client.post("/v1/keys", json={"name": "ci", **fields}).raise_for_status().json()


def test_a_key_is_shown_once_and_carries_what_was_said(desk: Stack) -> None:
    said = {
        "name": "render farm",
        "lenient": True,
        "labels": {"team": "film"},
        "end_user": "u-1",
        "restrictions": {"models": ["testcard"], "tier_max": "standard", "seconds_max": 5, "addresses": ["127.0.0.0/8"]},
        "expires_at": "2100-01-01T00:00:00Z",
    }
    with manage(desk, desk.customer(), role="developer") as client:
        made = client.post("/v1/keys", json=said)
        assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
        body = made.json()
        token = body.pop("key")
        assert token.startswith("tl_live_") and works(desk, token)
        read = client.get(f"/v1/keys/{body['id']}")
        assert {name: read.json()[name] for name in said} == said and read.json()["state"] == "valid"
        listed = client.get("/v1/keys", params={"kind": "inference", "limit": 1}).json()
        assert listed["data"][0]["id"] == body["id"] and token not in read.text + str(listed)
        assert client.get("/v1/keys", params={"project_id": body["project_id"]}).json()["data"][0]["id"] == body["id"]


def test_a_patch_leaves_unsets_and_merges(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="developer") as client:
        made = create(
            client, labels={"team": "film", "site": "x"}, end_user="u", restrictions={"seconds_max": 5, "tier_max": "flex"}
        )
        path = f"/v1/keys/{made['id']}"

        def change(**fields: Any) -> dict[str, Any]:
            return client.patch(path, json=fields, headers=ANY).raise_for_status().json()

        assert change(labels={"site": None, "shot": "7"})["labels"] == {"team": "film", "shot": "7"}
        assert change(restrictions={"tier_max": None})["restrictions"] == {"seconds_max": 5}
        assert change(end_user=None)["end_user"] is None
        last = change(restrictions=None, labels=None)
        assert (last["restrictions"], last["labels"], last["name"]) == ({}, {}, "ci")
        tag = client.get(path).headers["etag"]
        assert client.patch(path, json={"name": "ci"}, headers={"if-match": tag}).headers["etag"] == tag
        as_merge = {"content-type": "application/merge-patch+json", "if-match": tag}
        assert client.patch(path, content=b'{"name":"cd"}', headers=as_merge).json()["name"] == "cd"
        assert client.patch(path, json={"name": "x"}, headers={"if-match": tag}).status_code == 412
        assert client.patch(path, json={"name": "x"}).status_code == 428


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"restrictions": {"models": ["nope"]}}, "restrictions.models"),
        ({"restrictions": {"models": []}}, "restrictions.models"),
        ({"restrictions": {"addresses": ["10.0.0.1/8"]}}, "restrictions.addresses"),
        ({"restrictions": {"addresses": ["localhost"]}}, "restrictions.addresses"),
        ({"restrictions": {"seconds_max": 0}}, "restrictions.seconds_max"),
        ({"restrictions": {"tier_max": "fast"}}, "restrictions.tier_max"),
        ({"restrictions": {"colour": 1}}, "restrictions.colour"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"),
        ({"name": " x"}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"labels": {"a": "\x00"}}, "labels[...]"),
        ({"labels": {str(n): "x" for n in range(9)}}, "labels"),
        ({"scopes": ["keys:read"]}, "scopes"),
        ({"kind": "management"}, "scopes"),
        ({"kind": "management", "scopes": ["keys:everything"]}, "scopes[0]"),
        ({"kind": "management", "scopes": ["keys:read"], "lenient": True}, None),
    ],
)
def test_what_no_key_can_be(desk: Stack, fields: dict[str, Any], param: str | None) -> None:
    with manage(desk, desk.customer(), role="owner") as client:
        refused = client.post("/v1/keys", json={"name": "ci", **fields})
        assert refused.status_code == 400 and refused.json().get("param") == param, refused.text
        assert len(client.get("/v1/keys").json()["data"]) == 4  # the customer's three and the manager's


def test_rotation_keeps_the_key_and_changes_its_secret(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="developer") as client:
        made = create(client)
        path = f"/v1/keys/{made['id']}/rotate"
        second = client.post(path, json={"overlap_s": 3600}).raise_for_status().json()
        assert second["id"] == made["id"] and second["previous_works_until"] is not None
        assert works(desk, second["key"])
        third = client.post(path, json={"overlap_s": 0}).raise_for_status().json()
        assert works(desk, third["key"]) and third["previous_works_until"] is None
        soon_dead(desk, made["key"])
        soon_dead(desk, second["key"])
        assert client.post(path, json={"overlap_s": 31 * 86400}).status_code == 400


def test_revoking_ends_both_secrets_for_good(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="developer") as client:
        made = create(client)
        path = f"/v1/keys/{made['id']}"
        second = client.post(f"{path}/rotate", json={}).json()
        revoked = client.post(f"{path}/revoke").raise_for_status().json()
        assert (revoked["state"], revoked["revoked_because"]) == ("revoked", "asked")
        assert client.post(f"{path}/revoke").json() == revoked
        soon_dead(desk, made["key"])
        soon_dead(desk, second["key"])
        assert client.patch(path, json={"name": "x"}, headers=ANY).status_code == 409
        assert client.post(f"{path}/rotate", json={}).status_code == 409


def test_nobody_gives_or_takes_what_they_do_not_have(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="owner") as owner, manage(desk, customer, role="developer") as developer:
        strong = create(owner, kind="management", scopes=["keys:read", "billing:write"])
        path = f"/v1/keys/{strong['id']}"
        refused = [
            developer.post("/v1/keys", json={"name": "x", "kind": "management", "scopes": ["members:write"]}),
            developer.patch(path, json={"scopes": ["keys:read"]}, headers=ANY),
            developer.post(f"{path}/rotate", json={}),
        ]
        assert {answer.status_code for answer in refused} == {403}
        assert "billing:write" in refused[2].json()["detail"]
        weak = create(developer, kind="management", scopes=["keys:read"])
        read = httpx.get(f"{desk.base_url}/v1/keys", headers=bearer(weak["key"]))
        assert read.status_code == 200
        assert developer.post(f"{path}/revoke").status_code == 200  # ending one gains nothing


def test_a_management_key_may_be_tied_to_a_network(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="owner") as client:
        here = create(client, kind="management", scopes=["keys:read"], restrictions={"addresses": ["127.0.0.1"]})
        away = create(client, kind="management", scopes=["keys:read"], restrictions={"addresses": ["203.0.113.0/24"]})
        answers = [httpx.get(f"{desk.base_url}/v1/keys", headers=bearer(one["key"])) for one in (here, away)]
        assert [answer.status_code for answer in answers] == [200, 403]
        refused = answers[1].json()
        assert refused["code"] == "key_restricted" and "127.0.0.1" in refused["detail"] and "203.0.113.0/24" in refused["detail"]


def test_whoever_finds_a_key_may_end_it_and_learns_nothing(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="owner") as client:
        made, other = create(client), create(client)
        found = [made["key"], new_token(), other["key"][:-1] + ("0" if other["key"][-1] != "0" else "1"), "sk-nonsense"]
        report = [
            {"token": token, "type": "tallylight_key", "url": "https://code.example/x", "source": "content"} for token in found
        ]
        answers = [httpx.post(f"{desk.base_url}/v1/leaked-keys", json=report) for _ in range(2)]
        labels = [verdict["label"] for verdict in answers[0].raise_for_status().json()]
        assert labels == ["true_positive", "true_positive", "false_positive", "false_positive"]
        assert answers[0].content == answers[1].content and made["key"] not in answers[0].text
        revoked = client.get(f"/v1/keys/{made['id']}").json()
        assert (revoked["state"], revoked["revoked_because"]) == ("revoked", "leaked")
        assert client.get(f"/v1/keys/{other['id']}").json()["state"] == "valid"
        assert httpx.post(f"{desk.base_url}/v1/leaked-keys", json=[]).status_code == 400


def test_another_organizations_keys_are_not_there(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="owner") as client, manage(desk, desk.customer(), role="owner") as stranger:
        made = create(client)
        path = f"/v1/keys/{made['id']}"
        project = {"name": "x", "project_id": made["project_id"]}
        answers = [
            stranger.get(path),
            stranger.patch(path, json={"name": "x"}, headers=ANY),
            stranger.post(f"{path}/rotate", json={}),
            stranger.post(f"{path}/revoke"),
            stranger.post("/v1/keys", json=project),
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert stranger.get("/v1/keys", params={"project_id": made["project_id"]}).json()["data"] == []
        assert client.get(path).json()["state"] == "valid"


def test_members_and_their_roles(desk: Stack) -> None:
    customer = desk.customer()
    with manage(desk, customer, role="owner") as owner, manage(desk, customer, role="admin") as admin:
        ann = owner.post("/v1/members", json={"email": "Ann@example.com", "role": "owner"}).raise_for_status().json()
        assert ann["email"] == "ann@example.com"
        assert owner.post("/v1/members", json={"email": "ann@EXAMPLE.com", "role": "viewer"}).status_code == 409
        path = f"/v1/members/{ann['id']}"
        assert admin.patch(path, json={"role": "viewer"}, headers=ANY).status_code == 403
        assert admin.post("/v1/members", json={"email": "eve@example.com", "role": "owner"}).status_code == 403
        assert owner.patch(path, json={"role": "viewer"}, headers=ANY).status_code == 409  # the last owner
        assert owner.delete(path, headers=ANY).status_code == 409
        ben = admin.post("/v1/members", json={"email": "ben@example.com", "role": "developer"}).raise_for_status().json()
        owner.patch(f"/v1/members/{ben['id']}", json={"role": "owner"}, headers=ANY).raise_for_status()
        tag = owner.get(path).headers["etag"]
        assert owner.delete(path).status_code == 428
        assert owner.delete(path, headers={"if-match": tag}).status_code == 204
        assert owner.get(path).status_code == 404
        assert [member["email"] for member in admin.get("/v1/members").json()["data"]] == ["ben@example.com"]
        assert owner.post("/v1/members", json={"email": "no address", "role": "viewer"}).status_code == 400
