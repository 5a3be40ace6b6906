"""Organizations that each have one of everything, in one database behind one application; `mark` stands in all that is one's."""

import base64
import hashlib
import re
import struct
import warnings
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import msgspec
from litestar import Litestar
from litestar.exceptions import LitestarDeprecationWarning

from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.pricing.book import publish
from gateway.access.keys import issue_key, issue_management_key
from gateway.access.members import add_member, join_member
from gateway.access.scopes import ROLES
from gateway.app import answer_failure, create_app, open_gateway
from gateway.context import Gateway
from gateway.edge.middleware import observed
from gateway.edge.shortcut import shortcut
from gateway.fleet.offers import load_prices
from gateway.jobs.model import Delivered
from gateway.jobs.settle import Settlement
from gateway.media.store import open_store
from gateway.people.invitations import invite
from gateway.people.model import Place
from gateway.people.persons import make_person
from gateway.people.providers import set_provider
from gateway.people.seal import Seal
from gateway.people.sessions import begin_session
from gateway.settings import Secret, Settings
from gateway.video import Artifact, public_id
from tests.billing.invoices.papers import invoice
from tests.jobs.shop import Shop, open_shop

OPERATOR = "a token of the operator, long enough to command"
SECRET = "a secret of the tests, long enough to sign with"


class Id(NamedTuple):
    """An id as clients send it, and one of the same form, next to it in every order, that nothing ever had."""

    text: str
    never: str


def named(known: UUID, form: Callable[[UUID], str] = str) -> Id:
    return Id(form(known), form(UUID(int=known.int ^ 0xFFFF)))


class Side(NamedTuple):
    mark: str
    org_id: UUID
    key: str
    management: str
    ids: Mapping[str, Id]

    def bearer(self, *, manages: bool) -> dict[str, str]:
        return {"authorization": f"Bearer {self.management if manages else self.key}"}


class Served(NamedTuple):
    """The whole application of one process, called without a network."""

    litestar: Litestar
    gateway: Gateway
    client: httpx.AsyncClient


def litestar_of(settings: Settings) -> Litestar:
    with warnings.catch_warnings():
        # The framework wishes for another way to write a path parameter; a process that serves is not stopped by that.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        return create_app(settings)


@asynccontextmanager
async def served(settings: Settings) -> AsyncGenerator[Served]:
    litestar = litestar_of(settings)
    async with open_gateway(settings) as gateway:
        litestar.state.gateway = gateway
        app: Any = observed(shortcut(litestar, answer_failure))  # httpx and Litestar each have their own type for the same thing
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://tests", timeout=30) as client:
            yield Served(litestar, gateway, client)


def settings_of(dsn: str, folder: Path, *, pool_max: int = 4) -> Settings:
    (folder / "media").mkdir(exist_ok=True)
    return Settings(
        dsn=Secret(dsn), media_url=(folder / "media").as_uri(), link_secret=Secret(SECRET), webhook_secret=Secret(SECRET), sign_in_secret=Secret(SECRET),
        operator_token=Secret(OPERATOR), stripe_api_key=Secret("sk_test_nobody"), stripe_url="http://127.0.0.1:9",
        stripe_webhook_secret=Secret("whsec_nobody"), disk_free_min_bytes=0, reads_per_s=1_000_000, pool_max=pool_max,
    )  # fmt: skip


async def open_some(conn: Conn, settings: Settings, marks: Sequence[str]) -> list[Side]:
    """Made by the verbs and, where a verb is the API's own, through the API; what that writes later has been written."""
    for card in load_prices(settings.catalogue_dir):
        await publish(conn, card)
    sides = [await open_side(conn, settings, mark) for mark in marks]
    async with served(settings) as app:
        for side in sides:
            await _through_the_api(app.client, side)
    return [side._replace(ids={**side.ids, **await _made(conn, side)}) for side in sides]


async def open_side(conn: Conn, settings: Settings, mark: str) -> Side:
    shop = await open_shop(conn, mark)
    key_id, key = await issue_key(conn, shop.org_id, name=mark, livemode=True)
    _, management = await issue_management_key(conn, shop.org_id, name=f"{mark}-management", scopes=ROLES["owner"])
    member = await add_member(conn, shop.org_id, f"{mark}@example.com", "viewer")
    shop.key_id = key_id
    shop.project_id = await conn.fetchval("SELECT id FROM gateway.project WHERE org_id = $1", shop.org_id)
    film = Artifact("video", f"films/{mark}.mp4", "video/mp4", len(mark), hashlib.sha256(mark.encode()).hexdigest())
    await open_store(settings).put_bytes(film.key, mark.encode(), content_type=film.mime)
    finished = [await _finished(shop, film) for _ in range(4)]
    at = await conn.fetchval("SELECT max(at) FROM billing.usage WHERE subject_id = $1", finished[0])
    ids = {
        "project": named(shop.project_id),
        "key": named(key_id),
        "member": named(member.id),
        **{f"finished{n}": named(job, public_id) for n, job in enumerate(finished)},
        "job_cursor": named(finished[1], lambda one: base64.urlsafe_b64encode(one.bytes).rstrip(b"=").decode()),
        "usage_cursor": named(
            finished[0], lambda one: base64.urlsafe_b64encode(struct.pack(">q16s16s", int(at.timestamp() * 1e6), one.bytes, one.bytes)).decode().rstrip("=")
        ),
        "org": named(shop.org_id, lambda one: one.hex),
        "token": Id(f"{mark}-token", f"{mark}-tokex"),
        "end_user": Id(f"{mark}-viewer", f"{mark}-viewex"),
        "invitation": named(await _people(conn, shop.org_id, mark)),
        **await _money(conn, shop.org_id, mark),
    }  # fmt: skip
    return Side(mark, shop.org_id, key, management, ids)


async def _people(conn: Conn, org_id: UUID, mark: str) -> UUID:
    """The member has come in by the organization's provider, and another is invited: the id of that invitation."""
    person = await make_person(conn, f"{mark}@example.com", None)
    await join_member(conn, org_id, person.email, "viewer", person.id)
    await set_provider(conn, Seal(SECRET), org_id, issuer="https://example.com", client_id=mark, client_secret=mark)
    await begin_session(conn, person.id, "full", Place("127.0.0.1", mark), org_id=org_id)
    return (await invite(conn, org_id, f"{mark}-invited@example.com", "viewer", by=mark))[0].id


async def _finished(shop: Shop, film: Artifact) -> UUID:
    held = await shop.running()
    assert await shop.settle(Settlement(held, shop.owner, Delivered(24, 1000, (film,)), 7000)) == [True]
    return held.id


async def _money(conn: Conn, org_id: UUID, mark: str) -> dict[str, Id]:
    made, payment, method = new_id(), new_id(), f"pm_{mark.replace('-', '_')}"
    document = msgspec.structs.replace(invoice(), id=made, customer_id=org_id, number=mark, reason=mark)
    await conn.execute(
        "INSERT INTO billing.invoice (id, kind, seller, year, sequence, number, customer_id, currency, net_minor, tax_minor,"
        " total_minor, paid_minor, counted_micro, document)"
        " VALUES ($1, 'invoice', $2, 2026, 1, $2, $3, 'CNY', $4, $5, $6, 0, 0, $7)",
        made, mark, org_id, document.net_minor, document.tax_minor, document.total_minor, msgspec.json.encode(document),
    )  # fmt: skip
    await conn.execute(
        "INSERT INTO billing.payment (id, customer_id, purpose, subject, flow, methods, currency, amount_minor, return_url, saves)"
        " VALUES ($1, $2, 'top_up', $3, 'checkout', '{card}', 'CNY', 100, 'https://example.com', false)",
        payment, org_id, mark,
    )  # fmt: skip
    await conn.execute(
        "INSERT INTO billing.payer (customer_id, stripe_id, method_id) VALUES ($1, $2, $3)", org_id, f"cus_{mark}", method
    )
    await conn.execute(
        "INSERT INTO billing.payment_method (id, customer_id, kind, label) VALUES ($1, $2, 'card', $3)", method, org_id, mark
    )
    await conn.execute(
        "INSERT INTO billing.event (id, customer_id, kind, data) VALUES ($1, $2, 'wallet.low', $3)",
        new_id(),
        org_id,
        {"mark": mark},
    )
    payee = new_id()
    await conn.execute(
        "INSERT INTO billing.payee (id, reference, name, currency, threshold_micro, customer_id) VALUES ($1, $2, $2, 'CNY', 1, $3)",
        payee, mark, org_id,
    )  # fmt: skip
    return {"payee": named(payee), "invoice": named(made), "payment": named(payment), "method": Id(method, method[:-1] + "x")}


async def _through_the_api(client: httpx.AsyncClient, side: Side) -> None:
    async def made(path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> dict[str, str]:
        bearer = side.bearer(manages=path != "/v1/jobs")
        answer = await client.post(path, json=body, headers={**bearer, **(headers or {})})
        assert answer.is_success, (path, answer.text)
        return answer.json()

    quota = {"name": side.mark, "scope": "key", "subject": side.ids["key"].text, "meter": "requests", "per": "day", "limit": 1000}
    await made("/v1/quotas", quota)
    job = {"model": "testcard", "prompt": side.mark, "seconds": 1, "end_user": side.ids["end_user"].text}
    await made("/v1/jobs", job, {"idempotency-key": side.ids["token"].text})
    listener = await made("/v1/webhooks", {"description": side.mark})
    await made(f"/v1/webhooks/{listener['id']}/trigger", {"event": "job.succeeded"})


async def _made(conn: Conn, side: Side) -> dict[str, Id]:
    """What the API made, by what the database says of it."""

    async def one(sql: str) -> UUID:
        return await conn.fetchval(sql, side.org_id)

    quota = await one("SELECT id FROM gateway.quota WHERE org_id = $1")
    webhook = await one("SELECT id FROM gateway.webhook_endpoint WHERE org_id = $1")
    message = await one("SELECT id FROM gateway.webhook_delivery WHERE org_id = $1")
    request = await one("SELECT min(id::text)::uuid FROM gateway.request WHERE org_id = $1")
    return {
        "quota": named(quota),
        "webhook": named(webhook, lambda one: f"we_{one.hex}"),
        "message": named(message, lambda one: f"msg_{one.hex}"),
        "request": named(request),
        "queued": named(await one("SELECT id FROM gateway.job WHERE org_id = $1 AND state = 'queued'"), public_id),
    }


def written(text: str) -> list[str]:
    """An id as it may stand in an answer: with its prefix and without, with dashes and without."""
    bare = text.rpartition("_")[2].replace("-", "")
    dashed = str(UUID(bare)) if re.fullmatch("[0-9a-f]{32}", bare) else text
    return [word for word in (text, bare, dashed) if len(word) > 7]


def traces(side: Side, *, but: Iterable[str] = ()) -> list[str]:
    """What must not be in an answer to anybody else: the mark, and every id in each way of writing it."""
    told = {word for one in side.ids.values() for word in written(one.text)}
    return [word for word in sorted({side.mark, str(side.org_id), side.org_id.hex, *told}) if not any(word in one for one in but)]


_OF_CUSTOMER = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, a.attname AS column
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname IN ('gateway', 'billing') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND (a.attname IN ('org_id', 'customer_id') OR (a.attname = 'id' AND c.relname IN ('organization', 'customer')))
    ORDER BY 1
"""
_LEDGER = """
    SELECT (SELECT string_agg(h::text, ';' ORDER BY h::text) FROM billing.hold h JOIN mine m ON m.account_id = h.account_id)
        || (SELECT string_agg(e::text, ';' ORDER BY e::text) FROM billing.entry e JOIN mine m ON m.account_id = e.account_id)
        || (SELECT string_agg(b::text, ';' ORDER BY b::text) FROM billing.balance b JOIN mine m ON m.account_id = b.account_id)
        || (SELECT string_agg(u::text, ';' ORDER BY u::text) FROM billing.usage u JOIN billing.usage_series s ON s.id = u.series_id
            WHERE s.customer_id = $1)
"""


async def everything_of(conn: Conn, org_id: UUID) -> dict[str, list[str]]:
    """All rows that are an organization's, as text, by table."""
    found: dict[str, list[str]] = {}
    for table, column in [(row["name"], row["column"]) for row in await conn.fetch(_OF_CUSTOMER)]:
        rows = await conn.fetch(
            "SELECT t::text FROM " + table + " t WHERE " + column + " = $1 ORDER BY 1", org_id
        )  # names from the catalogue
        found[table] = [row[0] for row in rows]
    mine = "WITH mine AS (SELECT g.account_id FROM billing.grant g JOIN billing.wallet w ON w.id = g.wallet_id WHERE w.customer_id = $1)"
    found["the ledger"] = [await conn.fetchval(mine + _LEDGER, org_id)]
    assert found["the ledger"][0]
    return found
