"""The real application, asked by browsers that keep cookies and say where they are."""

import base64
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from litestar.exceptions import LitestarDeprecationWarning

from billing.kit.query import Conn, Pool
from gateway.access.organizations import open_organization
from gateway.access.scopes import Role
from gateway.app import create_app, open_gateway
from gateway.edge.middleware import observed
from gateway.people.invitations import invite
from gateway.settings import Secret, Settings
from tests.stack import LINK_SECRET

PASSWORD = "correct horse battery"
SECRET = "a secret of the tests to seal with, long enough"


class Browser:
    """One person's browser on a page of ours. `client` keeps the cookie; the token of the session is sent as a page would."""

    def __init__(self, client: httpx.AsyncClient, origin: str, pool: Pool) -> None:
        self.client, self.origin, self.pool = client, origin, pool
        self.csrf = self.secret = ""
        self.recovery_codes: list[str] = []

    async def call(self, method: str, path: str, *, csrf: bool = True, **said: Any) -> httpx.Response:
        headers = {
            "origin": self.origin,
            **({"x-csrf-token": self.csrf} if csrf and self.csrf else {}),
            **said.pop("headers", {}),
        }
        answer = await self.client.request(method, path, headers=headers, **said)
        if answer.is_success and "csrf_token" in answer.text:
            self.csrf = answer.json()["csrf_token"]
        return answer

    async def get(self, path: str, **said: Any) -> httpx.Response:
        return await self.call("GET", path, **said)

    async def post(self, path: str, body: object = None, **said: Any) -> httpx.Response:
        return await self.call("POST", path, json=body, **said)

    async def delete(self, path: str, **said: Any) -> httpx.Response:
        return await self.call("DELETE", path, **said)

    async def code(self) -> str:
        """What the authenticator shows, at the time that the database has."""
        async with self.pool.acquire() as conn:
            now = await conn.fetchval("SELECT extract(epoch FROM billing.now())::bigint")
        return TOTP(base64.b32decode(self.secret), 6, SHA1(), 30).generate(now).decode()  # noqa: S303 – RFC 6238's own

    async def accept(self, token: str, password: str = PASSWORD) -> None:
        """As somebody new, up to the second factor."""
        (await self.post("/v1/invitations/accept", {"token": token, "password": password})).raise_for_status()
        await self.enrol()

    async def enrol(self) -> None:
        self.secret = (await self.post("/v1/sign-in/enrolment")).raise_for_status().json()["secret"]
        shown = (await self.post("/v1/sign-in/code", {"code": await self.code()})).raise_for_status().json()
        self.recovery_codes = shown["recovery_codes"]

    async def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return await self.post("/v1/sign-in", {"email": email, "password": password}, csrf=False)

    async def come_back(self, email: str, password: str = PASSWORD) -> None:
        """Both factors; the second by a recovery code, which needs no other half minute."""
        (await self.sign_in(email, password)).raise_for_status()
        (await self.post("/v1/sign-in/code", {"code": self.recovery_codes.pop()})).raise_for_status()


class Site:
    """One process of the API, and the database behind it."""

    def __init__(self, app: Any, pool: Pool, stack: AsyncExitStack) -> None:
        self.app, self.pool, self._stack = app, pool, stack

    async def browser(self, origin: str = "http://127.0.0.1:8080", peer: str = "127.0.0.1") -> Browser:
        transport = httpx.ASGITransport(self.app, client=(peer, 40000))
        client = httpx.AsyncClient(transport=transport, base_url=origin, timeout=60)
        return Browser(await self._stack.enter_async_context(client), origin, self.pool)

    async def within(self, work: Callable[[Conn], Coroutine[Any, Any, Any]]) -> Any:
        async with self.pool.acquire() as conn, conn.transaction():
            return await work(conn)

    async def organization(self) -> UUID:
        return (await self.within(lambda conn: open_organization(conn, f"org-{uuid4().hex[:12]}", "CNY"))).id

    async def invitation(self, org_id: UUID, email: str, role: Role = "owner") -> str:
        return (await self.within(lambda conn: invite(conn, org_id, email, role, by="tests")))[1]

    async def person(self, org_id: UUID, email: str, role: Role = "owner", **where: str) -> Browser:
        """Somebody who has come in, at their browser."""
        browser = await self.browser(**where)
        await browser.accept(await self.invitation(org_id, email, role))
        return browser

    async def later(self, seconds: int) -> None:
        """The database's clock goes on."""
        async with self.pool.acquire() as conn:
            await conn.execute("CREATE TABLE IF NOT EXISTS billing.later (seconds int)")
            await conn.execute("INSERT INTO billing.later VALUES ($1)", seconds)
            await conn.execute(
                "CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
                "'SELECT pg_catalog.clock_timestamp() + (SELECT make_interval(secs => sum(seconds)) FROM billing.later)'"
            )
            await conn.execute("GRANT SELECT ON billing.later TO PUBLIC")


Open: TypeAlias = Callable[..., Coroutine[Any, Any, Site]]


@asynccontextmanager
async def opened(
    dsn: str, pool: Pool, folder: Path, *, secret: str = SECRET, egress_networks: tuple[str, ...] = ()
) -> AsyncGenerator[Site]:
    settings = Settings(
        dsn=Secret(dsn),
        link_secret=Secret(LINK_SECRET),
        media_url=folder.as_uri(),
        sign_in_secret=Secret(secret),
        egress_networks=egress_networks,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarDeprecationWarning)  # of how every route names what stands in its path
        app = create_app(settings)
    async with AsyncExitStack() as stack:
        app.state.gateway = await stack.enter_async_context(open_gateway(settings))
        yield Site(observed(app), pool, stack)


@pytest.fixture
async def site(dsn: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(dsn, pool, tmp_path) as one:
        yield one
