"""The long-running processes, and what prepares their database."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack

import click
import msgspec

from gateway.cli.command import as_json, reported, settings_flags, write_json
from gateway.settings import Secret, Settings
from gateway.telemetry import logs
from gateway.telemetry.multiprocess import VARIABLE, share_metrics


@click.command()
@settings_flags()
def serve(settings: Settings) -> None:
    """Run the API until SIGTERM or Ctrl-C."""
    with reported(), ExitStack() as stack:
        settings.require("dsn", "link_secret")
        if VARIABLE not in os.environ and (settings.workers > 1 or settings.metrics_dir):
            stack.enter_context(share_metrics(settings.metrics_dir))
        from gateway.cli.server import run

        run(settings)


@click.command()
@settings_flags()
def dispatch(settings: Settings) -> None:
    """Run jobs on the fleet until SIGTERM or Ctrl-C; unfinished jobs are handed back."""
    with _observed(settings):
        from gateway.dispatch import dispatch as run

        _until_told(lambda stop: run(settings, stop))


@click.command()
@settings_flags()
def clerk(settings: Settings) -> None:
    """Run everything periodic until SIGTERM or Ctrl-C."""
    with _observed(settings):
        from gateway.clerk import clerk as run

        _until_told(lambda stop: run(settings, stop))


@contextlib.contextmanager
def _observed(settings: Settings) -> Generator[None]:
    with reported():
        logs.configure(settings.log_level)
        from gateway.telemetry.metrics import serve_metrics

        with serve_metrics(settings.metrics_port, settings.host):
            yield


def _until_told(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await work(stop)

    import uvloop

    uvloop.run(run())


@click.command()
@settings_flags("dsn")
@as_json
def migrate(settings: Settings, *, as_json: bool) -> None:
    """Apply what is missing; several at once do no harm."""
    from gateway.cli.database import in_database
    from gateway.local.seed import migrate_database

    with reported():
        settings.require("dsn")
        done = asyncio.run(in_database(settings, migrate_database))
        if as_json:
            write_json({"applied": done})
        else:
            click.echo("\n".join(f"applied {name}" for name in done) or "up to date")


@click.command()
@settings_flags()
def settings(settings: Settings) -> None:
    """Show the settings as they were read, as JSON."""
    shown = {
        name: "***" if isinstance(value, Secret) and value else value for name, value in msgspec.structs.asdict(settings).items()
    }
    write_json({name: "" if isinstance(value, Secret) else value for name, value in shown.items()})
