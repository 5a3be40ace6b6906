"""Every object that the server makes is one that the pinned SDK knows, field by field."""

from typing import Any

import pytest
from stripe import StripeClient
from stripe._api_version import _ApiVersion

from tests.stripe.control import Control
from tests.stripe.server.world import API_VERSION
from tests.stripe.shapes import check
from tests.stripe.walk import walk

INTERNAL = {"deleted_customer"}
"""Tables that are no objects of Stripe's."""


def test_the_server_speaks_the_version_of_the_sdk() -> None:
    assert API_VERSION == _ApiVersion.CURRENT


async def test_every_object_is_as_the_sdk_types_it(stripe_client: StripeClient, control: Control) -> None:
    await walk(stripe_client, control)
    tables: dict[str, dict[str, dict[str, Any]]] = (await control.dump())["tables"]
    rows = [row for kind, table in tables.items() if kind not in INTERNAL for row in table.values()]
    told = [event["data"]["object"] for event in tables["event"].values()]
    assert {difference for row in rows + told for difference in check(row)} == set()
    assert len(tables.keys() - INTERNAL) == 25


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"amount": "100"}, "refund.amount: '100' is no int"),
        ({"amount": True}, "refund.amount: True is no int"),
        ({"colour": "red"}, "refund.colour: the SDK knows no such field"),
        ({"reason": "a whim"}, "refund.reason: 'a whim' is none of 4 known values"),
        ({"metadata": []}, "refund.metadata: [] is no object"),
        ({"next_action": {"type": 1}}, "refund.next_action.type: 1 is no str"),
    ],
)
def test_a_difference_is_found(change: dict[str, Any], complaint: str) -> None:
    right: dict[str, Any] = {"id": "re_1", "object": "refund", "amount": 1, "created": 1, "currency": "usd"}
    assert check(right) == []
    assert check(right | change) == [complaint]
    assert check({"object": "refund", "id": "re_1", "amount": 1, "created": 1}) == ["refund.currency: missing"]
