"""The life of a payment is told three times: in code, as a constraint, as a drawing. They agree."""

import re

from billing.kit.query import Conn
from billing.stripe.model import TRANSITIONS
from tests.tidy.checks import ROOT


def test_the_readme_draws_the_table() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+)", (ROOT / "billing/stripe/README.md").read_text(), re.MULTILINE)
    assert set(drawn) == {(before, after) for before, afters in TRANSITIONS.items() for after in afters}


async def test_the_constraint_lists_the_states(database: Conn) -> None:
    definition = await database.fetchval("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'payment_state'")
    assert set(re.findall(r"'(\w+)'", str(definition))) == set(TRANSITIONS)


async def test_every_kind_of_event_that_is_told_is_known(database: Conn) -> None:
    """What is written to the event table by name anywhere in the package is in the list that webhooks publish."""
    from typing import get_args

    from billing.plans.events import EventKind

    told = set()
    for path in (ROOT / "billing/stripe").glob("*.py"):
        told |= set(re.findall(r'tell\(\s*conn,\s*"([a-z_.]+)"', path.read_text()))
    assert told and told <= set(get_args(EventKind))
