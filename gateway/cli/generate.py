"""`tallylight generate`: estimate, make, follow, save."""

import asyncio
import signal
from pathlib import Path

import click
from rich.console import Console

from billing.kit.money import format_micro
from gateway.cli.client import ApiClient, ApiError, connection
from gateway.cli.command import as_json, data_option, reported, write_json
from gateway.cli.film import follow, save
from gateway.dialects.native.wire import JobView

DEFAULT_MODEL = "testcard"


@click.command()
@click.argument("prompt", required=False)
@click.option("--seconds", type=click.FloatRange(0, 600, min_open=True), default=4.0, show_default=True)
@click.option("--size", help="Width and height, such as 1280x720.")
@click.option("--fps", type=click.IntRange(1, 240))
@click.option("--seed", type=click.IntRange(0))
@click.option("--audio", is_flag=True, help="With sound.")
@click.option("--tier", type=click.Choice(["priority", "standard", "flex"]), default="standard", show_default=True)
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--job", help="Instead of a prompt: a job that was made before, to follow and save.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("out.mp4"), show_default=True)
@click.option("--url", help="The gateway. Default: TALLYLIGHT_BASE_URL, else the one of `tallylight up` in this folder.")
@click.option("--key", help="The API key. Default: TALLYLIGHT_API_KEY, else the demo's.")
@data_option
@as_json
def generate(
    prompt: str | None,
    job: str | None,
    out: Path,
    url: str | None,
    key: str | None,
    data: Path,
    *,
    as_json: bool,
    **asked: object,
) -> None:
    """Make a video of PROMPT and save it. Ctrl-C cancels the job, uncharged."""
    if (prompt is None) == (job is None):
        raise click.UsageError("give a prompt, or --job with the id of a job")
    body = {name: value for name, value in {"prompt": prompt, **asked}.items() if value is not None}
    console = Console(stderr=True, quiet=as_json)
    with reported():
        base_url, token = connection(url, key, data)
        done = asyncio.run(_generate(ApiClient(base_url, token), body, job, out, console))
    if as_json:
        write_json(done)


async def _generate(client: ApiClient, body: dict[str, object], job_id: str | None, out: Path, console: Console) -> JobView:
    async with client:
        if job_id is None:
            estimate = await client.estimate(body)
            most = format_micro(estimate.amount_max_micro, estimate.currency)
            console.print(f"{estimate.model} {estimate.size} {estimate.seconds:g} s: at most {most}", highlight=False)
            job = await client.create(body)
        else:
            job = await client.job(job_id)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        following, stop = asyncio.create_task(follow(client, job, console)), asyncio.create_task(stopped.wait())
        await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not following.done():
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            job = await client.cancel(job.id)
            raise ApiError(f"{job.id} is {job.state}; it is not charged", code="cancelled")
        job = await following
        await save(client, job, out, console)
        return job
