"""From a request to a saved file, with a progress bar: what `generate` and the first video of `up` share."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from billing.kit.money import format_micro
from gateway.cli.client import ApiClient, ApiError
from gateway.dialects.native.wire import JobView


async def follow(client: ApiClient, job: JobView, console: Console) -> JobView:
    """Shows where the job stands until it has ended, and returns it as it ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[money]}"),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal, disable=not console.is_terminal) as bar:
        task = bar.add_task(_where(job), total=1.0, money=_money(job))
        async for now in client.watch(job.id):
            job = now
            bar.update(task, description=_where(now), completed=now.progress, money=_money(now))
            if not console.is_terminal:
                console.print(f"{now.id}  {_where(now)}  {now.progress:.0%}  {_money(now)}", highlight=False)
    return job


async def save(client: ApiClient, job: JobView, out: Path, console: Console) -> int:
    """Downloads the video of a job that succeeded. Returns its bytes. Raises ApiError for a job that did not."""
    video = next((file for file in job.artifacts if file.name == "video"), None)
    if video is None:
        reason = job.error.message if job.error else "Its files have expired or been deleted."
        raise ApiError(f"{job.id} has no video: {reason}", code=job.error.code if job.error else "artifact_not_available")
    size = await client.download(video.url, out)
    charged = format_micro(job.billing.charged_micro, job.billing.currency)
    console.print(f"Saved {out} ({size:,} bytes): {job.seconds:.3f} s of {job.size}, charged {charged}.", highlight=False)
    return size


def _where(job: JobView) -> str:
    if job.state == "queued" and job.queue_position is not None:
        return f"queued, {job.queue_position} ahead"
    return job.state


def _money(job: JobView) -> str:
    if job.billing.held_micro:
        return f"{format_micro(job.billing.held_micro, job.billing.currency)} held"
    return f"{format_micro(job.billing.charged_micro, job.billing.currency)} charged"
