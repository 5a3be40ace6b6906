"""Linear programs, solved by HiGHS; it is imported only when the first one is."""

from typing import Any, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Unsolvable(Exception):
    """HiGHS found no optimum; the sentence holds its own word for it."""


class Solution(Struct, frozen=True):
    """`duals`: how the least cost changes with each row's bound."""

    cost: float
    columns: Floats
    duals: Floats


def minimize(
    cost: Floats, rows: tuple[Floats, Floats], matrix: tuple[Integers, Integers, Floats], upper: Floats | None = None
) -> Solution:
    """Min cost·x subject to low ≤ Ax ≤ high and 0 ≤ x ≤ upper. `matrix` is A by columns: starts, row indices, values.

    Raises Unsolvable.
    """
    import highspy  # noqa: PLC0415 - the API process never solves one and does not pay for the import

    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(cost), len(rows[0])
    program.col_cost_ = cost
    program.col_lower_, program.col_upper_ = np.zeros(len(cost)), np.full(len(cost), np.inf) if upper is None else upper
    program.row_lower_, program.row_upper_ = rows
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_, program.a_matrix_.index_ = matrix[0].astype(np.int32), matrix[1].astype(np.int32)
    program.a_matrix_.value_ = matrix[2]
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise Unsolvable(solver.modelStatusToString(status))
    found = cast(Any, solver.getSolution())
    return Solution(solver.getObjectiveValue(), np.array(found.col_value), np.array(found.row_dual))
