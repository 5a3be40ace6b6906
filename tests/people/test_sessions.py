"""Sessions: bound to their page, of one's own, ended everywhere, and counted exactly where somebody only tries."""

import asyncio
from pathlib import Path

import httpx
import pytest

from billing.kit.query import Conn, Pool
from gateway.access.keys import issue_key, issue_management_key
from gateway.access.members import change_role, list_members, remove_member
from gateway.access.scopes import ROLES
from gateway.errors import SignInPaused
from gateway.people.forget import forget_sign_ins
from gateway.people.model import of_account, of_network, pause_s
from gateway.people.pace import claim_attempt
from tests.people.conftest import PASSWORD, Site, opened
from tests.stack import bearer


async def test_only_a_page_of_ours_changes_anything(site: Site) -> None:
    ann = await site.person(await site.organization(), "ann@example.com")
    ours, evil = {"origin": ann.origin}, {"origin": "https://evil.example"}
    token = {"x-csrf-token": ann.csrf}
    cases: list[tuple[dict[str, str], int]] = [
        ({**ours, **token}, 201),
        ({**ours, **token, "sec-fetch-site": "same-origin"}, 201),
        ({**token, "sec-fetch-site": "same-origin"}, 201),
        (ours, 403),
        ({**ours, "x-csrf-token": ann.csrf[:-1]}, 403),
        ({**ours, "x-csrf-token": "é"}, 403),
        (token, 403),
        ({**evil, **token}, 403),
        ({"origin": "null", **token}, 403),
        ({"origin": ann.origin + ".evil.example", **token}, 403),
        ({**ours, **token, "sec-fetch-site": "cross-site"}, 403),
        ({**ours, **token, "sec-fetch-site": "same-site"}, 403),
        ({**token, "sec-fetch-site": "none"}, 403),
    ]
    for n, (headers, status) in enumerate(cases):
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        answer = await ann.client.post("/v1/projects", json={"name": f"p{n}"}, headers=encoded)
        assert answer.status_code == status, (headers, answer.text)
        assert status == 201 or answer.json()["code"] == "cross_site_refused"
    for headers in ({}, evil, {"sec-fetch-site": "cross-site"}):
        body = {"email": "ann@example.com", "password": PASSWORD}
        assert (await ann.client.post("/v1/sign-in", json=body, headers=headers)).json()["code"] == "cross_site_refused"
    assert (await ann.client.get("/v1/projects")).status_code == 200


async def test_a_key_beside_a_cookie_speaks_alone(site: Site) -> None:
    org_id, other = await site.organization(), await site.organization()
    ann = await site.person(org_id, "ann@example.com")

    async def keys(conn: Conn) -> tuple[str, str]:
        _, key = await issue_management_key(conn, other, name="terraform", scopes=ROLES["viewer"])
        return key, (await issue_key(conn, other, name="live", livemode=True))[1]

    key, live = await site.within(keys)
    assert (await ann.client.get("/v1/organization", headers=bearer(key))).json()["id"] == str(other)
    refused = await ann.client.post("/v1/projects", json={"name": "x"}, headers=bearer(key))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await ann.client.get("/v1/organization", headers=bearer(live))).status_code == 403
    assert (await ann.client.get("/v1/organization", headers=bearer("nonsense"))).json()["code"] == "invalid_api_key"
    assert (await ann.client.get("/v1/session", headers=bearer(key))).status_code == 401
    assert (await ann.client.get("/v1/usage?month=2026-01", headers=bearer(live))).status_code == 200


async def test_cookies(site: Site) -> None:
    org_id = await site.organization()
    ann = await site.browser(origin="https://tally.example")
    token = await site.invitation(org_id, "ann@example.com")
    planted = "tl_session_" + "0" * 64
    ann.client.cookies.set("__Host-tallylight", planted, domain="tally.example")
    answer = await ann.post("/v1/invitations/accept", {"token": token, "password": PASSWORD})
    name, *flags = answer.headers["set-cookie"].split("; ")
    assert set(flags) == {"Path=/", "Max-Age=86400", "HttpOnly", "SameSite=Lax", "Secure"}
    assert name.startswith("__Host-tallylight=tl_session_") and planted not in name
    ann.client.cookies.clear()
    ann.client.headers["cookie"] = f"a=b;; bad cookie; {name.replace('__Host-', '')}; x"
    assert (await ann.get("/v1/session")).status_code == 401
    ann.client.headers["cookie"] = f"a=b;; bad cookie; {name}; x"
    assert (await ann.get("/v1/session")).json()["stage"] == "password"
    remote = await site.browser(origin="http://tally.example")
    refused = await remote.sign_in("ann@example.com")
    assert refused.status_code == 403 and "https" in refused.json()["detail"]


async def test_roles_and_removal_end_sessions_and_organizations_are_named(site: Site) -> None:
    one, two = await site.organization(), await site.organization()
    ann, ben = await site.person(one, "ann@example.com"), await site.person(one, "ben@example.com", "admin")
    assert (
        await ann.post("/v1/invitations/accept", {"token": await site.invitation(two, "ann@example.com", "viewer")})
    ).status_code == 200
    several = await ann.get("/v1/projects")
    assert several.status_code == 400 and str(one) in several.json()["detail"]
    for org_id, status in ((str(one), 201), (str(two), 403), (str(ann.pool.__hash__()), 400)):
        answer = await ann.post("/v1/projects", {"name": "x"}, headers={"tallylight-organization": org_id})
        assert answer.status_code == status, answer.text
    assert (await ben.get("/v1/projects", headers={"tallylight-organization": str(two)})).status_code == 403

    members = {one["email"]: one["id"] for one in (await ben.get("/v1/members")).json()["data"]}
    assert len((await ben.get(f"/v1/members/{members['ann@example.com']}/sessions")).json()["data"]) == 1
    assert (await ben.delete(f"/v1/members/{members['ann@example.com']}/sessions")).status_code == 403  # she is an owner
    assert (
        await ann.delete(f"/v1/members/{members['ben@example.com']}/sessions", headers={"tallylight-organization": str(one)})
    ).status_code == 204
    assert (await ben.get("/v1/session")).status_code == 401

    await ben.come_back("ben@example.com")
    before = ben.client.cookies["tallylight"]

    async def demote(conn: Conn) -> None:
        (member,) = [found for found in await list_members(conn, one, limit=9) if found.email == "ben@example.com"]
        await change_role(conn, one, member, "viewer")

    await site.within(demote)
    assert (await ben.get("/v1/session")).status_code == 401
    await ben.come_back("ben@example.com")
    assert ben.client.cookies["tallylight"] != before and (await ben.get("/v1/members")).status_code == 200

    async def remove(conn: Conn) -> None:
        (member,) = [found for found in await list_members(conn, one, limit=9) if found.email == "ben@example.com"]
        await remove_member(conn, one, member)

    await site.within(remove)
    assert (await ben.get("/v1/members")).status_code == 401
    await ben.come_back("ben@example.com")
    assert (await ben.get("/v1/members")).status_code == 403


async def test_an_invitation_gives_no_more_than_its_giver_has(site: Site) -> None:
    org_id = await site.organization()
    owner, admin = await site.person(org_id, "ann@example.com"), await site.person(org_id, "ben@example.com", "admin")
    refused = await admin.post("/v1/invitations", {"email": "carl@example.com", "role": "owner"})
    assert refused.status_code == 403
    invited = (await admin.post("/v1/invitations", {"email": "Carl@example.com", "role": "viewer"})).json()
    assert (invited["email"], invited["state"], invited["invited_by"]) == ("carl@example.com", "open", "ben@example.com")
    assert "token" not in (await admin.get("/v1/invitations")).json()["data"][0]
    newer = (await admin.post("/v1/invitations", {"email": "carl@example.com", "role": "viewer"})).json()
    carl = await site.browser()
    refused = await carl.post("/v1/invitations/accept", {"token": invited["token"], "password": PASSWORD})
    assert (refused.status_code, refused.json()["code"]) == (403, "sign_in_refused")
    # Somebody else writes the address down as an owner: who invited a viewer must not come in as that.
    added = (await owner.post("/v1/members", {"email": "carl@example.com", "role": "owner"})).json()
    refused = await carl.post("/v1/invitations/accept", {"token": newer["token"], "password": PASSWORD})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert (await admin.post("/v1/invitations", {"email": "carl@example.com", "role": "viewer"})).status_code == 409
    assert (await owner.delete(f"/v1/members/{added['id']}", headers={"if-match": "*"})).status_code == 204
    revoked = await admin.post(f"/v1/invitations/{newer['id']}/revoke")
    assert revoked.json()["state"] == "revoked" and (await admin.post(f"/v1/invitations/{newer['id']}/revoke")).status_code == 200
    assert (await carl.post("/v1/invitations/accept", {"token": newer["token"], "password": PASSWORD})).status_code == 403
    late = await site.invitation(org_id, "carl@example.com", "viewer")
    refused = await owner.post("/v1/invitations/accept", {"token": late})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    await site.later(7 * 86400 + 1)
    assert (await carl.post("/v1/invitations/accept", {"token": late, "password": PASSWORD})).status_code == 403


async def test_attempts_are_counted_exactly_by_any_number_of_processes(site: Site, dsn: str, pool: Pool, tmp_path: Path) -> None:
    ann = await site.person(await site.organization(), "ann@example.com")
    async with opened(dsn, pool, tmp_path) as another:
        browsers = [await one.browser(peer=f"10.0.0.{n}") for n, one in enumerate([site, another] * 10)]
        answers = await asyncio.gather(*(one.sign_in("ann@example.com", "not this one") for one in browsers))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {403, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["code"] == "sign_in_paused" and int(answer.headers["retry-after"]) >= 1
    async with pool.acquire() as conn:
        counted = await conn.fetchval(
            "SELECT failures FROM gateway.sign_in_pace WHERE subject = $1", of_account("ann@example.com")
        )
    assert counted == statuses.count(403) >= 5
    assert (await ann.post("/v1/projects", {"name": "x"})).status_code == 201  # whoever is in notices nothing
    await site.later(900)
    await ann.come_back("ann@example.com")
    async with pool.acquire() as conn:
        assert (
            await conn.fetchval("SELECT count(*) FROM gateway.sign_in_pace WHERE subject = $1", of_account("ann@example.com"))
            == 0
        )
        assert await conn.fetchval("SELECT failures FROM gateway.sign_in_pace WHERE subject = $1", of_network("127.0.0.1")) == 0


async def test_waits_grow_to_a_bound(database: Conn) -> None:
    subject, waits = of_account("ann@example.com"), list[int]()
    for _ in range(18):
        await claim_attempt(database, {subject: 5})
        try:
            await claim_attempt(database, {subject: 5})
        except SignInPaused as paused:
            waits.append(paused.retry_after_s or 0)
            await database.execute("UPDATE gateway.sign_in_pace SET open_at = billing.now()")
    assert waits[:1] == [1] and waits == sorted(waits) and waits[-1] == 900
    assert [pause_s(n, 5) for n in (0, 4, 5, 6, 14, 15, 10_000)] == [0, 0, 1, 2, 512, 900, 900]
    assert of_network("2001:db8::1") == of_network("2001:db8::ffff") != of_network("2001:db8:0:1::1") and of_network(
        ""
    ) != of_network("1.1.1.1")


async def test_the_clerk_forgets_what_is_over(site: Site) -> None:
    org_id = await site.organization()
    await site.person(org_id, "ann@example.com")
    await (await site.browser()).sign_in("ben@example.com")
    await site.invitation(org_id, "carl@example.com")
    assert await site.within(forget_sign_ins) == 0
    await site.later(3601)
    assert await site.within(forget_sign_ins) == 1
    await site.later(38 * 86400)
    assert await site.within(forget_sign_ins) == 4
    assert await site.within(forget_sign_ins) == 0


async def test_a_gateway_without_the_secret_lets_nobody_in(dsn: str, pool: Pool, tmp_path: Path) -> None:
    async with opened(dsn, pool, tmp_path, secret="") as site:
        browser = await site.browser()
        answers: list[httpx.Response] = [await browser.sign_in("ann@example.com"), await browser.get("/v1/session")]
        assert [(one.status_code, one.json()["code"]) for one in answers] == [(501, "sign_in_off")] * 2


@pytest.mark.parametrize("hours,used,status", [(0.9, False, 200), (1.1, False, 401), (23.9, True, 200), (24.1, True, 401)])
async def test_a_session_ends_unused_or_old(site: Site, hours: float, used: bool, status: int) -> None:
    ann = await site.person(await site.organization(), "ann@example.com")
    gone = 0.0
    while used and gone + 0.9 < hours:
        await site.later(3240)
        gone += 0.9
        await ann.get("/v1/session")
    await site.later(round((hours - gone) * 3600))
    assert (await ann.get("/v1/session")).status_code == status
