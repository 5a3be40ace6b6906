"""The lives of jobs and of replicas are told three times: in code, as a constraint, as a drawing. They agree."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from billing.kit.query import Conn
from gateway.fleet.registry.model import TRANSITIONS as REPLICA
from gateway.jobs.model import TRANSITIONS as JOB
from tests.tidy.checks import ROOT

ARROW = re.compile(r"^\s*(\w+) --> (\w+)", re.MULTILINE)
LIVES = pytest.mark.parametrize("noun,table", [("job", JOB), ("replica", REPLICA)])


def section(document: str, noun: str) -> str:
    """What stands under the heading about this noun."""
    return document.partition(f"# The life of a {noun}\n")[2].partition("\n# ")[0]


def drawn(diagram: str) -> set[tuple[str, str]]:
    return set(ARROW.findall(diagram))


@LIVES
def test_the_diagram_draws_the_table(noun: str, table: Mapping[Any, frozenset[Any]]) -> None:
    arrows = {(before, after) for before, afters in table.items() for after in afters}
    assert drawn(section((ROOT / "docs" / "state_machine.md").read_text(), noun)) == arrows


def test_the_diagram_is_read_arrow_by_arrow() -> None:
    assert drawn("stateDiagram-v2\n  [*] --> queued\n  queued --> running: leased\n  failed --> [*]\n") == {("queued", "running")}


def test_each_life_is_read_from_its_own_section() -> None:
    both = "# The life of a job\n a --> b\n\n# The life of a replica\n c --> d\n"
    assert (drawn(section(both, "job")), drawn(section(both, "replica"))) == ({("a", "b")}, {("c", "d")})


@LIVES
async def test_the_constraint_lists_the_states(database: Conn, noun: str, table: Mapping[Any, frozenset[Any]]) -> None:
    definition = await database.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1 AND conrelid = $2::text::regclass",
        f"{noun}_state",
        f"gateway.{noun}",
    )
    assert set(re.findall(r"'(\w+)'", str(definition))) == set(table)
