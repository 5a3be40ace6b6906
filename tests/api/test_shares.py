"""Shares over the API: operators agree, book and count; a merchant reads what is its own, and nobody else's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.settings import Secret
from tests.api.test_managers import manage
from tests.stack import Stack, running_stack

TOKEN = "an operator token of the tests, long enough"
HEAD = "id,subject,occurred_on,currency,amount,takes_back\n"
CSV = {"content-type": "text/csv"}


@pytest.fixture(scope="module")
def office(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API whose settings name an operator."""
    folder: Path = tmp_path_factory.mktemp("shares")
    with running_stack(module_dsn, folder, replicas=0, roles=("api",), operator_token=Secret(TOKEN)) as stack:
        yield stack


@pytest.fixture
def operator(office: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{office.base_url}/v1/shares", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def made(answer: httpx.Response, status: int = 201) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def income(operator: httpx.Client, text: str, **query: str) -> httpx.Response:
    asked = {"network": "kads", "reference": "s1", **query}
    return operator.post("/income", params=asked, content=text.encode(), headers=CSV)


def test_from_an_agreement_to_what_a_merchant_reads(office: Stack, operator: httpx.Client) -> None:
    merchant, stranger = office.customer(), office.customer()
    lamp = {"reference": "lamp-shop", "name": "Lamp Shop", "currency": "CNY", "threshold_micro": 5_000_000}
    payee = made(operator.post("/payees", json=lamp))
    assert made(operator.post("/payees", json=lamp)) == payee and payee["waits_for"] == "destination"
    agreement = {"subject": "lamps", "kind": "ad", "currency": "CNY", "effective_on": "2026-01-01"}
    agreed = made(operator.post("/agreements", json={**agreement, "parties": [{"payee": "lamp-shop", "ppm": 700_000}]}))
    assert agreed["parties"] == [{"payee": payee["id"], "ppm": 700_000}]
    assert made(operator.get("/agreements", params={"subject": "lamps"}), 200)["data"] == [agreed]

    refused = income(
        operator, HEAD + "a,lamps,2026-01-05,CNY,10,\nb,vases,2026-01-05,USD,10,\na,lamps,2026-01-05,CNY,5,\ntotal,,,,20,\n"
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "statement_refused")
    for said in ("row 2: it is in USD", "row 3: row a is row 1 again", "the total says ¥20.00, the rows come to ¥25.00"):
        assert said in refused.json()["detail"]
    assert made(operator.get("/income"), 200)["data"] == []
    booked = made(income(operator, HEAD + "a,lamps,2026-01-05,CNY,10,\ntotal,,,,10,\n"))
    assert (booked["rows"], booked["total_micro"], booked["new"]) == (1, 10_000_000, True)
    row = {"id": "a", "subject": "lamps", "occurred_on": "2026-01-05", "currency": "CNY", "amount_micro": 10_000_000}
    same = {"network": "kads", "reference": "s1", "currency": "CNY", "total_micro": 10_000_000, "rows": [row]}
    assert made(operator.post("/income", json=same)) == {**booked, "new": False}
    assert made(operator.post("/income/kads/s1/settle"), 200)["settled"] is True
    (statement,) = made(operator.get("/income"), 200)["data"]
    assert (statement["reference"], statement["rows"], statement["settled"]) == ("s1", 1, True)

    found = operator.get("/payees/lamp-shop")
    assert found.json()["owed_micro"] == 7_000_000
    path, theirs = "/payees/lamp-shop", {"customer_id": str(merchant.org_id), "held": "its contract is disputed"}
    assert operator.patch(path, json=theirs).status_code == 428
    changed = operator.patch(path, json=theirs, headers={"if-match": found.headers["etag"]})
    assert made(changed, 200)["waits_for"] == "held"
    assert operator.patch(path, json={"held": None}, headers={"if-match": found.headers["etag"]}).status_code == 412
    assert made(operator.patch(path, json={"held": None}, headers={"if-match": changed.headers["etag"]}), 200)["held"] is None
    assert (
        operator.post("/payees/lamp-shop/connect", json={"country": "US", "return_url": "https://example.com"}).status_code == 404
    )

    month = {"month": office.database(lambda conn: conn.fetchval("SELECT to_char(billing.now(), 'YYYY-MM')")), "time_zone": "UTC"}
    statement = made(operator.get("/payees/lamp-shop/statement", params=month), 200)
    assert [line["basis"] for line in statement["lines"]] == ["70 % of ¥10.00"] and statement["closing_micro"] == 7_000_000
    with manage(office, merchant, "billing:read") as client:
        (own,) = made(client.get("/v1/earnings"), 200)["data"]
        assert own == made(operator.get(path), 200)
        mine = f"/v1/earnings/{own['id']}"
        assert made(client.get(f"{mine}/statement", params=month), 200) == statement
        (accrual,) = made(client.get(f"{mine}/accruals"), 200)["data"]
        assert (accrual["subject"], accrual["amount_micro"]) == ("lamps", 7_000_000)
        assert made(operator.get("/payees/lamp-shop/accruals"), 200)["data"] == [accrual]
        assert made(client.get(f"{mine}/payouts"), 200)["data"] == [] == made(operator.get("/payouts"), 200)["data"]
        assert client.get("/v1/shares/payees").status_code == 401
    with manage(office, stranger, "billing:read") as client:
        assert made(client.get("/v1/earnings"), 200)["data"] == []
        assert {
            client.get(f"{mine}/{what}", params=month if what == "statement" else {}).status_code
            for what in ("statement", "accruals", "payouts")
        } == {404}
    with manage(office, merchant, "usage:read") as client:
        assert client.get("/v1/earnings").status_code == 403


def test_a_pool_is_counted_whole(operator: httpx.Client) -> None:
    for name in ("ann", "ben"):
        made(operator.post("/payees", json={"reference": name, "name": name.title(), "currency": "CNY"}))
    pool = {
        "name": "films",
        "starts_on": "2026-01-01",
        "ends_on": "2026-02-01",
        "currency": "CNY",
        "pool_micro": 100,
        "closes_at": "2026-02-15T00:00:00Z",
    }
    opened = made(operator.post("/pools", json=pool))
    assert made(operator.get("/pools"), 200)["data"] == [opened] and opened["closed_at"] is None
    views = f"/pools/{opened['id']}/views"
    assert made(operator.post(views, content=b"creator,views\nann,3\nben,1\ntotal,4\n", headers=CSV))["revision"] == 1
    rows = [{"creator": "ann", "views": 1}, {"creator": "zed", "views": 2}]
    refused = operator.post(views, json={"total": 3, "rows": rows})
    assert refused.status_code == 422 and "row 2: there is no payee zed" in refused.json()["detail"]
    assert made(operator.post(views, json={"total": 1, "rows": rows[:1]}))["revision"] == 2
    page = made(operator.get("/payees", params={"limit": 1}), 200)
    rest = made(operator.get("/payees", params={"limit": 100, "cursor": page["next_cursor"]}), 200)
    assert page["has_more"] and page["data"][0]["id"] not in {one["id"] for one in rest["data"]} and not rest["has_more"]


AGREED = {"subject": "x", "kind": "ad", "currency": "CNY", "effective_on": "2026-01-01"}
WRONG: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/payees", {"reference": "a/b", "name": "A", "currency": "CNY"}, 400, "invalid_request"),
    ("POST", "/payees", {"reference": "a", "name": "A", "currency": "XAU"}, 400, "invalid_request"),
    ("POST", "/payees", {"reference": "a", "name": "A", "currency": "CNY", "iban": "x"}, 400, "unsupported_field"),
    ("GET", "/payees/nobody", None, 404, "not_found"),
    ("PATCH", "/payees/nobody", {"held": "x"}, 404, "not_found"),
    ("GET", "/payees/nobody/statement?month=2026-01", None, 404, "not_found"),
    ("GET", "/payees/nobody/statement?month=2026-13", None, 400, "invalid_request"),
    ("GET", "/payees/nobody/statement", None, 400, "invalid_request"),
    ("GET", "/payees?cursor=x", None, 400, "invalid_request"),
    ("GET", "/payouts?payee=nobody", None, 404, "not_found"),
    ("GET", "/payouts/x", None, 404, "not_found"),
    ("GET", "/payouts/00000000-0000-0000-0000-000000000000", None, 404, "not_found"),
    ("POST", "/agreements", {**AGREED, "parties": [{"payee": "nobody", "ppm": 1}]}, 404, "not_found"),
    ("POST", "/agreements", {**AGREED, "parties": []}, 400, "invalid_request"),
    ("POST", "/agreements", {**AGREED, "parties": [{"payee": "x", "ppm": 1_000_001}]}, 400, "invalid_request"),
    ("POST", "/income", {"network": "kads"}, 400, "invalid_request"),
    ("POST", "/income?network=x", {"network": "kads"}, 400, "invalid_request"),
    ("POST", "/income", {"network": "kads", "reference": "s", "currency": "CNY", "total_micro": 10**30, "rows": [
        {"id": "a", "subject": "x", "occurred_on": "2026-01-05", "currency": "CNY", "amount_micro": 10**30}]}, 422, "statement_refused"),
    ("POST", "/income", b"", 400, "invalid_request"),
    ("POST", "/income?network=kads&reference=s", b"\xff", 400, "invalid_request"),
    ("POST", "/income?network=kads&reference=s", b"a\x00b", 400, "invalid_request"),
    ("POST", "/income?network=kads&reference=s", b'"' + b"x" * 200_000, 422, "statement_refused"),
    ("POST", "/income/kads/none/settle", {}, 422, "statement_refused"),
    ("POST", "/pools", {"name": "A B", "starts_on": "2026-01-01"}, 400, "invalid_request"),
    ("POST", "/pools/00000000-0000-0000-0000-000000000000/views", {"total": 0, "rows": []}, 404, "not_found"),
    ("POST", "/pools/00000000-0000-0000-0000-000000000000/views", b"creator\n", 422, "statement_refused"),
]  # fmt: skip


def test_what_makes_no_sense_is_refused(operator: httpx.Client) -> None:
    for method, path, body, status, code in WRONG:
        if isinstance(body, bytes):
            answer = operator.request(method, path, content=body, headers=CSV)
        else:
            answer = operator.request(method, path, json=body, headers={"if-match": "*"})
        assert (answer.status_code, answer.json().get("code")) == (status, code), (method, path, answer.text)
        assert httpx.request(method, f"{operator.base_url}{path.removeprefix('/')}").status_code == 401
