"""`tallylight jobs`: through the public API, with a customer's key."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from billing.kit.money import format_micro
from gateway.cli.client import ApiClient, connection
from gateway.cli.command import as_json, data_option, reported, write_json, write_table
from gateway.cli.film import follow
from gateway.dialects.native.wire import JobView

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


def _api(function: Function) -> Function:
    for option in (
        as_json,
        data_option,
        click.option("--key", help="The API key. Default: TALLYLIGHT_API_KEY, else the demo's."),
        click.option("--url", help="The gateway. Default: TALLYLIGHT_BASE_URL, else the one of `tallylight up` in this folder."),
    ):
        function = option(function)
    return function


def _ask(url: str | None, key: str | None, data: Path, work: Callable[[ApiClient], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with ApiClient(*connection(url, key, data)) as client:
            return await work(client)

    with reported():
        return asyncio.run(run())


@click.group()
def jobs() -> None:
    """List, look at, watch, cancel and delete jobs."""


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--state", help="queued, running, cancelling, succeeded, failed, cancelled or expired.")
@click.option("--model")
@_api
def list_jobs(
    limit: int, state: str | None, model: str | None, url: str | None, key: str | None, data: Path, *, as_json: bool
) -> None:
    """List jobs, newest first."""
    page = _ask(url, key, data, lambda client: client.jobs(limit=limit, state=state, model=model))
    if as_json:
        write_json(page)
        return
    rows = [
        (j.id, j.state, f"{j.seconds:g} s", j.size, j.model, _charge(j), f"{j.created_at:%Y-%m-%d %H:%M:%S}") for j in page.data
    ]
    write_table([("id", "state", "length", "size", "model", "money", "created"), *rows])


@jobs.command("get")
@click.argument("job_id")
@_api
def get(job_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Show a job."""
    _show(_ask(url, key, data, lambda client: client.job(job_id)), as_json)


@jobs.command("watch")
@click.argument("job_id")
@_api
def watch(job_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Follow a job until it has ended."""
    console = Console(stderr=True, quiet=as_json)

    async def until_over(client: ApiClient) -> JobView:
        return await follow(client, await client.job(job_id), console)

    _show(_ask(url, key, data, until_over), as_json)


@jobs.command("cancel")
@click.argument("job_id")
@_api
def cancel(job_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Cancel a job; it is not charged."""
    _show(_ask(url, key, data, lambda client: client.cancel(job_id)), as_json)


@jobs.command("delete")
@click.argument("job_id")
@_api
def delete(job_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Delete a job that has ended, with its files; its charge stays in the ledger."""
    _ask(url, key, data, lambda client: client.delete(job_id))
    if as_json:
        write_json({"id": job_id, "deleted": True})
    else:
        click.echo(f"{job_id} is deleted")


def _show(job: JobView, as_json: bool) -> None:
    if as_json:
        write_json(job)
        return
    error = [("error", f"{job.error.code}: {job.error.message}")] if job.error else []
    files = [("file", f"{file.name} {file.bytes:,} bytes {file.url}") for file in job.artifacts]
    facts = [
        ("id", job.id),
        ("state", job.state),
        ("length", f"{job.seconds:.3f} s"),
        ("size", job.size),
        ("money", _charge(job)),
    ]
    write_table([*facts, ("reason", job.billing.reason), *error, *files])


def _charge(job: JobView) -> str:
    billing = job.billing
    held = f"{format_micro(billing.held_micro, billing.currency)} held" if billing.held_micro else ""
    return held or f"{format_micro(billing.charged_micro, billing.currency)} charged"
