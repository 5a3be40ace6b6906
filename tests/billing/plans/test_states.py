"""The life of a subscription is told in code, as a constraint and as a drawing. They agree."""

import re

from billing.kit.query import Conn
from billing.plans.model import TRANSITIONS
from tests.tidy.checks import ROOT
from tests.tidy.test_states import drawn


def test_the_diagram_draws_the_table() -> None:
    table = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
    assert drawn((ROOT / "billing" / "plans" / "README.md").read_text()) == table


async def test_the_constraint_lists_the_states(database: Conn) -> None:
    definition = await database.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'subscription_state'"
    )
    assert set(re.findall(r"'(\w+)'", str(definition))) == set(TRANSITIONS)
