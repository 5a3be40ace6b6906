"""Whom Stripe knows: made once, told what an invoice would say, and of its tax number."""

from typing import Any

import msgspec

from billing.customers.model import BillingDetails
from billing.customers.register import update_billing_details
from billing.stripe.recharge import paying
from tests.billing.stripe.office import ANN, KEY, RETURN, Office

BERLIN = BillingDetails(legal_name="Nordlicht Film GmbH", address="Torstraße 1", country="DE", tax_id="DE123456789")


async def table(office: Office, kind: str) -> list[dict[str, Any]]:
    return list((await office.control.dump())["tables"].get(kind, {}).values())


async def test_a_customer_is_made_once_and_told_of_what_changes(office: Office) -> None:
    _, first = await office.desk.payer(ANN)
    await office.shop.does(update_billing_details, ANN, BERLIN)
    for _ in range(2):
        assert (await office.desk.payer(ANN))[1] == first
    (known,) = await table(office, "customer")
    assert (known["name"], known["address"]["country"], known["metadata"]) == (
        BERLIN.legal_name,
        "DE",
        {"tallylight_customer": str(ANN)},
    )
    assert [(one["type"], one["value"]) for one in await table(office, "tax_id")] == [("eu_vat", "DE123456789")]
    assert (await office.shop.does(paying, ANN)).tax_id_state == "unavailable"
    await office.shop.does(update_billing_details, ANN, msgspec.structs.replace(BERLIN, tax_id="DE987654321"))
    await office.desk.payer(ANN)
    assert [one["value"] for one in await table(office, "tax_id")] == ["DE987654321"]
    asked = len(await office.control.requests())
    await office.desk.payer(ANN)
    assert len(await office.control.requests()) == asked


async def test_the_portal_is_a_page_of_stripes(office: Office) -> None:
    assert (await office.desk.portal(ANN, RETURN)).startswith("http")


async def test_a_customer_that_was_deleted_at_stripe_is_made_anew(office: Office) -> None:
    _, first = await office.desk.payer(ANN)
    answer = await office.control._client.delete(
        f"{str(office.control._client.base_url).removesuffix('/_control/')}/v1/customers/{first}",
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code == 200
    await office.hears(await office.events())
    await office.pays(100_00)
    await office.hears(await office.events())
    assert await office.balances() == {"paid": 100_000_000} and (await office.desk.payer(ANN))[1] != first
