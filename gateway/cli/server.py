"""uvicorn with the application: N workers on one port."""

import gc
import os

import uvicorn
from litestar.types import ASGIApp

from gateway.edge.middleware import observed
from gateway.edge.protocol import BoundedHttp
from gateway.edge.shortcut import shortcut
from gateway.settings import Settings
from gateway.telemetry import logs

_GARBAGE_MIN = 20_000
"""Objects between two collections. A request makes no cycles, and a busy process allocates the usual 700 in five requests."""


def make_app() -> ASGIApp:
    """What each worker runs; the settings come through the environment.

    The observer is around the whole application, because a framework's middleware does not see a request that no route matched.
    """
    from gateway.app import answer_failure, create_app

    settings = Settings.load({}, os.environ)
    logs.configure(settings.log_level)
    app = observed(shortcut(create_app(settings), answer_failure))
    gc.freeze()  # what stays for the life of the process need not be looked through again
    gc.set_threshold(_GARBAGE_MIN)
    return app


def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; open streams are given three seconds to end."""
    os.environ.update(settings.environment({}))
    uvicorn.run(
        "gateway.cli.server:make_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=None,
        access_log=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=3,
        server_header=False,
        date_header=True,
        backlog=4096,
    )
