"""From an invitation to a session, and out again."""

from typing import Any

import msgspec

from gateway.audit.model import PLATFORM, Entry
from gateway.audit.read import Sought, entries_after
from tests.api.test_canary import everything
from tests.people.conftest import PASSWORD, Site


async def trail(site: Site, org_id: Any) -> list[Entry]:
    return await site.within(lambda conn: entries_after(conn, org_id, 0, Sought(), limit=1000))


async def test_somebody_comes_in_goes_and_comes_back(site: Site) -> None:
    org_id = await site.organization()
    browser, token = await site.browser(), await site.invitation(org_id, "Ann@Example.com", "admin")
    fresh = await browser.post("/v1/invitations/accept", {"token": token, "password": PASSWORD})
    assert (fresh.status_code, fresh.json()["stage"], fresh.json()["memberships"]) == (200, "password", [])
    refused = await browser.get("/v1/projects")
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")
    half = browser.client.cookies["tallylight"]
    await browser.enrol()
    assert browser.client.cookies["tallylight"] != half and len(browser.recovery_codes) == 10
    who = (await browser.get("/v1/session")).json()
    assert (who["email"], who["stage"], who["memberships"][0]["role"]) == ("ann@example.com", "full", "admin")
    assert (await browser.get("/v1/projects")).json()["data"][0]["name"] == "default"
    assert (await browser.post("/v1/projects", {"name": "film"})).status_code == 201
    assert (await browser.get("/v1/usage?month=2026-01")).status_code == 200
    refused = await browser.call("PATCH", "/v1/organization", json={"name": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden") and "ann@example.com" in refused.json()["detail"]
    assert (await browser.delete("/v1/session")).status_code == 204
    assert (await browser.get("/v1/projects")).status_code == 401

    again = await browser.sign_in("ANN@example.com")
    assert again.json()["stage"] == "password"
    assert (await browser.post("/v1/sign-in/enrolment")).status_code == 409
    replayed = await browser.post("/v1/sign-in/code", {"code": await browser.code()})
    assert (replayed.status_code, replayed.json()["code"]) == (403, "sign_in_refused")
    await site.later(60)
    assert (await browser.post("/v1/sign-in/code", {"code": await browser.code()})).json()["stage"] == "full"

    entries = await trail(site, org_id)
    assert [(one.action, one.refused) for one in entries] == [
        ("invitation.accept", None), ("session.begin", None), ("second_factor.enrol", None), ("session.begin", None),
        ("second_factor.confirm", None), ("project.create", None), ("organization.change", "forbidden"), ("session.end", None),
        ("session.begin", None), ("session.begin", "sign_in_refused"), ("session.begin", None),
    ]  # fmt: skip
    actors = {msgspec.json.decode(one.actor)["name"] for one in entries}
    assert actors == {"ann@example.com"} and {one.address for one in entries} == {"127.0.0.1"}
    kept = await site.within(everything)
    for secret in (
        token,
        half,
        browser.secret,
        PASSWORD,
        browser.csrf,
        *browser.recovery_codes,
        browser.client.cookies["tallylight"],
    ):
        assert secret not in kept


async def test_what_is_refused_at_the_door(site: Site) -> None:
    org_id = await site.organization()
    browser = await site.person(org_id, "ann@example.com")
    other = await site.browser()
    wrong, unknown = await other.sign_in("ann@example.com", "no password"), await other.sign_in("ben@example.com", "no password")
    assert wrong.status_code == unknown.status_code == 403 and wrong.content == unknown.content
    assert [one.refused for one in await trail(site, org_id)][-1] == "sign_in_refused"
    (stranger,) = await trail(site, PLATFORM)
    assert (stranger.refused, msgspec.json.decode(stranger.actor)["kind"]) == ("sign_in_refused", "stranger")
    assert "ben@" not in str(stranger)
    bodies: list[tuple[str, dict[str, Any], int]] = [
        ("/v1/sign-in", {"email": "ann@example.com", "password": ""}, 400),
        ("/v1/sign-in", {"email": "ann", "password": PASSWORD}, 400),
        ("/v1/sign-in", {"email": "ann@example.com", "password": "x" * 257}, 400),
        ("/v1/sign-in", {"email": "ann@example.com", "password": "a\u0000b"}, 400),
        ("/v1/invitations/accept", {"token": "tl_invite_0", "password": PASSWORD}, 403),
        ("/v1/invitations/accept", {"token": "tl_invite_0", "password": "short"}, 400),
        ("/v1/invitations/accept", {"token": "tl_invite_0"}, 400),
        ("/v1/sign-in/password", {"token": "tl_reset_0", "password": PASSWORD}, 403),
    ]
    for path, body, status in bodies:
        assert (await other.post(path, body)).status_code == status, (path, body)
    token = await site.invitation(org_id, "carl.carlsson@example.com")
    own = await other.post("/v1/invitations/accept", {"token": token, "password": "Carl.Carlsson@example.com"})
    assert (own.status_code, own.json()["code"]) == (400, "invalid_request")
    for code in ("000000", "abcdef", "A" * 64):
        (await other.sign_in("ann@example.com")).raise_for_status()
        assert (await other.post("/v1/sign-in/code", {"code": code})).status_code == 403
    assert (await browser.get("/v1/projects")).status_code == 200


async def test_a_recovery_code_stands_for_one_code(site: Site) -> None:
    browser = await site.person(await site.organization(), "ann@example.com")
    code = browser.recovery_codes[0]
    (await browser.sign_in("ann@example.com")).raise_for_status()
    assert (await browser.post("/v1/sign-in/code", {"code": code.lower()})).json()["stage"] == "full"
    (await browser.sign_in("ann@example.com")).raise_for_status()
    assert (await browser.post("/v1/sign-in/code", {"code": code})).status_code == 403


async def test_another_password_and_another_authenticator(site: Site) -> None:
    browser = await site.person(await site.organization(), "ann@example.com")
    elsewhere = await site.browser()
    elsewhere.recovery_codes = browser.recovery_codes
    await elsewhere.come_back("ann@example.com")
    wrong = await browser.post("/v1/session/password", {"current": "not this one", "password": "another one, longer"})
    assert wrong.status_code == 403
    changed = await browser.post("/v1/session/password", {"current": PASSWORD, "password": "another one, longer"})
    assert changed.json()["stage"] == "full"
    assert (await elsewhere.get("/v1/session")).status_code == 401 and (await browser.get("/v1/session")).status_code == 200
    assert (await elsewhere.sign_in("ann@example.com")).status_code == 403

    replaced = await browser.post("/v1/session/second-factor", {"code": browser.recovery_codes.pop()})
    assert replaced.json()["stage"] == "password"
    old = browser.recovery_codes[0]
    await browser.enrol()
    (await browser.sign_in("ann@example.com", "another one, longer")).raise_for_status()
    assert (await browser.post("/v1/sign-in/code", {"code": old})).status_code == 403
    assert (await browser.post("/v1/sign-in/code", {"code": browser.recovery_codes[0]})).status_code == 200
