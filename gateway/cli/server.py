"""uvicorn with the application: N workers on one port."""

import os

import uvicorn
from litestar.types import ASGIApp

from gateway.edge.middleware import observed
from gateway.edge.protocol import BoundedHttp
from gateway.edge.shortcut import shortcut
from gateway.settings import Settings
from gateway.telemetry import logs


def make_app() -> ASGIApp:
    """What each worker runs; the settings come through the environment.

    The observer is around the whole application, because a framework's middleware does not see a request that no route matched.
    """
    from gateway.app import answer_failure, create_app

    settings = Settings.load({}, os.environ)
    logs.configure(settings.log_level)
    return observed(shortcut(create_app(settings), answer_failure))


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
        timeout_graceful_shutdown=3,
        server_header=False,
        date_header=True,
        backlog=4096,
    )
