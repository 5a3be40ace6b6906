"""Health and metrics."""

import asyncio

from litestar import Response, Router, get

from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.replies import json_reply
from gateway.telemetry.metrics import CONTENT_TYPE, exposition


@get("/health/live", operation_id="health_live")
async def live() -> Response[bytes]:
    """The process answers."""
    return json_reply(b'{"status":"live"}')


@get("/health/ready", operation_id="health_ready")
async def ready(request: HttpRequest) -> Response[bytes]:
    """The process can take work: its database answers."""
    gateway = gateway_of(request)
    async with asyncio.timeout(5), gateway.pool.acquire(timeout=5) as conn:
        await conn.execute("SELECT 1")
    return json_reply(b'{"status":"ready"}')


@get("/metrics", operation_id="metrics", include_in_schema=False)
async def metrics() -> Response[bytes]:
    """Every metric of this machine's processes that share a metrics folder."""
    return Response(await asyncio.to_thread(exposition), media_type=CONTENT_TYPE)


router = Router("/", route_handlers=[live, ready, metrics])
