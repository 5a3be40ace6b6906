"""Reserve: what each job of a batch may take at most, from every quota that concerns it, or from none."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias
from uuid import UUID

from billing.kit.query import Conn
from gateway.quotas import sql
from gateway.quotas.model import METERS, Claim, Quota, Refusal, Span, reached, span
from gateway.quotas.words import fields

_KNOWN_MAX = 10_000
_Source: TypeAlias = tuple[UUID, str, str]


class Tally:
    """What counts against one quota for one subject, and what this batch has left of it."""

    __slots__ = ("count", "counter_id", "left", "meter", "quota", "span", "whole")

    def __init__(self, quota: Quota, count: sql.Count) -> None:
        self.quota, self.count, self.meter = quota, count, METERS.index(quota.meter)
        self.left = self.whole = quota.most - count.used - count.held
        self.counter_id, self.span = _counter(quota, count)

    @property
    def frees_at(self) -> datetime:
        """When something becomes free again."""
        quota, count = self.quota, self.count
        return count.frees_at or span(quota.per, count.at, quota.time_zone, rolling=quota.rolling).counts_until

    def refusal(self, requested: int) -> Refusal:
        held = self.count.held + self.whole - self.left
        return Refusal(self.quota, self.count.subject, self.count.used, held, requested, self.count.at, self.frees_at)


class Stack:
    """The quotas that requests from one source count against. `takers`: how many of them were admitted."""

    __slots__ = ("counters", "fields", "takers", "tallies")

    def __init__(self) -> None:
        self.tallies: list[Tally] = []
        self.takers = 0
        self.counters: str | None = None
        """The ids of their counters: an array as text, so that jobs can be stored many at once. Known once it is written."""
        self.fields: Mapping[str, str] = MappingProxyType({})
        """What is left of the quota that is nearest to refusing, for the answers. Known once it is written."""


NOTHING = Stack()
"""Where no quota applies."""


class Room:
    """What a batch may still take. Until the transaction ends nobody else can take from these quotas."""

    def __init__(self, stacks: dict[_Source, Stack]) -> None:
        self._stacks = stacks

    def take(self, claim: Claim) -> Stack | Refusal:
        """All that the claim needs, or nothing: a refused one takes nothing from those after it."""
        stack = self._stacks.get(_source(claim)) if self._stacks else None
        if stack is None:
            return NOTHING
        for tally in stack.tallies:
            if tally.left < claim.amounts[tally.meter] and not tally.quota.soft:
                refusals = _refusals(stack, claim.amounts)
                if refusals:
                    return max(refusals, key=lambda one: (one.requested > one.quota.most, one.frees_at))
        for tally in stack.tallies:
            tally.left -= claim.amounts[tally.meter]
        stack.takers += 1
        return stack

    def give_back(self, claim: Claim, stack: Stack) -> None:
        """The job was not admitted for another reason."""
        for tally in stack.tallies:
            tally.left += claim.amounts[tally.meter]
        stack.takers -= 1

    def hold(self, claim: Claim, stack: Stack, money_micro: int) -> None:
        """The job was admitted and this much money was held, no more than it claimed."""
        for tally in stack.tallies:
            if tally.quota.meter == "money_micro":
                tally.left += claim.amounts[tally.meter] - money_micro

    async def write(self, conn: Conn) -> None:
        """Counts what was taken. After this the counters and the fields of stacks are known."""
        stacks = [stack for stack in self._stacks.values() if stack.takers]
        tallies = {id(tally): tally for stack in stacks for tally in stack.tallies}.values()
        if not tallies:
            return
        if new := {(tally.quota.id, tally.count.subject): tally for tally in tallies if tally.span is not None}:
            for row in await sql.BEGIN.all(conn, *_columns(map(_span, new.values()))):
                new[row.quota_id, row.subject].counter_id = row.id
        written = await sql.RESERVE.run(conn, *_columns(map(_addition, tallies)))
        assert written == len(tallies), "a counter is gone while its quota is locked"
        for stack in stacks:
            stack.counters = f"{{{','.join(str(tally.counter_id) for tally in stack.tallies)}}}"
            if hard := [tally for tally in stack.tallies if not tally.quota.soft]:
                near = min(hard, key=lambda tally: tally.left / (tally.quota.most or 1))
                stack.fields = fields(near.quota, near.left, near.frees_at, near.count.at)


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
        await self._learn(conn, counts)
        tallies: dict[tuple[UUID, str], Tally] = {}
        stacks: dict[_Source, Stack] = {}
        for count in counts:
            place = count.quota_id, count.subject
            tally = tallies.get(place)
            if tally is None:
                tally = tallies[place] = Tally(self._known[count.quota_id, count.version], count)
            stacks.setdefault(names[count.nth - 1], Stack()).tallies.append(tally)
        return Room(stacks)

    async def _learn(self, conn: Conn, counts: Sequence[sql.Count]) -> None:
        if all((one.quota_id, one.version) in self._known for one in counts):
            return
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        for quota in await sql.DEFINITIONS.all(conn, *_columns({(one.org_id, one.quota_id) for one in counts})):
            self._known[quota.id, quota.version] = quota


def _source(claim: Claim) -> _Source:
    """Claims that share this concern the same quotas: a key belongs to one project of one organization."""
    return claim.key_id, claim.model, claim.end_user


def _counter(quota: Quota, count: sql.Count) -> tuple[int, Span | None]:
    """The counter to add to, or the span of one that is to begin: a calendar window that has begun is not cut again."""
    if count.counter_id is not None and not quota.rolling:
        return count.counter_id, None
    here = span(quota.per, count.at, quota.time_zone, rolling=quota.rolling)
    if count.counter_id is not None and count.starts_at == here.starts_at:
        return count.counter_id, None
    return 0, here


def _refusals(stack: Stack, amounts: tuple[int, ...]) -> list[Refusal]:
    """Of every quota without room for so much. One that has been lowered still lets through what takes nothing of it."""
    short = [one for one in stack.tallies if one.left < amounts[one.meter] and amounts[one.meter] and not one.quota.soft]
    return [tally.refusal(amounts[tally.meter]) for tally in short]


def _asked(claim: Claim) -> tuple[object, ...]:
    return claim.org_id, claim.livemode, str(claim.project_id), str(claim.key_id), claim.model, claim.end_user


def _span(tally: Tally) -> tuple[object, ...]:
    """A row of BEGIN."""
    assert tally.span is not None
    return tally.quota.org_id, tally.quota.id, tally.count.subject, tally.span.starts_at, tally.span.counts_until


def _addition(tally: Tally) -> tuple[object, ...]:
    """A row of RESERVE."""
    most = tally.quota.most
    return tally.quota.org_id, tally.counter_id, tally.whole - tally.left, reached(most - tally.left, most)


def _columns(rows: Iterable[tuple[object, ...]]) -> Sequence[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
