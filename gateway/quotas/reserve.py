"""Reserve: what each job of a batch may take at most, from every quota that concerns it, or from none."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.quotas import sql
from gateway.quotas.model import Claim, Quota, Span, reached, span

_Place: TypeAlias = tuple[UUID, str]
"""A quota and a subject."""
_Source: TypeAlias = tuple[UUID, str, str]


class Tally:
    """What counts against one quota for one subject, with what this batch has added."""

    __slots__ = ("added", "at", "counter_id", "frees_at", "held", "quota", "span", "subject", "takers", "used")

    def __init__(self, quota: Quota, subject: str, count: sql.Count) -> None:
        self.quota, self.subject, self.at = quota, subject, count.at
        self.used, self.held = count.used, count.held
        self.span = _span(quota, count)
        self.frees_at = count.frees_at or self.span.counts_until
        self.added = self.takers = self.counter_id = 0

    @property
    def place(self) -> _Place:
        return self.quota.id, self.subject

    @property
    def left(self) -> int:
        return self.quota.most - self.used - self.held - self.added

    def refusal(self, requested: int) -> "Refusal":
        return Refusal(self.quota, self.subject, self.used, self.held + self.added, requested, self.at, self.frees_at)


class Refusal(msgspec.Struct, frozen=True):
    """The quota that stands in the way, and what was counted when it did. `frees_at`: when something becomes free again."""

    quota: Quota
    subject: str
    used: int
    held: int
    requested: int
    at: datetime
    frees_at: datetime


class Taken(msgspec.Struct, frozen=True):
    """What a claim took, from each tally it counts against, and what was left there then."""

    parts: tuple[tuple[Tally, int, int], ...]

    @property
    def counters(self) -> str | None:
        """As an array's text, for jobs that are stored many at once; None where no quota applies."""
        return f"{{{','.join(str(tally.counter_id) for tally, _, _ in self.parts)}}}" if self.parts else None


class Room:
    """What a batch may still take. Until the transaction ends nobody else can take from these quotas."""

    def __init__(self, tallies: dict[_Source, list[Tally]]) -> None:
        self._tallies = tallies

    def take(self, claim: Claim) -> Taken | Refusal:
        """All that the claim needs, or nothing: a refused one takes nothing from those after it."""
        parts: list[tuple[Tally, int, int]] = []
        refusals: list[Refusal] = []
        for tally in self._tallies.get(_source(claim), ()):
            quota, amount = tally.quota, claim.amount(tally.quota.meter)
            if not amount:
                continue
            left = tally.left - amount
            if left < 0 and not quota.soft:
                refusals.append(tally.refusal(amount))
            parts.append((tally, amount, left))
        if refusals:
            return max(refusals, key=lambda one: (one.requested > one.quota.most, one.frees_at))
        for tally, amount, _ in parts:
            tally.added += amount
            tally.takers += 1
        return Taken(tuple(parts))

    def give_back(self, taken: Taken) -> None:
        """The job was not admitted for another reason."""
        for tally, amount, _ in taken.parts:
            tally.added -= amount
            tally.takers -= 1

    def hold(self, taken: Taken, money_micro: int) -> None:
        """The job was admitted and this much money was held, no more than it claimed."""
        for tally, amount, _ in taken.parts:
            if tally.quota.meter == "money_micro":
                tally.added -= amount - money_micro

    async def write(self, conn: Conn) -> None:
        """Counts what was taken. After this `Taken.counters` are known."""
        taken = {tally.place: tally for tallies in self._tallies.values() for tally in tallies if tally.takers}
        if not taken:
            return
        columns = [list(column) for column in zip(*map(_columns, taken.values()), strict=True)]
        for row in await sql.RESERVE.all(conn, *columns):
            taken[row.quota_id, row.subject].counter_id = row.id


async def open_room(conn: Conn, claims: Sequence[Claim]) -> Room:
    """Locks the quotas that concern these claims and reads what counts against them. Without any it costs one statement.

    Must be followed, in the same transaction, by `write`, before the jobs are stored with their counters.
    """
    sources = {_source(claim): claim for claim in claims}
    if not sources:
        return Room({})
    subjects = {subject for claim in sources.values() for subject in _subjects(claim)}
    quotas: dict[UUID, list[Quota]] = {}
    for quota in await sql.LOCK.all(conn, list({claim.org_id for claim in sources.values()}), list(subjects)):
        quotas.setdefault(quota.org_id, []).append(quota)
    if not quotas:
        return Room({})
    places: dict[_Place, Quota] = {}
    applying: dict[_Source, list[_Place]] = {}
    for source, claim in sources.items():
        for quota in quotas.get(claim.org_id, ()):
            subject = quota.applies(claim)
            if subject is not None:
                places[quota.id, subject] = quota
                applying.setdefault(source, []).append((quota.id, subject))
    tallies = await _count(conn, places)
    return Room({source: [tallies[place] for place in found] for source, found in applying.items()})


async def _count(conn: Conn, places: dict[_Place, Quota]) -> dict[_Place, Tally]:
    columns = zip(*((quota.org_id, quota_id, subject) for (quota_id, subject), quota in places.items()), strict=True)
    counts = await sql.COUNTS.all(conn, *map(list, columns)) if places else []
    return {place: Tally(places[place], place[1], count) for place, count in zip(places, counts, strict=True)}


def _source(claim: Claim) -> _Source:
    """Claims that share this concern the same quotas: a key belongs to one project of one organization."""
    return claim.key_id, claim.model, claim.end_user


def _subjects(claim: Claim) -> Iterable[str]:
    return "", str(claim.project_id), str(claim.key_id), claim.model, claim.end_user


def _span(quota: Quota, count: sql.Count) -> Span:
    """The span that is counted in now: a calendar window that has begun is read, not cut again."""
    if count.starts_at is not None and count.counts_until is not None and not quota.rolling:
        return Span(count.starts_at, count.counts_until)
    return span(quota.per, count.at, quota.time_zone, rolling=quota.rolling)


def _columns(tally: Tally) -> tuple[object, ...]:
    """A row of RESERVE."""
    quota = tally.quota
    return (
        quota.org_id,
        quota.id,
        tally.subject,
        tally.span.starts_at,
        tally.span.counts_until,
        tally.added,
        reached(tally.used + tally.held + tally.added, quota.most),
    )
