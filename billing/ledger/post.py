"""Post: write events by their rule, once each."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from billing.errors import BillingError, InsufficientFunds, TransferConflict, UnknownAccount, UnknownAsset
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.model import Book, Entry, platform_account_id, platform_path
from billing.ledger.rules import RULES, Leg, Rule


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `source` is what it is derived from: the same kind and source is the same transfer.

    `accounts` names wallets' accounts by the roles of the rule, `dimensions` the rest of our accounts' names, `facts` what
    is worth keeping. All of it is stored and compared on a replay.
    """

    kind: str
    source: str
    subject_id: UUID
    book: Book
    asset: str
    amounts: Mapping[str, int]
    accounts: Mapping[str, UUID] = {}
    dimensions: Mapping[str, str] = {}
    units: str = ""
    facts: Mapping[str, int | str | None] = {}

    @property
    def id(self) -> UUID:
        return derived_id(self.kind, self.source)

    def payload(self) -> bytes:
        kept = ("book", "asset", "units", "amounts", "accounts", "dimensions", "facts")
        return msgspec.json.encode({name: getattr(self, name) for name in kept if getattr(self, name)})


class _Amounts(msgspec.Struct, frozen=True):
    """What `stored_amounts` reads of a payload."""

    amounts: dict[str, int]


class Posted(msgspec.Struct, frozen=True):
    id: UUID


class Move(msgspec.Struct, frozen=True):
    """A transfer ready to be written: its entries, and how far floors rise. `taken`: as its rule says."""

    id: UUID
    kind: str
    subject_id: UUID
    payload: bytes
    book: str
    entries: tuple[Entry, ...]
    floors: tuple[tuple[UUID, int], ...] = ()
    taken: bool = False


async def post(conn: Conn, postings: Sequence[Posting]) -> list[Posted | BillingError]:
    """Writes each event once, in the caller's transaction. Returns one outcome each.

    A replay with the same contents is Posted, with others a TransferConflict. InsufficientFunds: a wallet's account would
    fall below its floor; UnknownAccount: it does not exist. Refusals write nothing. Raises ValueError for an event that no
    rule has, or whose amounts are not whole numbers, are missing, negative or do not add up, and UnknownAsset.
    """
    return await write(conn, [_move(posting) for posting in postings])


async def post_all(conn: Conn, postings: Sequence[Posting]) -> list[UUID]:
    """As `post`, for a caller that gives up at the first refusal: raises it. Returns the transfers' ids."""
    outcomes = await post(conn, postings)
    for outcome in outcomes:
        if isinstance(outcome, BillingError):
            raise outcome
    return [posting.id for posting in postings]


async def stored_amounts(conn: Conn, posting_id: UUID) -> dict[str, int] | None:
    """What was posted under this id: an amount that is decided under a lock must be the same again in a replay."""
    stored = await sql.TRANSFERS.all(conn, [posting_id])
    return msgspec.json.decode(stored[0].payload, type=_Amounts).amounts if stored else None


async def write(conn: Conn, moves: Sequence[Move]) -> list[Posted | BillingError]:
    """The one way by which transfers other than captures are written; in order, each seeing what those before it moved."""
    await _open_ours(conn, moves)
    guarded = {entry.account_id for move in moves for entry in move.entries if not entry.path}
    guarded |= {account for move in moves for account, _ in move.floors}
    balances = await sql.LOCK_ACCOUNTS.all(conn, list(guarded)) if guarded else []
    stored = await _stored(conn, moves)
    free = {balance.account_id: balance.free for balance in balances}
    spendable = {balance.account_id for balance in balances if balance.kind != "credit"}
    outcomes: list[Posted | BillingError] = []
    new: dict[UUID, Move] = {}
    for move, before in zip(moves, stored, strict=True):
        refusal = before
        if refusal is None and move.id in new:
            refusal = Posted(move.id) if new[move.id] == move else _conflict(move)
        if refusal is None:
            refusal = _refusal(move, free, spendable)
            if refusal is None:
                new[move.id] = move
        outcomes.append(refusal or Posted(move.id))
    if not new:
        return outcomes
    lost = await _insert(conn, list(new.values()), {balance.account_id: balance.free for balance in balances})
    # Somebody posted these at the same moment, under no lock of ours: what they wrote is visible now.
    late = {move.id: outcome for move, outcome in zip(lost, await _stored(conn, lost), strict=True)} if lost else {}
    return [late.get(move.id) or outcome for move, outcome in zip(moves, outcomes, strict=True)]


async def _open_ours(conn: Conn, moves: Sequence[Move]) -> None:
    """Makes those of our accounts that these moves are the first to name, in one order, so that two such calls do not block."""
    rows = sorted(
        {(entry.account_id, entry.path, entry.asset, move.book) for move in moves for entry in move.entries if entry.path}
    )
    if rows:
        try:
            await sql.ADD_PLATFORM_ACCOUNTS.run(conn, *[list(column) for column in zip(*rows, strict=True)])
        except asyncpg.ForeignKeyViolationError as error:
            raise UnknownAsset(", ".join(sorted({asset for _, _, asset, _ in rows}))) from error


def _move(posting: Posting) -> Move:
    rule = RULES.get(posting.kind)
    if rule is None:
        raise ValueError(f"no rule is called {posting.kind!r}")
    _check_amounts(posting, rule)
    entries = tuple(entry for leg in rule.legs if (entry := _entry(posting, leg)).amount)
    for asset in {entry.asset for entry in entries}:
        if sum(entry.amount for entry in entries if entry.asset == asset):
            raise ValueError(f"{posting.kind} {posting.source}: the amounts in {asset} do not add up")
    rise = posting.amounts.get(rule.raises, 0) - posting.amounts.get(rule.lowers, 0)
    floors = ((UUID(_named(posting, "credit")), rise),) if rise else ()
    return Move(posting.id, posting.kind, posting.subject_id, posting.payload(), posting.book, entries, floors, rule.taken)


def _check_amounts(posting: Posting, rule: Rule) -> None:
    for name, amount in posting.amounts.items():
        if type(amount) is not int:
            raise ValueError(f"{posting.kind} {posting.source}: {name} must be a whole number, not {amount!r}")
        if amount < 0 and name not in rule.signed:
            raise ValueError(f"{posting.kind} {posting.source}: {name} must not be below zero, not {amount}")
    needed = {leg.amount for leg in rule.legs} | {rule.raises, rule.lowers} - {""}
    if wrong := needed ^ set(posting.amounts):
        raise ValueError(f"{posting.kind} {posting.source}: it has the amounts {', '.join(sorted(needed))}; {wrong} differ")


def _entry(posting: Posting, leg: Leg) -> Entry:
    asset = posting.units if leg.units else posting.asset
    amount = leg.sign * posting.amounts[leg.amount]
    if leg.account.startswith("{"):
        return Entry(UUID(_named(posting, leg.account[1:-1])), asset, amount)
    name, *roles = leg.account.split("/")
    dimensions = [_named(posting, role[1:-1]) for role in roles]
    path = platform_path(name, posting.book, asset, *dimensions)
    return Entry(platform_account_id(name, posting.book, asset, *dimensions), asset, amount, path)


def _named(posting: Posting, role: str) -> str:
    if role not in posting.accounts and role not in posting.dimensions:
        raise ValueError(f"{posting.kind} {posting.source}: it does not say which {role}")
    return str(posting.accounts.get(role) or posting.dimensions[role])


def _refusal(move: Move, free: dict[UUID, int], spendable: set[UUID]) -> BillingError | None:
    """Takes the move out of `free`, or leaves it untouched and says why.

    A floor may rise above what is left. Credit is spent by holding it; what else moves it is an invoice.
    """
    moved: dict[UUID, int] = {}
    for entry in move.entries:
        if not entry.path:
            moved[entry.account_id] = moved.get(entry.account_id, 0) + entry.amount
    risen = dict(move.floors)
    for account in moved.keys() | risen.keys():
        if account not in free:
            return UnknownAccount(str(account))
    for account, amount in moved.items():
        spends = account in spendable and amount < 0 and not move.taken
        if spends and free[account] + amount - risen.get(account, 0) < 0:
            return InsufficientFunds(f"{move.kind} {move.id}")
    for account in moved.keys() | risen.keys():
        free[account] += moved.get(account, 0) - risen.get(account, 0)
    return None


def _conflict(move: Move) -> TransferConflict:
    return TransferConflict(f"{move.kind} {move.id}")


async def _stored(conn: Conn, moves: Sequence[Move]) -> list[Posted | TransferConflict | None]:
    """What the stored transfers make of each move; None where there is none yet."""
    same = {row.nth: row.same for row in await sql.FIND_TRANSFERS.all(conn, *_columns(moves))}
    return [
        (Posted(move.id) if same[nth] else _conflict(move)) if nth in same else None for nth, move in enumerate(moves, start=1)
    ]


def _columns(moves: Sequence[Move]) -> list[list[object]]:
    rows = [(move.id, move.kind, move.subject_id, move.payload) for move in moves]
    return [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]


async def _insert(conn: Conn, moves: Sequence[Move], free: Mapping[UUID, int]) -> list[Move]:
    """Writes the moves and returns those that somebody else has written meanwhile. `free`: what accounts had before."""
    added = {row.id: row.at for row in await sql.ADD_TRANSFERS.all(conn, *_columns(moves))}
    legs: list[tuple[UUID, int, UUID, str, int, datetime]] = []
    shifts: dict[UUID, list[int]] = {}
    taken: dict[UUID, int] = {}
    for move in moves:
        if move.id not in added:
            continue
        for leg, entry in enumerate(move.entries):
            legs.append((move.id, leg, entry.account_id, entry.asset, entry.amount, added[move.id]))
            if not entry.path:
                shifts.setdefault(entry.account_id, [0, 0])[0] += entry.amount
                if move.taken:
                    taken[entry.account_id] = taken.get(entry.account_id, max(-free[entry.account_id], 0)) + abs(entry.amount)
        for account, rise in move.floors:
            shifts.setdefault(account, [0, 0])[1] += rise
    if taken:  # a floor may rise above what is left, but nothing may fall below one: so it steps aside
        await sql.LOWER_FLOORS.run(conn, list(taken), list(taken.values()))
    await sql.POST_ENTRIES.run(
        conn,
        *([list(column) for column in zip(*legs, strict=True)] or [[], [], [], [], [], []]),
        list(shifts),
        [posted for posted, _ in shifts.values()],
        [floor for _, floor in shifts.values()],
    )
    if taken:
        await sql.LOWER_FLOORS.run(conn, list(taken), [-amount for amount in taken.values()])
    return [move for move in moves if move.id not in added]
