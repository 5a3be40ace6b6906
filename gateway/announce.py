"""Announce: what is told when something has happened, in the dialect that whoever is told speaks.

A message is made when it is sent: no copy of a prompt lies in the log of deliveries, links in it are fresh, and a job that was
deleted is not told any more. It shows the job as it was at the event, also where that has gone on since.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from billing.kit.query import Pool
from billing.pricing.model import Terms
from gateway.dialects.ark import translate as ark
from gateway.dialects.native import translate as native
from gateway.dialects.openai import translate as openai
from gateway.edge.artifacts import signed_link
from gateway.errors import NotFound
from gateway.jobs.model import job_of
from gateway.jobs.read import JobReader
from gateway.media.signing import LinkSigner
from gateway.settings import Settings
from gateway.video import FINAL, Artifact, Job, State, VideoRequest
from gateway.webhooks.model import Claimed, Delivery

Link: TypeAlias = Callable[[Job, str], str | None]

_data = msgspec.json.Decoder(dict[str, Any])


class Announcer:
    """Makes the bodies of deliveries. One per process."""

    def __init__(self, settings: Settings, pool: Pool, signer: LinkSigner) -> None:
        self._reader, self._signer = JobReader(pool), signer
        self._base = settings.public_url.rstrip("/") or f"http://{settings.host}:{settings.port}"
        self._link_ttl_s = settings.link_ttl_s

    async def body(self, of: Claimed | Delivery) -> bytes | None:
        """None when its job was deleted."""
        data = _data.decode(of.data)
        if not of.event.startswith("job."):
            return native.render_event(of.event, of.happened_at, data)
        state: State = of.event.removeprefix("job.")  # pyright: ignore[reportAssignmentType] the log holds states
        if of.job_id is None:
            return self._job_body(of, sample(of.org_id, state), data)
        try:
            row = await self._reader.any_job(of.org_id, of.job_id)
        except NotFound:
            return None
        return self._job_body(of, as_of(job_of(row), state), data)

    def _job_body(self, of: Claimed | Delivery, job: Job, data: Mapping[str, Any]) -> bytes:
        def link(job: Job, name: str) -> str | None:
            return signed_link(self._signer, self._link_ttl_s, self._base, job, name)

        match of.form:
            case "openai":
                return openai.render_event(job, f"evt_{of.id.hex}", of.happened_at)
            case "ark":
                return ark.render(job, link)
            case _:
                return native.render_job_event(of.event, of.happened_at, job, self._base, link, sample=bool(data))


def as_of(job: Job, state: State) -> Job:
    """The job as it was when it came into `state`: what it became later is not told yet."""
    if job.state == state or state in FINAL:
        return job
    return msgspec.structs.replace(
        job,
        state=state,
        started_at=None if state == "queued" else job.started_at,
        finished_at=None,
        frames_done=0,
        frames=None,
        delivered_ms=None,
        charged_ms=0,
        charged_micro=0,
        error_code=None,
        error_message=None,
        assets_expire_at=None,
        artifacts=(),
    )


def sample(org_id: UUID, state: State) -> Job:
    """A job that never was, for trying a receiver."""
    now = datetime.now(UTC)
    delivered, over = state == "succeeded", state in FINAL
    return Job(
        org_id=org_id,
        id=UUID(int=0),
        project_id=UUID(int=0),
        livemode=False,
        dialect="native",
        state=state,
        terms=Terms(rate_card_id=UUID(int=0), currency="USD", price_micro=100_000),
        max_ms=4000,
        hold_micro=400_000,
        created_at=now,
        started_at=None if state == "queued" else now,
        finished_at=now if over else None,
        attempt=0 if state == "queued" else 1,
        frames_done=96 if delivered else 0,
        frames_total=96,
        frames=96 if delivered else None,
        delivered_ms=4000 if delivered else None,
        charged_micro=400_000 if delivered else 0,
        error_code=None if delivered or not over else "sample",
        error_message=None if delivered or not over else "This job never was.",
        request=VideoRequest(
            model="testcard", prompt="a red lamp on a studio camera", width=1280, height=720, fps=24, frames=96,
            resolution="720p", ratio="16:9", steps=1, guidance=1.0, queue_deadline_s=3600,
        ),
        artifacts=(Artifact("video", "", "video/mp4", 0, "0" * 64),) if delivered else (),
    )  # fmt: skip
