"""What a client is told of its quotas: a sentence, and the fields of draft-ietf-httpapi-ratelimit-headers; pure."""

from datetime import datetime
from math import ceil

from billing.plans.calendar import zone_of
from gateway.errors import QuotaExceeded, QuotaFigures
from gateway.quotas.model import Quota, Refusal, window_s

_UNITS = {
    "images": ';qu="images"',
    "generated_ms": ';qu="generated-ms"',
    "money_micro": ';qu="money-micro"',
    "concurrent_jobs": ';qu="concurrent-requests"',
}
"""Quota units other than requests. Only `concurrent-requests` is registered; without any name a client would take the rest for
requests."""
_SOON_S = 60
"""What a client that obeys Retry-After waits out by itself."""
_JOBS_END_S = 5
"""When to look again whether a job has ended."""


def exceeded(refusal: Refusal) -> QuotaExceeded:
    """The error that a refused request is answered with."""
    quota, never = refusal.quota, refusal.requested > refusal.quota.most
    left_s = _JOBS_END_S if quota.per is None else seconds_until(refusal.frees_at, refusal.at)
    return QuotaExceeded(
        _sentence(refusal, never=never),
        final=never or left_s > _SOON_S,
        retry_after_s=None if never else left_s,
        headers=fields(quota, quota.most - refusal.used - refusal.held, refusal.frees_at, refusal.at),
        quota=QuotaFigures(
            name=quota.name,
            scope=quota.scope,
            subject=refusal.subject,
            meter=quota.meter,
            limit=quota.most,
            used=refusal.used,
            held=refusal.held,
            requested=refusal.requested,
            resets_at=None if quota.per is None else refusal.frees_at,
        ),
    )


def seconds_until(then: datetime, now: datetime) -> int:
    """Whole seconds, rounded up, so that whoever waits for them is not early."""
    return max(ceil((then - now).total_seconds()), 0)


def fields(quota: Quota, left: int, frees_at: datetime, at: datetime) -> dict[str, str]:
    """RateLimit and RateLimit-Policy, of one quota."""
    unit = _UNITS.get(quota.meter, "")
    if quota.per is None:
        return {"RateLimit-Policy": f'"{quota.name}";q={quota.most}{unit}', "RateLimit": f'"{quota.name}";r={max(left, 0)}'}
    return {
        "RateLimit-Policy": f'"{quota.name}";q={quota.most};w={window_s(quota.per)}{unit}',
        "RateLimit": f'"{quota.name}";r={max(left, 0)};t={seconds_until(frees_at, at)}',
    }


def _sentence(refusal: Refusal, *, never: bool) -> str:
    quota = refusal.quota
    match quota.per:
        case None:
            window, frees = "at a time", "Room is made when a job ends."
        case _ if quota.rolling:
            window, frees = f"in any {quota.per}", f"Some becomes free at {_local(refusal)}."
        case _:
            window, frees = f"per {quota.per}", f"It resets at {_local(refusal)}."
    if never:
        frees = "This request alone exceeds it: ask for less, or have the quota raised."
    return (
        f"The quota {quota.name!r} allows {quota.text(quota.most)} {window} for {_whom(refusal)}. {quota.text(refusal.used)} are "
        f"used, {quota.text(refusal.held)} held for jobs that have not ended, and this request may take "
        f"{quota.text(refusal.requested)}. {frees}"
    )


def _whom(refusal: Refusal) -> str:
    match refusal.quota.scope:
        case "organization":
            return "the organization"
        case "project" | "key":
            return f"this {refusal.quota.scope}"
        case "model":
            return f"the model {refusal.subject!r}"
        case "end_user":
            return f"the end user {refusal.subject!r}"


def _local(refusal: Refusal) -> str:
    return refusal.frees_at.astimezone(zone_of(refusal.quota.time_zone)).isoformat(timespec="seconds")
