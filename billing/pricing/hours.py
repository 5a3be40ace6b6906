"""Which hours it is for a customer: bands of the week on the clock of a time zone. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from billing.pricing.model import WEEK, Hours

DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN


def local_time(at: datetime, time_zone: str) -> datetime:
    """What the clock on the wall shows there, so a day that is longer or shorter for summer time has each band once."""
    return at.astimezone(ZoneInfo(time_zone))


def band_at(bands: Sequence[Hours], local: datetime) -> Hours | None:
    """The band that holds this moment of the local clock."""
    minute = local.weekday() * DAY_MIN + local.hour * 60 + local.minute
    return next((band for band in bands for start, end in _spans(band) if start <= minute < end), None)


def overlaps(bands: Sequence[Hours]) -> Iterator[tuple[str, str]]:
    """The names of bands that both hold some minute of the week."""
    spans = sorted((start, end, band.name) for band in bands for start, end in _spans(band))
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end:
            yield first, second


def is_empty(band: Hours) -> bool:
    return not band.days or _minute(band.start) == _minute(band.end)


def _spans(band: Hours) -> Iterator[tuple[int, int]]:
    """Half-open spans of minutes since Monday 00:00; one that passes the end of the week goes on at its beginning."""
    start, end = _minute(band.start), _minute(band.end)
    for day in band.days:
        begin = WEEK.index(day) * DAY_MIN
        last = begin + end + (DAY_MIN if end < start else 0)
        yield begin + start, min(last, WEEK_MIN)
        if last > WEEK_MIN:
            yield 0, last - WEEK_MIN


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])
