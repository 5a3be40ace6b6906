"""Quotas, what counts against them and when it stops to; pure."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from billing.kit.money import format_micro
from billing.plans.calendar import Calendar, Every, zone_of

Scope = Literal["organization", "project", "key", "model", "end_user"]
Meter = Literal["generated_ms", "money_micro", "requests", "images", "concurrent_jobs"]
Per = Literal["minute", "hour", "day", "week", "month"]

Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,63}$", description="Small letters, digits, dots and dashes.")]
Most = Annotated[int, Meta(ge=0, le=999_999_999_999_999)]
"""Fifteen digits: as many as a number in a structured header may have (RFC 9651)."""

METERS: tuple[Meter, ...] = get_args(Meter)
THRESHOLDS = (100, 80)
"""Percent of a quota that are told."""
PARTS = 60
"""A rolling window is kept in so many parts: what was taken leaves it at most one part late, and never early."""

_COUNTED = {"images": "images", "requests": "requests", "concurrent_jobs": "jobs"}
_LENGTH_S: dict[Per, int] = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = date(1970, 1, 5)
_FIRST = date(1970, 1, 1)
_FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""Jobs that run count until they have ended. A moment and not infinity, for which the driver has no aware value."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What one job may take at most, and from whom. `end_user` '': nobody was named. `amounts` stand in the order of METERS."""

    org_id: UUID
    livemode: bool
    project_id: UUID
    key_id: UUID
    model: str
    end_user: str
    amounts: tuple[int, ...]


def amounts(*, generated_ms: int, money_micro: int, images: int) -> tuple[int, ...]:
    """What one job takes of each meter, in the order of METERS."""
    return generated_ms, money_micro, 1, images, 1


class Quota(msgspec.Struct, frozen=True):
    """`most` of `meter`, per window or at the same time. `subject` '': each of the scope by itself, or the organization.

    A soft one refuses nothing. `time_zone` and `currency` are the organization's.
    """

    org_id: UUID
    id: UUID
    name: str
    livemode: bool
    scope: Scope
    subject: str
    meter: Meter
    per: Per | None
    rolling: bool
    most: int
    soft: bool
    version: int
    created_at: datetime
    updated_at: datetime
    time_zone: str
    currency: str

    def text(self, amount: int) -> str:
        """An amount of its meter, for people."""
        match self.meter:
            case "generated_ms":
                return f"{amount / 1000:g} s"
            case "money_micro":
                return format_micro(amount, self.currency)
            case "images" | "requests" | "concurrent_jobs":
                return f"{amount} {_COUNTED[self.meter][: -1 if amount == 1 else None]}"


class Refusal(msgspec.Struct, frozen=True):
    """The quota that stands in the way, and what was counted when it did. `frees_at`: when something becomes free again."""

    quota: Quota
    subject: str
    used: int
    held: int
    requested: int
    at: datetime
    frees_at: datetime


class Span(msgspec.Struct, frozen=True):
    """Where a claim is counted: in the window or part that begins at `starts_at`, until `counts_until`."""

    starts_at: datetime
    counts_until: datetime


def span(per: Per | None, at: datetime, time_zone: str, *, rolling: bool) -> Span:
    """The one span that `at` (aware) is counted in. Calendar windows are the customer's own: a day may have 23 or 25 hours.

    Raises UnknownTimeZone.
    """
    if per is None:
        return Span(_EPOCH, _FOREVER)
    if rolling:
        part = timedelta(seconds=_LENGTH_S[per] / PARTS)
        starts_at = at - (at - _EPOCH) % part
        return Span(starts_at, starts_at + part + timedelta(seconds=_LENGTH_S[per]))
    match per:
        case "minute" | "hour":
            length = timedelta(seconds=_LENGTH_S[per])
            offset = at.astimezone(zone_of(time_zone)).utcoffset() or timedelta()
            starts_at = at - (at - _EPOCH + offset) % length
            return Span(starts_at, starts_at + length)
        case "day" | "week" | "month":
            period = Calendar(Every(per), time_zone, _FIRST if per == "month" else _MONDAY).containing(at)
            return Span(period.starts_at, period.ends_at)


def window_s(per: Per) -> int:
    """The length of a window in seconds: nominal, a month has 30 days."""
    return _LENGTH_S[per]


def reached(counted: int, most: int) -> int:
    """The highest of THRESHOLDS that is reached, else 0."""
    return next((percent for percent in THRESHOLDS if counted * 100 >= most * percent), 0)
