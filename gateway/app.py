"""The composition root of the API: settings → connections and services → routes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar, Response
from litestar.exceptions import HTTPException

from billing.kit.listen import Listener, Wake
from billing.kit.pool import APP_ROLE, BATCH_ROLE, open_pool
from billing.kit.query import Pool
from billing.pricing.book import PriceBook
from billing.stripe.desk import open_desk
from gateway.access.authenticate import Authenticator
from gateway.access.uses import KeyUses
from gateway.admit import Admission
from gateway.announce import Announcer
from gateway.api import routes as api
from gateway.context import Gateway
from gateway.dialects.ark import routes as ark
from gateway.dialects.ark.translate import render_error as ark_error
from gateway.dialects.native import routes as native
from gateway.dialects.native.translate import render_error as native_error
from gateway.dialects.native.wire import ProblemDocument
from gateway.dialects.openai import routes as openai
from gateway.dialects.openai.translate import render_error as openai_error
from gateway.edge.caller import HttpRequest
from gateway.edge.described import ErrorShape
from gateway.edge.replies import Renderer, failure_reply
from gateway.edge.trail import note_refusal
from gateway.egress.addresses import networks
from gateway.egress.fetch import Fetcher
from gateway.egress.guard import Egress
from gateway.fleet.editions.current import Current
from gateway.fleet.offers import load_sellers
from gateway.fleet.promises.quotes import Quotes
from gateway.jobs.read import JobReader
from gateway.media.headroom import Headroom
from gateway.media.pool import DecoderPool
from gateway.media.signing import LinkSigner
from gateway.media.store import open_store
from gateway.people.door import open_door
from gateway.quotas.pace import ReadPace
from gateway.requests.log import RequestLog
from gateway.settings import Settings
from gateway.webhooks.sign import Secrets

SHAPES: tuple[tuple[str, Renderer], ...] = (("/v1/videos", openai_error), ("/api/v3", ark_error))
"""Which dialect renders an error, by path prefix, also where no route matched; everything else is native."""


def create_app(settings: Settings) -> Litestar:
    """The API of one process. Raises SettingsError for what it cannot do without."""
    settings.require("dsn", "link_secret")

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        async with open_gateway(settings) as gateway:
            app.state.gateway = gateway
            yield

    return Litestar(
        route_handlers=[native.router, openai.router, ark.router, api.router],
        lifespan=[lifespan],
        exception_handlers={Exception: answer_failure, HTTPException: answer_failure},
        after_exception=[note_refusal],
        request_max_body_size=settings.request_body_max_bytes,
        openapi_config=None,  # gateway/api/openapi.py: bodies are read by hand, so the framework cannot see their types
        opt={"errors": ErrorShape(ProblemDocument, native_error)},
        logging_config=None,
    )


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncGenerator[Gateway]:
    """Opens what a process needs, in order, and closes it in reverse; admissions under way are finished first."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(await _pool(settings, "tallylight-api", APP_ROLE))
        hot = await stack.enter_async_context(await _pool(settings, "tallylight-api-hot", BATCH_ROLE, plans_once=True))
        changes, closing = Wake(), asyncio.Event()
        key_uses = KeyUses(pool)
        key_uses.start()
        stack.push_async_callback(key_uses.close)
        authenticator = Authenticator(hot, key_uses, ttl_s=settings.auth_ttl_ms / 1000)
        catalogue = await stack.enter_async_context(_catalogue(settings, pool))
        channels = {
            "tallylight_events": changes.ring,
            "tallylight_keys": authenticator.forget,
            "tallylight_catalogue": catalogue.wake.ring,
        }
        listener = Listener(settings.dsn.reveal(), channels)
        listener.start()
        stack.push_async_callback(listener.close)
        prices = PriceBook()
        quotes = Quotes(pool, catalogue.steps)
        await stack.enter_async_context(quotes.following())
        admission = Admission(hot, prices, catalogue.costs, quotes, waiting_max=settings.admission_waiting_max)
        stack.push_async_callback(admission.close)
        decoders = DecoderPool(size=1)
        stack.push_async_callback(decoders.close)
        egress = Egress(allowed=networks(settings.egress_networks))
        stack.push_async_callback(egress.close)
        requests = RequestLog(pool)
        requests.start()
        stack.push_async_callback(requests.close)
        desk = await stack.enter_async_context(
            open_desk(pool, load_sellers(settings.catalogue_dir), settings.stripe_api_key.reveal(), settings.stripe_url)
        )
        door = stack.enter_context(open_door(settings.sign_in_secret.reveal(), egress))
        stack.callback(closing.set)
        store = open_store(settings)
        signer = LinkSigner({"1": settings.link_secret.reveal().encode()}, "1")
        yield Gateway(
            settings=settings,
            catalogue=catalogue,
            pool=pool,
            prices=prices,
            authenticator=authenticator,
            key_uses=key_uses,
            reads=ReadPace(settings.reads_per_s),
            admission=admission,
            reader=JobReader(hot),
            quotes=quotes,
            store=store,
            headroom=Headroom(store.folder, settings.disk_free_min_bytes),
            decoders=decoders,
            fetcher=Fetcher(egress),
            signer=signer,
            webhook_secrets=Secrets(settings.webhook_secret.reveal()),
            message_body=Announcer(settings, pool, signer).body,
            requests=requests,
            door=door,
            desk=desk,
            changes=changes,
            closing=closing,
        )


@asynccontextmanager
async def _catalogue(settings: Settings, pool: Pool) -> AsyncGenerator[Current]:
    """The catalogue in force, followed while inside."""
    catalogue = Current(settings.catalogue_dir)
    async with pool.acquire(timeout=5) as conn:
        await catalogue.begin(conn)
    following = asyncio.create_task(catalogue.follow(pool))
    try:
        yield catalogue
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _pool(settings: Settings, name: str, role: str, *, plans_once: bool = False) -> Pool:
    """`plans_once`: for the few statements that carry the load."""
    return await open_pool(
        settings.dsn.reveal(),
        name=name,
        role=role,
        size_min=settings.pool_min,
        size_max=settings.pool_max,
        statement_timeout_ms=settings.statement_timeout_ms,
        plans_once=plans_once,
    )


def answer_failure(request: HttpRequest, error: Exception) -> Response[bytes]:
    """Any failure, in the shape of the dialect whose path was called."""
    path = request.scope["path"]
    return failure_reply(error, next((render for prefix, render in SHAPES if path.startswith(prefix)), native_error))
