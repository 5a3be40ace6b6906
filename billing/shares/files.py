"""Statements and counts as CSV; pure. A last row `total` says what the rows come to."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

from billing.errors import StatementRefused
from billing.kit.money import parse_micro
from billing.shares.model import PROBLEMS_MAX, IncomeRow, IncomeStatement, Problem

Parsed = TypeVar("Parsed")

INCOME_COLUMNS = ("id", "subject", "occurred_on", "currency", "amount", "takes_back")
VIEW_COLUMNS = ("creator", "views")


def income_of_csv(text: str, *, network: str, reference: str, currency: str) -> IncomeStatement:
    """`id,subject,occurred_on,currency,amount,takes_back`, then `total,,,,<amount>,`. Raises StatementRefused with every row
    that cannot be read.
    """
    rows, total = _table(text, INCOME_COLUMNS, _income_row, lambda cells: parse_micro(cells[4]))
    return IncomeStatement(network, reference, currency, total, tuple(rows))


def views_of_csv(text: str) -> tuple[list[tuple[str, int]], int]:
    """`creator,views`, then `total,<views>`. Returns the rows and the total. Raises StatementRefused."""
    return _table(text, VIEW_COLUMNS, lambda cells: (cells[0], _count(cells[1])), lambda cells: _count(cells[1]))


def _table(
    text: str, columns: Sequence[str], read: Callable[[list[str]], Parsed], read_total: Callable[[list[str]], int]
) -> tuple[list[Parsed], int]:
    try:
        lines = [[cell.strip() for cell in line] for line in csv.reader(io.StringIO(text.removeprefix("\ufeff")))]
    except csv.Error as error:
        raise StatementRefused([Problem(0, f"it is no CSV: {error}")]) from error
    if not lines or lines[0] != list(columns):
        raise StatementRefused([Problem(0, f"the first line is {','.join(columns)}")])
    if len(lines) < 2 or lines[-1][:1] != ["total"]:
        raise StatementRefused([Problem(0, "the last line is the total")])
    problems: list[Problem] = []
    rows: list[Parsed] = []
    for number, cells in enumerate(lines[1:-1], start=1):
        try:
            rows.append(read(_cells(cells, columns)))
        except ValueError as error:
            problems.append(Problem(number, str(error)))
    try:
        total = read_total(_cells(lines[-1], columns))
    except ValueError as error:
        problems.append(Problem(0, f"the total: {error}"))
        total = 0
    if problems:
        raise StatementRefused(problems[:PROBLEMS_MAX])
    return rows, total


def _cells(cells: list[str], columns: Sequence[str]) -> list[str]:
    if len(cells) != len(columns):
        raise ValueError(f"it has {len(cells)} columns, not {len(columns)}")
    return cells


def _income_row(cells: list[str]) -> IncomeRow:
    row_id, subject, occurred_on, currency, amount, takes_back = cells
    return IncomeRow(row_id, subject, date.fromisoformat(occurred_on), currency, parse_micro(amount), takes_back or None)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"{text!r} is no number of views")
    return int(text)
