"""Plans, events and invoices over the API: an organization sees its own."""

import httpx

from billing.invoices.sales import invoice_sales
from billing.kit.query import Conn
from billing.plans.catalogue import publish_catalogue
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from gateway.fleet.offers import load_plans, load_sellers
from tests.stack import Customer, Stack


async def buys(conn: Conn, customer: Customer) -> None:
    sellers = load_sellers("")
    async with conn.transaction():
        await publish_catalogue(conn, load_plans(""))
        await subscribe(conn, sellers, customer_id=customer.org_id, plan="free", source="s")
        await buy_pack(conn, sellers, customer_id=customer.org_id, pack="pack-1000", source="p")
        await invoice_sales(conn, sellers)


def test_an_organization_sees_its_plan_its_invoices_and_its_events(desk: Stack) -> None:
    ann, ben = desk.customer(), desk.customer()
    desk.database(lambda conn: buys(conn, ann))

    def get(path: str, customer: Customer = ann) -> httpx.Response:
        return httpx.get(f"{desk.base_url}{path}", headers=customer.bearer)

    offers = get("/v1/plans").json()
    assert {plan["name"] for plan in offers["plans"]} >= {"studio", "free"} and offers["packs"][0]["name"] == "pack-1000"
    assert get("/v1/plan").json()["plan"]["allowance_ms"] == 20_000
    assert get("/v1/plan", ben).status_code == 404
    events = get("/v1/events").json()["data"]
    assert [event["kind"] for event in events] == ["plan.started", "invoice.finalised"]
    assert get(f"/v1/events?after={events[0]['position']}").json()["data"] == events[1:]
    assert get("/v1/events", ben).json()["data"] == []

    (invoice,) = get("/v1/invoices").json()["data"]
    assert get("/v1/invoices", ben).json()["data"] == []
    assert get(f"/v1/invoices/{invoice['id']}").json() == invoice
    assert (invoice["total_minor"], invoice["paid_minor"]) == (900_00, 900_00)
    document = get(f"/v1/invoices/{invoice['id']}/pdf")
    assert document.headers["content-type"] == "application/pdf" and document.content.startswith(b"%PDF")
    assert b"<ram:GrandTotalAmount>900.00</ram:GrandTotalAmount>" in get(f"/v1/invoices/{invoice['id']}/xml").content
    for suffix in ("", "/pdf", "/xml"):
        assert get(f"/v1/invoices/{invoice['id']}{suffix}", ben).status_code == 404
        assert get(f"/v1/invoices/nothing{suffix}").status_code == 404
    for wrong in ("?limit=0", "?limit=x", "?after=-1", "?since=1"):
        assert get(f"/v1/events{wrong}").status_code == 400
