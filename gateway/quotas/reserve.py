"""Reserve: what each job of a batch may take at most, from every quota that concerns it, or from none."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.quotas import sql
from gateway.quotas.model import METERS, Claim, Quota, Span, reached, span

_KNOWN_MAX = 10_000
_Place: TypeAlias = tuple[UUID, str]
"""A quota and a subject."""
_Source: TypeAlias = tuple[UUID, str, str]


class Tally:
    """What counts against one quota for one subject, with what this batch has added."""

    __slots__ = ("added", "at", "counter_id", "frees_at", "meter", "most", "quota", "span", "subject", "taken", "takers")

    def __init__(self, quota: Quota, count: sql.Count) -> None:
        self.quota, self.subject, self.at = quota, count.subject, count.at
        self.meter, self.most = METERS.index(quota.meter), quota.most
        self.taken = count.used, count.held
        self.counter_id, self.span = _place(quota, count)
        self.frees_at = (
            count.frees_at or (self.span or span(quota.per, count.at, quota.time_zone, rolling=quota.rolling)).counts_until
        )
        self.added = self.takers = 0

    @property
    def left(self) -> int:
        return self.most - self.taken[0] - self.taken[1] - self.added

    def refusal(self, requested: int) -> "Refusal":
        used, held = self.taken
        return Refusal(self.quota, self.subject, used, held + self.added, requested, self.at, self.frees_at)


class Refusal(msgspec.Struct, frozen=True):
    """The quota that stands in the way, and what was counted when it did. `frees_at`: when something becomes free again."""

    quota: Quota
    subject: str
    used: int
    held: int
    requested: int
    at: datetime
    frees_at: datetime


class Stack:
    """The quotas that requests from one source count against."""

    __slots__ = ("counters", "tallies")

    def __init__(self) -> None:
        self.tallies: list[Tally] = []
        self.counters: str | None = None
        """Their ids, once they are written: an array as text, so that jobs can be stored many at once."""


class Taken(msgspec.Struct, frozen=True):
    """What a claim took from the tallies of its stack, and what it left there in those that can refuse."""

    stack: Stack
    amounts: tuple[int, ...]
    left: tuple[tuple[Tally, int], ...]

    @property
    def counters(self) -> str | None:
        return self.stack.counters


NOTHING = Taken(Stack(), (), ())
"""What a claim takes that no quota concerns."""


class Room:
    """What a batch may still take. Until the transaction ends nobody else can take from these quotas."""

    def __init__(self, stacks: dict[_Source, Stack]) -> None:
        self._stacks = stacks

    def take(self, claim: Claim) -> Taken | Refusal:
        """All that the claim needs, or nothing: a refused one takes nothing from those after it."""
        stack = self._stacks.get(_source(claim)) if self._stacks else None
        if stack is None:
            return NOTHING
        amounts, left = claim.amounts, list[tuple[Tally, int]]()
        for tally in stack.tallies:
            if not tally.quota.soft:
                left.append((tally, tally.left - amounts[tally.meter]))
        if any(rest < 0 and amounts[tally.meter] for tally, rest in left):
            refusals = [tally.refusal(amounts[tally.meter]) for tally, rest in left if rest < 0 and amounts[tally.meter]]
            return max(refusals, key=lambda one: (one.requested > one.quota.most, one.frees_at))
        self._add(stack, amounts, 1)
        return Taken(stack, amounts, tuple(left))

    def give_back(self, taken: Taken) -> None:
        """The job was not admitted for another reason."""
        self._add(taken.stack, taken.amounts, -1)

    def hold(self, taken: Taken, money_micro: int) -> None:
        """The job was admitted and this much money was held, no more than it claimed."""
        for tally in taken.stack.tallies:
            if tally.quota.meter == "money_micro":
                tally.added += money_micro - taken.amounts[tally.meter]

    def _add(self, stack: Stack, amounts: tuple[int, ...], sign: int) -> None:
        for tally in stack.tallies:
            tally.added += sign * amounts[tally.meter]
            tally.takers += sign

    async def write(self, conn: Conn) -> None:
        """Counts what was taken. After this `Taken.counters` are known."""
        tallies = {id(tally): tally for stack in self._stacks.values() for tally in stack.tallies if tally.takers}.values()
        if not tallies:
            return
        if new := {(tally.quota.id, tally.subject): tally for tally in tallies if tally.span is not None}:
            for row in await sql.BEGIN.all(conn, *_columns(map(_span, new.values()))):
                new[row.quota_id, row.subject].counter_id = row.id
        written = await sql.RESERVE.run(conn, *_columns(map(_addition, tallies)))
        assert written == len(tallies), "a counter is gone while its quota is locked"
        for stack in self._stacks.values():
            stack.counters = f"{{{','.join(str(tally.counter_id) for tally in stack.tallies)}}}"


class QuotaBook:
    """Reads what counts against quotas. Their definitions are remembered by version; the version is read under their lock."""

    def __init__(self) -> None:
        self._known: dict[tuple[UUID, int], Quota] = {}

    async def room(self, conn: Conn, claims: Iterable[Claim]) -> Room:
        """Locks the quotas that concern these claims and reads what counts against them, in one statement.

        Must be followed, in the same transaction, by `write`, before the jobs are stored with their counters.
        """
        sources = {_source(claim): claim for claim in claims}
        counts = await sql.COUNT.all(conn, *_columns(map(_asked, sources.values()))) if sources else []
        if not counts:
            return Room({})
        names = list(sources)
        quotas = await self._learn(conn, {(sources[names[one.nth - 1]].org_id, one.quota_id, one.version) for one in counts})
        tallies: dict[_Place, Tally] = {}
        stacks: dict[_Source, Stack] = {}
        for count in counts:
            place = count.quota_id, count.subject
            tally = tallies.get(place)
            if tally is None:
                tally = tallies[place] = Tally(quotas[count.quota_id, count.version], count)
            stacks.setdefault(names[count.nth - 1], Stack()).tallies.append(tally)
        return Room(stacks)

    async def _learn(self, conn: Conn, found: set[tuple[UUID, UUID, int]]) -> dict[tuple[UUID, int], Quota]:
        known = {(quota_id, version) for _, quota_id, version in found} & self._known.keys()
        quotas = {key: self._known[key] for key in known}
        new = [(org_id, quota_id) for org_id, quota_id, version in found if (quota_id, version) not in known]
        if new:  # another flight may be here as well: what is remembered is replaced, never emptied
            fresh = {(quota.id, quota.version): quota for quota in await sql.DEFINITIONS.all(conn, *_columns(new))}
            self._known = fresh if len(self._known) + len(fresh) > _KNOWN_MAX else self._known | fresh
            quotas |= fresh
        return quotas


def _source(claim: Claim) -> _Source:
    """Claims that share this concern the same quotas: a key belongs to one project of one organization."""
    return claim.key_id, claim.model, claim.end_user


def _place(quota: Quota, count: sql.Count) -> tuple[int, Span | None]:
    """The counter to add to, or the span of one that is to begin: a calendar window that has begun is not cut again."""
    if count.counter_id is not None and not quota.rolling:
        return count.counter_id, None
    here = span(quota.per, count.at, quota.time_zone, rolling=quota.rolling)
    if count.counter_id is not None and count.starts_at == here.starts_at:
        return count.counter_id, None
    return 0, here


def _asked(claim: Claim) -> tuple[object, ...]:
    return claim.org_id, claim.livemode, str(claim.project_id), str(claim.key_id), claim.model, claim.end_user


def _span(tally: Tally) -> tuple[object, ...]:
    """A row of BEGIN."""
    assert tally.span is not None
    return tally.quota.org_id, tally.quota.id, tally.subject, tally.span.starts_at, tally.span.counts_until


def _addition(tally: Tally) -> tuple[object, ...]:
    """A row of RESERVE."""
    return tally.quota.org_id, tally.counter_id, tally.added, reached(tally.most - tally.left, tally.most)


def _columns(rows: Iterable[tuple[object, ...]]) -> Sequence[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
