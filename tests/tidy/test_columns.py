"""The comparison of rows and columns finds what would be a wrong value at run time."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import msgspec
import pytest

from tests.tidy.columns import Column, misfits

JobId = NewType("JobId", UUID)


class Color(StrEnum):
    RED = "red"


class Row(msgspec.Struct, frozen=True):
    id: JobId
    state: Literal["queued", "running"]
    ended_at: datetime | None
    parts: list[int]
    cost: Annotated[int, msgspec.Meta(ge=0)]


FITTING = [("id", "uuid"), ("state", "text"), ("ended_at", "timestamptz"), ("parts", "int4[]"), ("cost", "int8")]


def test_a_fitting_row() -> None:
    assert list(misfits(Row, [Column(*column) for column in FITTING])) == []


@pytest.mark.parametrize(
    "index,column",
    [
        (0, ("id", "text")),
        (1, ("state", "int4")),
        (2, ("ended_at", "date")),
        (3, ("parts", "int4")),
        (3, ("parts", "text[]")),
        (4, ("cost", "numeric")),
        (4, ("cost", "tsvector")),
        (4, ("price", "int8")),
    ],
)
def test_one_wrong_column(index: int, column: tuple[str, str]) -> None:
    columns = [*FITTING[:index], column, *FITTING[index + 1 :]]
    assert len(list(misfits(Row, [Column(*column) for column in columns]))) == 1


def test_order_and_number_count() -> None:
    for columns in (FITTING[::-1], FITTING[:-1], [*FITTING, ("more", "text")]):
        assert len(list(misfits(Row, [Column(*column) for column in columns]))) == 1


@pytest.mark.parametrize("kind", [Color, Any, object, str | int])
def test_a_field_that_would_hold_something_else_than_it_says(kind: Any) -> None:
    row = msgspec.defstruct("Wrong", [("color", kind)])
    assert len(list(misfits(row, [Column("color", "text")]))) == 1
