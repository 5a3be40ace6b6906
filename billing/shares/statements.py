"""Take a network's statement in: the whole of it, or nothing and every row that is wrong."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from uuid import UUID

import msgspec

from billing.errors import StatementRefused
from billing.kit.money import SYMBOLS, format_micro
from billing.kit.query import Conn
from billing.ledger.post import Posting, post_all
from billing.shares import sql
from billing.shares.model import (
    AMOUNT_MICRO_MAX,
    NETWORK,
    PROBLEMS_MAX,
    Agreement,
    IncomeKind,
    IncomeRow,
    IncomeStatement,
    Party,
    Problem,
    split,
    split_back,
    statement_id,
)
from billing.shares.payables import Because, Payables
from billing.shares.payees import agreements, parties_of


class Imported(msgspec.Struct, frozen=True):
    """What came of a statement. `new` is False for one that had been taken in before."""

    id: UUID
    rows: int
    total_micro: int
    new: bool


class _Income(msgspec.Struct):
    """An income as it stands while later rows take from it."""

    id: UUID
    agreement_id: UUID
    subject: str
    kind: IncomeKind
    amount_micro: int
    taken_micro: int
    parties: tuple[Party, ...]

    @property
    def left_micro(self) -> int:
        return self.amount_micro - self.taken_micro


async def import_income(conn: Conn, statement: IncomeStatement) -> Imported:
    """Books the income of every row to its parties and us, once, in the caller's transaction; the same again changes nothing.

    Raises StatementRefused with every row that is wrong (at most 100): then nothing is booked.
    """
    if wrong := _check_whole(statement):
        raise StatementRefused(wrong)
    await sql.LOCK.run(conn, statement.network)
    stored = await sql.STATEMENT.maybe(conn, statement.id)
    if stored is not None:
        if stored.digest != statement.digest():
            raise StatementRefused([Problem(0, f"{statement.reference} was taken in before with other rows")])
        return Imported(stored.id, len(statement.rows), stored.total_micro, new=False)
    found = _Found(
        await agreements(conn, (row.subject for row in statement.rows)),
        {one.id: _stored(one) for one in await sql.INCOMES.all(conn, list(_ids(statement)))},
    )
    incomes = found.resolve(statement)
    await _write(conn, statement, incomes)
    return Imported(statement.id, len(statement.rows), statement.total_micro, new=True)


async def settle_income(conn: Conn, network: str, reference: str) -> None:
    """The network has paid the statement into our bank; once, in the caller's transaction. Raises StatementRefused."""
    stored = await sql.STATEMENT.maybe(conn, statement_id(network, reference))
    if stored is None:
        raise StatementRefused([Problem(0, f"{network} has no statement {reference}")])
    if await sql.SETTLE_STATEMENT.run(conn, stored.id):
        paid = Posting(
            kind="income_settled",
            source=str(stored.id),
            subject_id=stored.id,
            book="live",
            asset=stored.currency,
            amounts={"amount": stored.total_micro},
            dimensions={"network": network},
        )
        await post_all(conn, [paid])


class _Found:
    """What is known of the rows: agreements of their subjects, and incomes there are under their ids."""

    def __init__(self, by_subject: Mapping[str, Sequence[Agreement]], stored: Mapping[UUID, _Income]) -> None:
        self._by_subject, self._stored = by_subject, stored
        self._new: dict[UUID, _Income] = {}

    def resolve(self, statement: IncomeStatement) -> list[tuple[IncomeRow, _Income, list[int]]]:
        """Each row with the income that it is or takes from, and the parts of its parties and us. Raises StatementRefused."""
        problems: list[Problem] = []
        resolved: list[tuple[IncomeRow, _Income, list[int]]] = []
        for number, row in enumerate(statement.rows, start=1):
            row_id = statement.row_id(row.id)
            if row_id in self._stored:
                problems.append(Problem(number, f"row {row.id} came with an earlier statement"))
                continue
            outcome = self._income(row_id, row) if row.takes_back is None else self._taken(statement, row)
            if isinstance(outcome, str):
                problems.append(Problem(number, outcome))
            else:
                resolved.append((row, *outcome))
        if problems:
            raise StatementRefused(problems[:PROBLEMS_MAX])
        return resolved

    def _income(self, row_id: UUID, row: IncomeRow) -> tuple[_Income, list[int]] | str:
        agreement = _in_force(self._by_subject.get(row.subject, ()), row.occurred_on)
        if agreement is None or agreement.parties is None:
            return f"there is no agreement about {row.subject} on {row.occurred_on}"
        if agreement.currency != row.currency:
            return f"the agreement about {row.subject} is in {agreement.currency}"
        income = _Income(row_id, agreement.id, row.subject, agreement.kind, row.amount_micro, 0, agreement.parties)
        self._new[row_id] = income
        return income, split(row.amount_micro, income.parties)

    def _taken(self, statement: IncomeStatement, row: IncomeRow) -> tuple[_Income, list[int]] | str:
        of = statement.row_id(row.takes_back or "")
        income = self._new.get(of) or self._stored.get(of)
        if income is None or income.amount_micro < 0:
            return f"there is no income {row.takes_back} to take back from"
        if income.subject != row.subject:
            return f"income {row.takes_back} was of {income.subject}"
        more_micro = -row.amount_micro
        if more_micro > income.left_micro:
            return f"of income {row.takes_back} only {format_micro(income.left_micro, row.currency)} is left to take back"
        parts = split_back(income.amount_micro, income.taken_micro, more_micro, income.parties)
        income.taken_micro += more_micro
        return income, [-part for part in parts]


async def _write(conn: Conn, statement: IncomeStatement, rows: Sequence[tuple[IncomeRow, _Income, list[int]]]) -> None:
    payables = Payables(statement.currency)
    for row, income, parts in rows:
        _move(payables, statement, row, income, parts)
    await sql.ADD_STATEMENT.run(
        conn,
        statement.id,
        statement.network,
        statement.reference,
        statement.currency,
        statement.total_micro,
        statement.digest(),
    )
    columns = [
        (statement.row_id(row.id), nth, income.agreement_id, row.occurred_on, row.amount_micro, _taken_id(statement, row))
        for nth, (row, income, _) in enumerate(rows, start=1)
    ]
    await sql.ADD_INCOMES.run(conn, *[list(column) for column in zip(*columns, strict=True)], len(columns), statement.id)
    await payables.write(conn)


def _move(payables: Payables, statement: IncomeStatement, row: IncomeRow, income: _Income, parts: Sequence[int]) -> None:
    """The row's whole comes in, or goes back, as something to share; every part of it then goes where it belongs."""
    row_id = statement.row_id(row.id)
    *of_parties, kept = parts

    def ours(kind: str, amount_micro: int, **dimensions: str) -> None:
        if amount_micro:
            payables.post(
                Posting(
                    kind=kind if amount_micro > 0 else f"{kind}_back",
                    source=str(row_id),
                    subject_id=row_id,
                    book="live",
                    asset=statement.currency,
                    amounts={"amount": abs(amount_micro)},
                    dimensions=dimensions,
                    facts={"row": row.id, "statement": statement.reference},
                )
            )

    ours("income", row.amount_micro, network=statement.network)
    ours("share_kept", kept, income=income.kind)
    for party, amount_micro in zip(income.parties, of_parties, strict=True):
        basis = f"{party.ppm / 10_000:g} % of {format_micro(row.amount_micro, statement.currency)}"
        why = Because(kind="share", source=str(row_id), subject_id=row_id, basis=basis, income_id=row_id)
        payables.move(party.payee, amount_micro, why)


def _check_whole(statement: IncomeStatement) -> list[Problem]:
    """What can be said without the database."""
    problems = list(_check_head(statement))
    seen: dict[str, int] = {}
    for number, row in enumerate(statement.rows, start=1):
        if (first := seen.setdefault(row.id, number)) != number:
            problems.append(Problem(number, f"row {row.id} is row {first} again"))
        if row.currency != statement.currency:
            problems.append(Problem(number, f"it is in {row.currency}, the statement in {statement.currency}"))
        if abs(row.amount_micro) > AMOUNT_MICRO_MAX:
            problems.append(Problem(number, "no income is of more than a billion"))
        if row.amount_micro == 0 or (row.amount_micro < 0) != (row.takes_back is not None):
            problems.append(Problem(number, "an income is above zero; one below zero says what it takes back"))
        if not row.id or not row.subject:
            problems.append(Problem(number, "a row has an id and says whose income it is"))
    total_micro = sum(row.amount_micro for row in statement.rows)
    if total_micro != statement.total_micro:
        said, is_micro = (format_micro(amount, statement.currency) for amount in (statement.total_micro, total_micro))
        problems.append(Problem(0, f"the total says {said}, the rows come to {is_micro}"))
    return problems[:PROBLEMS_MAX]


def _check_head(statement: IncomeStatement) -> Iterator[Problem]:
    if not NETWORK.fullmatch(statement.network):
        yield Problem(0, f"{statement.network!r} is no name of a network: small letters, digits and dashes")
    if not 0 < len(statement.reference) <= 200 or not statement.rows:
        yield Problem(0, "a statement has a reference of at most 200 characters and at least one row")
    if statement.currency not in SYMBOLS:
        yield Problem(0, f"{statement.currency!r} is no currency of ours: {', '.join(SYMBOLS)}")


def _ids(statement: IncomeStatement) -> Iterator[UUID]:
    for row in statement.rows:
        yield statement.row_id(row.id)
        if row.takes_back is not None:
            yield statement.row_id(row.takes_back)


def _taken_id(statement: IncomeStatement, row: IncomeRow) -> UUID | None:
    return None if row.takes_back is None else statement.row_id(row.takes_back)


def _stored(row: sql.StoredIncome) -> _Income:
    return _Income(row.id, row.agreement_id, row.subject, row.kind, row.amount_micro, row.taken_micro, parties_of(row.parties))


def _in_force(succession: Sequence[Agreement], on: date) -> Agreement | None:
    nth = bisect_right([one.effective_on for one in succession], on)
    return succession[nth - 1] if nth else None
