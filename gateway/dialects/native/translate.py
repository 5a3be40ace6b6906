"""Native wire ↔ canonical; pure."""

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from math import isfinite
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET

from billing.kit.money import format_micro
from billing.pricing.quote import Quote
from gateway.dialects.native.wire import (
    ArtifactView,
    CreateJob,
    Estimate,
    JobEvent,
    JobList,
    JobView,
    Money,
    Notice,
    Problem,
    ProblemDocument,
    StartQuote,
    TierPrice,
    Urls,
)
from gateway.errors import GatewayError, InvalidRequest, QuotaExceeded
from gateway.fleet.policy.model import Quote as FleetQuote
from gateway.video import FINAL, Ask, Job, State, Tier, VideoRequest

Link = Callable[[Job, str], str | None]
"""A link to one of a job's files."""

_encode = msgspec.json.Encoder().encode

PROBLEM = "application/problem+json"


def ask_of(body: CreateJob) -> Ask:
    """Raises InvalidRequest when the length or the size is given twice."""
    if body.seconds is not None and body.frames is not None:
        raise InvalidRequest("give seconds or frames, not both", param="frames")
    if body.size is not None and (body.resolution is not None or body.ratio is not None):
        raise InvalidRequest("give size, or resolution and ratio, not both", param="size")
    return Ask(
        model=body.model,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seconds=None if body.seconds == "auto" else body.seconds,
        frames=body.frames,
        auto=body.seconds == "auto",
        size=body.size,
        resolution=body.resolution,
        ratio=body.ratio,
        fps=body.fps,
        seed=body.seed,
        steps=body.steps,
        guidance=body.guidance,
        audio=body.audio,
        tier=body.tier,
        queue_deadline_s=body.queue_deadline_s,
        return_last_frame=body.return_last_frame,
        end_user=body.end_user,
        external_id=body.external_id,
        metadata=body.metadata,
        labels=body.labels,
        callback_url=body.callback_url,
    )


def view(job: Job, base: str, link: Link) -> JobView:
    request, here = job.request, f"{base}/v1/jobs/{job.public_id}"
    links = [(artifact, link(job, artifact.name)) for artifact in job.artifacts]
    return JobView(
        id=job.public_id,
        livemode=job.livemode,
        state=job.state,
        progress=round(job.progress, 4),
        queue_position=job.queue_position,
        promised_start_at=job.promised_start_at,
        expected_start_at=job.expected_start_at,
        expected_finish_at=job.expected_finish_at,
        model=request.model,
        prompt=request.prompt,
        seconds=job.seconds,
        frames=job.frames,
        size=request.size,
        fps=request.fps,
        audio=request.audio,
        seed=request.seed,
        tier=request.tier,
        billing=money(job),
        artifacts=tuple(ArtifactView(a.name, a.mime, a.bytes, a.sha256, url) for a, url in links if url),
        error=Problem(job.error_code, job.error_message or "") if job.error_code else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        assets_expire_at=job.assets_expire_at,
        end_user=request.end_user,
        external_id=request.external_id,
        metadata=request.metadata,
        labels=request.labels,
        urls=Urls(here, f"{here}/events", f"{here}/cancel"),
    )


def money(job: Job) -> Money:
    """What is held while the job lives, and what it was charged in the end, with the reason."""
    if job.state == "succeeded":
        reason = f"{job.seconds:.3f} s delivered and verified"
        if job.credited_micro:
            reason += f"; started later than promised: {format_micro(job.credited_micro, job.terms.currency)} credited"
    elif job.state in FINAL:
        reason = f"{job.error_code}: nothing was charged"
    else:
        reason = "held until the job ends; only delivered seconds are charged"
    held_micro, held_ms = (0, 0) if job.state in FINAL else (job.hold_micro, job.hold_ms)
    return Money(
        currency=job.terms.currency,
        held_micro=held_micro,
        charged_micro=job.charged_micro,
        held_seconds_ms=held_ms,
        charged_seconds_ms=job.charged_ms,
        credited_micro=job.credited_micro or 0,
        rate_micro_per_s=job.terms.rate_micro,
        price_version=str(job.terms.rate_card_id),
        reason=reason,
    )


def render(job: Job, base: str, link: Link) -> bytes:
    return _encode(view(job, base, link))


def render_list(jobs: Sequence[Job], base: str, link: Link, *, next_cursor: str | None) -> bytes:
    return _encode(JobList(tuple(view(job, base, link) for job in jobs), next_cursor is not None, next_cursor))


def cursor_of(job: Job) -> str:
    """Opaque to clients: where the next page starts."""
    return base64.urlsafe_b64encode(job.id.bytes).rstrip(b"=").decode()


def parse_cursor(text: str) -> UUID:
    """Raises InvalidRequest for anything that `cursor_of` did not make."""
    try:
        found = UUID(bytes=base64.b64decode(text + "==", altchars=b"-_", validate=True))
    except ValueError as error:
        raise InvalidRequest("cursor must be the next_cursor of a page of this list", param="cursor") from error
    return found


def event_of(job: Job, kind: State | Literal["progress"], at: datetime, data: dict[str, Any], last: JobView | None) -> bytes:
    event = JobEvent(
        kind=kind,
        at=at,
        job_id=job.public_id,
        progress=round(job.progress, 4),
        frames_done=job.frames_done,
        frames_total=job.frames_total,
        data=data,
        job=UNSET if last is None else last,
    )
    return _encode(event)


def render_job_event(event: str, at: datetime, job: Job, base: str, link: Link, *, sample: bool) -> bytes:
    """What a webhook says of a job."""
    return _encode(Notice(type=event, timestamp=at, data=view(job, base, link), sample=sample))


def render_event(event: str, at: datetime, data: dict[str, Any]) -> bytes:
    """What a webhook says of money."""
    return _encode(Notice(type=event, timestamp=at, data=data))


def estimate_of(request: VideoRequest, asked: Quote, tiers: Sequence[tuple[Tier, Quote, StartQuote | None]]) -> bytes:
    estimate = Estimate(
        model=request.model,
        size=request.size,
        resolution=request.resolution,
        fps=request.fps,
        frames=request.frames,
        seconds=asked.quantity / 1000,
        audio=request.audio,
        currency=asked.terms.currency,
        price_version=str(asked.terms.rate_card_id),
        amount_max_micro=asked.amount_micro,
        tiers=tuple(TierPrice(tier, q.terms.rate_micro, q.amount_micro, q.explanation, start) for tier, q, start in tiers),
    )
    return _encode(estimate)


def start_of(quoted: FleetQuote | None) -> StartQuote | None:
    if quoted is None or not isfinite(quoted.likely_s):
        return None
    likely_s = quoted.likely_s if quoted.start_s is None else min(quoted.likely_s, quoted.start_s)
    return StartQuote(
        None if quoted.start_s is None else round(quoted.start_s, 1),
        round(likely_s, 1),
        round(likely_s + quoted.runtime_s, 1),
        quoted.confidence,
    )


def render_error(error: GatewayError) -> tuple[bytes, str]:
    """RFC 9457."""
    problem = ProblemDocument(
        type=f"/docs/errors#{error.code}",
        title=error.code.replace("_", " "),
        status=error.status,
        code=error.code,
        detail=error.message,
        param=error.param or UNSET,
        quota=(isinstance(error, QuotaExceeded) and error.quota) or UNSET,
    )
    return _encode(problem), PROBLEM
