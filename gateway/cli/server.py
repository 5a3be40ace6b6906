"""uvicorn with the application: N workers on one port."""

import os

import uvicorn
from litestar import Litestar

from gateway.edge.protocol import BoundedHttp
from gateway.settings import Settings
from gateway.telemetry import logs


def make_app() -> Litestar:
    """What each worker runs; the settings come through the environment."""
    from gateway.app import create_app

    settings = Settings.load({}, os.environ)
    logs.configure(settings.log_level)
    return create_app(settings)


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
