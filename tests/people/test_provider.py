"""Signing in at the organization's own provider, which is a process on loopback: an honest one, and one that lies."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest

from billing.kit.query import Pool
from gateway.access.members import add_member
from tests.conftest import free_port
from tests.people.conftest import PASSWORD, Browser, Site, opened
from tests.people.provider import CLIENT, CLIENT_SECRET
from tests.people.test_sign_in import trail


@pytest.fixture(scope="module")
def liar() -> Iterator[str]:
    """The URL of a provider that signs everybody in at once, as whom it is told."""
    program = [sys.executable, str(Path(__file__).with_name("provider.py"))]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@pytest.fixture
async def site(dsn: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(dsn, pool, tmp_path, egress_networks=("127.0.0.0/8",)) as one:
        yield one


async def tell(liar: str, **lie: Any) -> None:
    async with httpx.AsyncClient() as client:
        (await client.post(f"{liar}/next", json=lie)).raise_for_status()


async def with_provider(
    site: Site, issuer: str, *, client_id: str = CLIENT, client_secret: str = CLIENT_SECRET
) -> tuple[UUID, Browser]:
    """An organization whose owner has set its provider."""
    org_id = await site.organization()
    owner = await site.person(org_id, f"owner-{org_id.hex[-8:]}@example.com")
    said = {"issuer": issuer, "client_id": client_id, "client_secret": client_secret}
    answer = await owner.call("PUT", "/v1/sign-in-provider", json=said)
    assert answer.status_code == 200 and client_secret not in answer.text, answer.text
    assert answer.json()["redirect_uri"] == f"{owner.origin}/v1/sign-in/provider/{org_id}/return"
    return org_id, owner


async def leave(browser: Browser, org_id: UUID) -> str:
    """Where the provider sends the browser back to."""
    there = await browser.get(f"/v1/sign-in/provider/{org_id}")
    assert there.status_code == 302, there.text
    async with httpx.AsyncClient() as client:
        return (await client.get(there.headers["location"])).headers["location"]


async def come(browser: Browser, org_id: UUID) -> httpx.Response:
    return await browser.get(await leave(browser, org_id), csrf=False)


async def test_a_member_signs_in_at_the_provider(site: Site, liar: str) -> None:
    await tell(liar)
    org_id, owner = await with_provider(site, liar)
    browser = await site.browser()
    refused = await come(browser, org_id)
    assert refused.status_code == 403 and "no member" in refused.json()["detail"]
    member = await site.within(lambda conn: add_member(conn, org_id, "Ann@example.com", "developer"))
    entered = await come(browser, org_id)
    assert (entered.status_code, entered.headers["location"]) == (303, "/v1/session")
    who = (await browser.get("/v1/session")).json()
    assert (who["email"], who["stage"], [one["role"] for one in who["memberships"]]) == ("ann@example.com", "full", ["developer"])
    assert (await browser.get("/v1/projects")).status_code == 200 and (
        await browser.post("/v1/projects", {"name": "x"})
    ).status_code == 403
    for path, body in (
        ("/v1/session/password", {"current": PASSWORD, "password": PASSWORD}),
        ("/v1/session/second-factor", {"code": "000000"}),
    ):
        assert (await browser.post(path, body)).status_code == 403
    await tell(liar, rotate=True)
    assert (await come(browser, org_id)).status_code == 303
    await tell(liar, claims={"sub": "another ann"})
    refused = await come(await site.browser(), org_id)
    assert refused.status_code == 403 and "another subject" in refused.json()["detail"]
    await tell(liar, claims={"email": "moved@example.com"})
    assert (await come(browser, org_id)).status_code == 303
    assert (await browser.get("/v1/session")).json()["email"] == "ann@example.com"
    assert (await owner.delete(f"/v1/members/{member.id}", headers={"if-match": "*"})).status_code == 204
    assert (await browser.get("/v1/session")).status_code == 401
    await tell(liar, claims={"sub": "another ann"})
    await site.within(lambda conn: add_member(conn, org_id, "ann@example.com", "viewer"))
    assert (await come(browser, org_id)).status_code == 303
    assert (await owner.delete("/v1/sign-in-provider")).status_code == 204
    assert (await browser.get("/v1/session")).status_code == 401
    assert (await browser.get(f"/v1/sign-in/provider/{org_id}")).status_code == 404
    actions = [(one.action, one.refused) for one in await trail(site, org_id)]
    assert ("sign_in_provider.set", None) in actions and actions.count(("session.begin", "sign_in_refused")) == 2


async def test_a_provider_speaks_for_its_own_organization_only(site: Site, liar: str) -> None:
    """Whoever runs one may claim any address: that of somebody with a sign-in elsewhere must open nothing of theirs."""
    await tell(liar)
    theirs = await site.organization()
    ann = await site.person(theirs, "ann@example.com")
    org_id, owner = await with_provider(site, liar)
    await site.within(lambda conn: add_member(conn, org_id, "ann@example.com", "viewer"))
    attacker = await site.browser()
    refused = await come(attacker, org_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    invited = (await owner.post("/v1/invitations", {"email": "ann@example.com", "role": "viewer"})).json()["token"]
    assert (await attacker.post("/v1/invitations/accept", {"token": invited, "password": PASSWORD})).status_code == 409
    assert (await ann.post("/v1/invitations/accept", {"token": invited})).status_code == 200
    assert (await come(attacker, org_id)).status_code == 303
    assert [one["organization_id"] for one in (await attacker.get("/v1/session")).json()["memberships"]] == [str(org_id)]
    elsewhere = await attacker.get("/v1/projects", headers={"tallylight-organization": str(theirs)})
    assert elsewhere.status_code == 403
    assert len((await attacker.get("/v1/sessions")).json()["data"]) == 1
    own = (await ann.get("/v1/sessions")).json()["data"]
    assert len(own) == 2 and (await attacker.delete(f"/v1/sessions/{own[-1]['id']}")).status_code == 404
    more = await site.invitation(theirs, "more@example.com")
    assert (await attacker.post("/v1/invitations/accept", {"token": more})).status_code == 403


async def test_a_token_that_lies_is_not_believed(site: Site, liar: str) -> None:
    await tell(liar)
    org_id, _ = await with_provider(site, liar)
    await site.within(lambda conn: add_member(conn, org_id, "ann@example.com", "owner"))
    lies: list[dict[str, Any]] = [
        {"claims": {"iss": "https://elsewhere.example"}},
        {"claims": {"iss": None}},
        {"claims": {"aud": "another client"}},
        {"claims": {"aud": [CLIENT, "another client"]}},
        {"claims": {"aud": [CLIENT, "another client"], "azp": "another client"}},
        {"claims": {"azp": "another client"}},
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"exp": 1_700_000_000}},
        {"claims": {"exp": None}},
        {"claims": {"iat": 4_000_000_000}},
        {"claims": {"nbf": 4_000_000_000}},
        {"claims": {"email_verified": False}},
        {"claims": {"email_verified": "true"}},
        {"claims": {"email_verified": None}},
        {"claims": {"email": None}},
        {"claims": {"email": "ann"}},
        {"claims": {"sub": None}},
        {"claims": {"sub": ""}},
        {"claims": {"sub": "a" * 256}},
        {"alg": "none"},
        {"alg": "HS256"},
        {"stranger": True},
    ]
    browser = await site.browser(peer="10.0.0.1")
    for lie in lies:
        await tell(liar, **lie)
        refused = await come(browser, org_id)
        assert (refused.status_code, refused.json()["code"]) == (403, "sign_in_refused"), (lie, refused.text)
        assert "set-cookie" not in refused.headers
    assert (await browser.get("/v1/session")).status_code == 401
    assert len([one for one in await trail(site, org_id) if one.refused == "sign_in_refused"]) == len(lies)


async def test_only_the_trip_that_was_begun_here_ends_here(site: Site, liar: str) -> None:
    await tell(liar)
    org_id, _ = await with_provider(site, liar)
    other, _ = await with_provider(site, liar)
    await site.within(lambda conn: add_member(conn, org_id, "ann@example.com", "owner"))
    browser, victim = await site.browser(), await site.browser()
    back = await leave(browser, org_id)
    code, state = (parse_qs(urlsplit(back).query)[name][0] for name in ("code", "state"))
    path = urlsplit(back).path
    for who, query in (
        (victim, f"{path}?code={code}&state={state}"),
        (browser, f"{path}?code={code}&state=tl_trip_0"),
        (browser, f"{path}?code={code}"),
        (browser, f"{path.replace(str(org_id), str(other))}?code={code}&state={state}"),
    ):
        assert (await who.get(query)).status_code == 403, query
    assert (await browser.get(f"{path}?code={code}&state={state}&next=https://evil.example")).headers["location"] == "/v1/session"
    assert (await browser.get(back)).status_code == 403
    for answer in (f"code={code}", "error=access_denied", "code=another", "code=x&iss=https://elsewhere.example"):
        state = parse_qs(urlsplit(await leave(browser, org_id)).query)["state"][0]
        assert (await browser.get(f"{path}?state={state}&{answer}")).status_code == 403, answer
    back = await leave(browser, org_id)
    await site.later(601)
    assert (await browser.get(back)).status_code == 403
    admin = await site.person(org_id, "admin@example.com", "admin")
    said = {"issuer": liar, "client_id": CLIENT, "client_secret": CLIENT_SECRET}
    assert (await admin.call("PUT", "/v1/sign-in-provider", json=said)).status_code == 403
    assert (await admin.get("/v1/sign-in-provider")).json()["client_id"] == CLIENT


async def test_an_issuer_is_asked_by_the_guard_and_must_be_itself(
    site: Site, dsn: str, pool: Pool, tmp_path: Path, liar: str
) -> None:
    org_id = await site.organization()
    owner = await site.person(org_id, "owner@example.com")
    await tell(liar, issuer="https://elsewhere.example")
    said = {"issuer": liar, "client_id": CLIENT, "client_secret": CLIENT_SECRET}
    refused = await owner.call("PUT", "/v1/sign-in-provider", json=said)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    refused = await owner.call("PUT", "/v1/sign-in-provider", json={**said, "issuer": f"http://127.0.0.1:{free_port()}"})
    assert refused.status_code == 400
    await tell(liar)
    async with opened(dsn, pool, tmp_path) as guarded:
        strict = await guarded.browser()
        strict.client.cookies, strict.csrf = owner.client.cookies, owner.csrf
        refused = await strict.call("PUT", "/v1/sign-in-provider", json=said)
        assert refused.status_code == 400 and "https" in refused.json()["detail"]


@pytest.fixture
async def foreign() -> AsyncIterator[str]:
    """The URL of oidc-provider-mock, by other people."""
    port = free_port()
    claims = '{"sub": "ann", "email": "ann@example.com", "email_verified": true}'
    named = ("--port", str(port), "--require-nonce", "true", "--user-claims", claims)
    # Its own warnings are not ours: it uses what authlib calls deprecated.
    program = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", *named]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            async with asyncio.timeout(60), httpx.AsyncClient() as client:
                while True:
                    assert process.poll() is None
                    with suppress(httpx.TransportError):
                        about = await client.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration")
                        break
                    await asyncio.sleep(0.05)
            yield about.json()["issuer"]
        finally:
            process.kill()


async def test_a_provider_that_is_not_ours(site: Site, foreign: str) -> None:
    org_id, _ = await with_provider(site, foreign)
    await site.within(lambda conn: add_member(conn, org_id, "ann@example.com", "viewer"))
    browser = await site.browser()
    there = (await browser.get(f"/v1/sign-in/provider/{org_id}")).headers["location"]
    async with httpx.AsyncClient() as client:
        back = await client.post(there, data={"sub": "ann"})  # its form, as a browser sends it
    assert back.status_code == 302, back.text
    assert (await browser.get(back.headers["location"])).status_code == 303
    assert (await browser.get("/v1/session")).json()["email"] == "ann@example.com"
