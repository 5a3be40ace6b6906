"""Admit: authenticate → check quotas → price → promise → hold → enqueue, in one transaction for many requests.

A 2xx means that the job, its hold, its idempotency record and its first event are durable; any other answer means that
nothing is held. The callers have been authenticated and their requests resolved before they come here; the transaction
reads the key again, because a revoked key must not spend.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from billing.charges.hold import hold
from billing.charges.model import ChargeRequest
from billing.errors import BillingError, BudgetSpent, InsufficientFunds, UnknownWallet
from billing.kit.batch import TRANSIENT, Coalescer, CommitUnknown, Overloaded
from billing.kit.money import format_micro
from billing.kit.query import Conn, Pool
from billing.ledger.model import Held, Sponsor
from billing.plans.authorize import Standing, authorize
from billing.pricing.book import PriceBook
from billing.pricing.model import Book, encode_terms
from billing.pricing.quote import Quote
from gateway.access.authenticate import refuse_revoked
from gateway.errors import (
    FleetBusy,
    FreeBudgetSpent,
    GatewayError,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InsufficientBalance,
    OutcomeUnknown,
    PlanPastDue,
    QuotaExceeded,
    Unavailable,
)
from gateway.fleet.costs import ComputeCosts
from gateway.fleet.promises.quotes import Promise, Quotes
from gateway.jobs import sql
from gateway.jobs.model import Created, job_of
from gateway.quotas.model import Claim, Refusal
from gateway.quotas.reserve import NOTHING, QuotaBook, Room
from gateway.quotas.words import exceeded
from gateway.submission import Admitted, Submission, Token, claim_of, price
from gateway.telemetry.metrics import admissions, flush_rows, flush_seconds
from gateway.video import Job

_GATHER_S = 0.001


class Admission:
    """Takes submissions from concurrent requests and commits them together. One per process."""

    def __init__(self, pool: Pool, prices: PriceBook, costs: ComputeCosts, quotes: Quotes, *, waiting_max: int) -> None:
        self._pool, self._prices, self._costs, self._quotes = pool, prices, costs, quotes
        self._quotas = QuotaBook()
        self._sent: set[UUID] = set()
        """Jobs whose COMMIT was sent and may not have been answered: when they are sent again, they may be there."""
        rows, seconds = flush_rows("admission"), flush_seconds("admission")

        def observe(size: int, duration_s: float) -> None:
            rows.observe(size)
            seconds.observe(duration_s)

        self._flushes: Coalescer[Submission, Admitted] = Coalescer(
            "admission", self._flush, waiting_max=waiting_max, gather_s=_GATHER_S, observe=observe
        )

    async def admit(self, one: Submission) -> Admitted:
        """Raises the GatewayError to answer with; then nothing is held, except that OutcomeUnknown says it cannot tell."""
        try:
            admitted = await self._flushes.submit(one)
        except GatewayError as error:
            admissions(error.code).inc()
            raise
        except Overloaded as error:
            admissions("overloaded").inc()
            raise Unavailable("too many requests are waiting; send this again shortly", retry_after_s=1) from error
        except CommitUnknown as error:
            admissions("outcome_unknown").inc()
            raise OutcomeUnknown(retry_after_s=5) from error
        except TRANSIENT as error:
            admissions("unavailable").inc()
            raise Unavailable(retry_after_s=5) from error
        admissions("replayed" if admitted.replayed else "admitted").inc()
        return admitted

    async def close(self) -> None:
        await self._flushes.close()

    async def _flush(self, batch: Sequence[Submission]) -> Sequence[Admitted | Exception]:
        turn, ready_to_commit = _Turn(batch), False
        jobs = {one.job_id for one in batch}
        again = jobs & self._sent
        if not again:  # the next batch: whatever was sent before has been answered
            self._sent.clear()
        try:
            async with self._pool.acquire(timeout=5) as conn, conn.transaction():
                await turn.refuse_revoked(conn)
                await turn.replay(conn)
                customers = turn.customers()
                turn.price(await self._prices.in_force(conn, customers))
                turn.sponsor(await authorize(conn, customers), self._costs)
                turn.promise(self._quotes)
                await turn.recognise(conn, again)
                await turn.hold(conn, self._quotas)
                await turn.enqueue(conn)
                await turn.remember(conn)
                self._sent |= jobs
                ready_to_commit = True
        except TRANSIENT as error:
            if ready_to_commit:
                raise CommitUnknown("admission") from error
            raise
        finally:
            self._quotes.settled(turn.promises())
        return turn.outcomes()


class _Entry:
    """One submission on its way through the transaction; decided once `outcome` is set."""

    __slots__ = ("claim", "held", "kind", "known", "of", "outcome", "promise", "sponsor", "stack")

    def __init__(self, of: Submission) -> None:
        self.of = of
        self.kind: _Kind
        self.claim: Claim
        self.held: Held
        self.stack = NOTHING
        self.known = False
        self.sponsor: Sponsor | None = None
        self.promise: Promise | None = None
        self.outcome: Admitted | Exception | None = None

    def take(self, room: Room) -> None:
        if not self.known:
            taken = room.take(self.claim)
            self.outcome = exceeded(taken) if isinstance(taken, Refusal) else None
            self.stack = NOTHING if isinstance(taken, Refusal) else taken

    @property
    def promise_s(self) -> float | None:
        """None also for a job that is not to start before some time."""
        return None if self.promise is None or self.held.starts_at is not None else self.promise.start_s

    def created(self, at: datetime) -> Created:
        promised = None if self.promise_s is None else at + timedelta(seconds=self.promise_s)
        return Created(self.of.job_id, at, promised)


class _Kind(msgspec.Struct, frozen=True):
    """What jobs of one batch may have in common; `place` counts from 1, as arrays do in SQL."""

    place: int
    quote: Quote
    columns: tuple[object, ...]


class _Turn:
    """The steps of one admission transaction; each is one set-based statement over the entries still undecided."""

    def __init__(self, batch: Sequence[Submission]) -> None:
        self._entries = [_Entry(one) for one in batch]
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def outcomes(self) -> list[Admitted | Exception]:
        return [entry.outcome or Unavailable() for entry in self._entries]

    def promises(self) -> list[Promise]:
        return [entry.promise for entry in self._entries if entry.promise is not None]

    def _undecided(self) -> list[_Entry]:
        return [entry for entry in self._entries if entry.outcome is None]

    def customers(self) -> set[UUID]:
        return {entry.of.caller.org_id for entry in self._undecided()}

    async def refuse_revoked(self, conn: Conn) -> None:
        refusals = await refuse_revoked(conn, [entry.of.caller for entry in self._entries])
        for entry, refusal in zip(self._entries, refusals, strict=True):
            entry.outcome = refusal

    async def replay(self, conn: Conn) -> None:
        """Answers what was answered before: by Idempotency-Key, else by the retry count of a client that sends no key."""
        named: dict[Token, _Entry] = {}
        for entry in self._undecided():
            if entry.of.idempotency_key is not None:
                if named.setdefault(entry.of.token, entry) is not entry:
                    entry.outcome = IdempotencyInProgress(retry_after_s=1)
            elif entry.of.retry:
                await self._claim_retried(conn, entry)
        if named:
            await self._answer_again(conn, named)

    async def _claim_retried(self, conn: Conn, entry: _Entry) -> None:
        one = entry.of
        row = await sql.CLAIM_RETRIED.maybe(
            conn, one.caller.org_id, one.caller.key_id, one.fingerprint, one.dialect, one.retry, one.job_id
        )
        if row is not None:
            entry.outcome = Admitted(row.id, one.status, one.render(job_of(row)), replayed=True)

    async def _answer_again(self, conn: Conn, named: dict[Token, _Entry]) -> None:
        # The lock is taken in a statement of its own: the next one must see what its former holder committed.
        locks = await sql.LOCK_TOKENS.all(conn, ["/".join(map(str, token)) for token in named])
        for entry, lock in zip(named.values(), locks, strict=True):
            if not lock.locked:
                entry.outcome = IdempotencyInProgress(retry_after_s=1)
        columns = [list(column) for column in zip(*named, strict=True)]
        for stored in await sql.STORED_ANSWERS.all(conn, *columns):
            entry = named[stored.org_id, stored.project_id, stored.livemode, stored.route, stored.token]
            if stored.fingerprint != entry.of.fingerprint:
                entry.outcome = IdempotencyMismatch()
            else:
                entry.outcome = Admitted(stored.job_id, stored.status, stored.body, stored.job_id != entry.of.job_id)

    def price(self, books: dict[UUID, Book]) -> None:
        """Most of a batch asks for the same few things: each is priced and encoded once, and sent once (`kinds`)."""
        for entry in self._undecided():
            book, r = books.get(entry.of.caller.org_id), entry.of.request
            shape = (entry.of.dialect, r.model, r.tier, r.frames, r.queue_deadline_s)
            asked = (book and book.alike, *shape, r.task, r.resolution, r.fps, r.audio)
            kind = self._kinds.get(asked)
            if kind is None:
                try:
                    quoted = price(book, r)
                except GatewayError as error:
                    entry.outcome = error
                    continue
                columns = (*shape, quoted.quantity, encode_terms(quoted.terms))
                kind = self._kinds[asked] = _Kind(len(self._kinds) + 1, quoted, columns)
            entry.kind = kind

    def sponsor(self, standings: dict[UUID, Standing], costs: ComputeCosts) -> None:
        """What a plan that is behind with its fee may not start, and what of ours must cover a free job's compute."""
        for entry in self._undecided():
            standing = standings.get(entry.of.caller.org_id)
            if standing is None or not entry.of.caller.livemode:
                continue
            if standing.blocked:
                entry.outcome = PlanPastDue()
            elif standing.sponsor is not None:
                request = entry.of.request
                cost_micro = costs.most_micro_usd(request.model, request.resolution, request.max_ms)
                entry.sponsor = Sponsor(standing.sponsor, cost_micro)

    def promise(self, quotes: Quotes) -> None:
        """A start, where somebody leads; a request whose tier can promise none within its limit is refused."""
        for entry in self._undecided():
            try:
                entry.promise = quotes.promise(entry.of.caller.org_id, entry.of.request, livemode=entry.of.caller.livemode)
            except FleetBusy as busy:
                entry.outcome = busy

    async def recognise(self, conn: Conn, again: set[UUID]) -> None:
        """Of the jobs that are sent again, those that had been committed: quotas count them already."""
        doubtful = [entry.of for entry in self._undecided() if entry.of.job_id in again]
        if doubtful:
            rows = await sql.CREATED.all(conn, [one.caller.org_id for one in doubtful], [one.job_id for one in doubtful])
            there = {row.id for row in rows}
            for entry in self._undecided():
                entry.known = entry.of.job_id in there

    async def hold(self, conn: Conn, quotas: QuotaBook) -> None:
        """Takes from quotas and wallets: all, or nothing of either. Where a wallet refuses, quotas have room for those behind."""
        waiting = self._undecided()
        for entry in waiting:
            entry.claim = claim_of(entry.of, entry.kind.quote)
        room = await quotas.room(conn, [entry.claim for entry in waiting if not entry.known])
        while waiting:
            for entry in waiting:
                entry.take(room)
            fitting = [entry for entry in waiting if entry.outcome is None]
            freed = False
            for entry, held in zip(fitting, await hold(conn, list(map(_request, fitting))) if fitting else [], strict=True):
                if isinstance(held, Held):
                    entry.held = held
                    room.hold(entry.claim, entry.stack, held.amount_micro)
                else:
                    room.give_back(entry.claim, entry.stack)
                    entry.outcome = _refusal(held, entry.kind.quote)
                    freed = freed or bool(entry.stack.tallies)
            waiting = [entry for entry in waiting if freed and isinstance(entry.outcome, QuotaExceeded)]
        await room.write(conn)

    async def enqueue(self, conn: Conn) -> None:
        entries = self._undecided()
        if not entries:
            return
        columns = [list(column) for column in zip(*map(_columns, entries), strict=True)]
        kinds = [list(column) for column in zip(*[kind.columns for kind in self._kinds.values()], strict=True)]
        added = await sql.INSERT_JOBS.one(conn, *columns, *kinds)
        created: dict[UUID, Created] = {}
        if added.jobs < len(entries):  # this batch is sent again after an unknown outcome: the first sending had committed
            ids = [(entry.of.caller.org_id, entry.of.job_id) for entry in entries]
            created = {row.id: row for row in await sql.CREATED.all(conn, *map(list, zip(*ids, strict=True)))}
        for entry in entries:
            body = entry.of.render(_job(entry, created.get(entry.of.job_id) or entry.created(added.created_at)))
            entry.outcome = Admitted(entry.of.job_id, entry.of.status, body, limits=entry.stack.fields)

    async def remember(self, conn: Conn) -> None:
        rows = [
            (*entry.of.token, entry.of.fingerprint, entry.outcome.job_id, entry.outcome.status, entry.outcome.body)
            for entry in self._entries
            if entry.of.idempotency_key is not None and isinstance(entry.outcome, Admitted) and not entry.outcome.replayed
        ]
        if rows:
            await sql.REMEMBER.run(conn, *[list(column) for column in zip(*rows, strict=True)])


def _request(entry: _Entry) -> ChargeRequest:
    caller, quoted = entry.of.caller, entry.kind.quote
    return ChargeRequest(
        id=entry.of.job_id,
        customer_id=caller.org_id,
        book="live" if caller.livemode else "test",
        terms=quoted.terms,
        quantity=quoted.quantity,
        sponsor=entry.sponsor,
    )


def _refusal(error: BillingError, quoted: Quote) -> Exception:
    if isinstance(error, InsufficientFunds | UnknownWallet):
        most = format_micro(quoted.amount_micro, quoted.terms.currency)
        return InsufficientBalance(
            f"This request may cost up to {most} and the wallet does not cover that. "
            "Top it up, or ask for fewer seconds or a smaller size."
        )
    return FreeBudgetSpent() if isinstance(error, BudgetSpent) else error


def _columns(entry: _Entry) -> tuple[object, ...]:
    """What INSERT_JOBS needs of a job beside its kind."""
    one = entry.of
    caller = one.caller
    return (
        caller.org_id,
        one.job_id,
        caller.project_id,
        caller.key_id,
        caller.livemode,
        one.encoded,
        one.fingerprint,
        entry.held.seconds_ms,
        entry.held.amount_micro,
        entry.held.starts_at,
        entry.stack.counters,
        entry.promise_s,
        entry.kind.place,
    )


def _job(entry: _Entry, created: Created) -> Job:
    """The job as it was admitted, without reading it back."""
    one, quoted = entry.of, entry.kind.quote
    return Job(
        org_id=one.caller.org_id,
        id=one.job_id,
        project_id=one.caller.project_id,
        livemode=one.caller.livemode,
        dialect=one.dialect,
        state="queued",
        terms=quoted.terms,
        max_ms=quoted.quantity,
        hold_ms=entry.held.seconds_ms,
        hold_micro=entry.held.amount_micro,
        created_at=created.created_at,
        promised_start_at=created.promised_start_at,
        frames_total=one.request.frames,
        request=one.request,
    )
