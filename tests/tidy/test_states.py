"""The life of a job is told three times: in code, as a constraint, as a drawing. They agree."""

import re

from billing.kit.query import Conn
from gateway.jobs.model import TRANSITIONS
from tests.tidy.checks import ROOT

ARROW = re.compile(r"^\s*(\w+) --> (\w+)", re.MULTILINE)


def drawn(diagram: str) -> set[tuple[str, str]]:
    return set(ARROW.findall(diagram))


def test_the_diagram_draws_the_table() -> None:
    table = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
    assert drawn((ROOT / "docs" / "state_machine.md").read_text()) == table


def test_the_diagram_is_read_arrow_by_arrow() -> None:
    assert drawn("stateDiagram-v2\n  [*] --> queued\n  queued --> running: leased\n  failed --> [*]\n") == {("queued", "running")}


async def test_the_constraint_lists_the_states(database: Conn) -> None:
    definition = await database.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'job_state' AND conrelid = 'gateway.job'::regclass"
    )
    assert set(re.findall(r"'(\w+)'", str(definition))) == set(TRANSITIONS)
