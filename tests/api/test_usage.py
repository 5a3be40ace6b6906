"""/v1/usage, /v1/usage/jobs and /v1/statement over a real socket: shapes, files, one's own jobs only, and every refusal."""

import csv
import io
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from pyarrow import parquet

from billing.charges.hold import hold
from billing.charges.model import ChargeRequest, Delivery, Refund
from billing.charges.refund import refund
from billing.charges.rollup import roll_up
from billing.charges.settle import settle
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.reports.period import month_of, zone_of
from tests.billing.charges.till import FACTS, PLAIN, SECOND
from tests.stack import Customer, Stack, bearer

MONTH = {"from": "2026-01-01", "to": "2036-01-01"}


async def works(conn: Conn, customer: UUID, jobs: int) -> list[UUID]:
    """Jobs of 1, 2, … seconds; the last one is given back."""
    asked = [
        ChargeRequest(id=new_id(), customer_id=customer, book="live", terms=PLAIN, quantity=1000 * n) for n in range(1, jobs + 1)
    ]
    async with conn.transaction():
        await hold(conn, asked)
    deliveries = [
        Delivery(
            id=one.id, customer_id=customer, book="live", terms=PLAIN, requested=one.quantity, delivered=one.quantity,
            facts=msgspec.structs.replace(FACTS, model=["film", "still"][n % 2]),
        )
        for n, one in enumerate(asked)
    ]  # fmt: skip
    async with conn.transaction():
        await settle(conn, deliveries)
    async with conn.transaction():
        await roll_up(conn)
        await refund(conn, [Refund(id=asked[-1].id, reason="bad")])
    return [one.id for one in asked]


@pytest.fixture(scope="module")
def shop(desk: Stack) -> tuple[Customer, list[UUID]]:
    customer = desk.customer(amount_micro=100 * SECOND)
    return customer, desk.database(lambda conn: works(conn, customer.org_id, 4))


@pytest.fixture
def client(desk: Stack, shop: tuple[Customer, list[UUID]]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=desk.base_url, headers=shop[0].bearer, timeout=30) as opened:
        yield opened


def get(client: httpx.Client, path: str, **parameters: object) -> Any:
    answer = client.get(path, params={**MONTH, **parameters})  # pyright: ignore[reportArgumentType] – strings and lists of them
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_usage_is_grouped_and_exact(client: httpx.Client) -> None:
    report = get(client, "/v1/usage", group_by="model,label:team", time_zone="Asia/Kathmandu")
    assert (report["object"], report["time_zone"], report["group_by"]) == ("usage", "Asia/Kathmandu", ["model", "label:team"])
    film, still = report["data"]
    assert (film["model"], film["labels"], film["net_micro"], film["jobs"]) == ("film", {"team": "a"}, 4 * SECOND, 2)
    assert (still["net_micro"], still["jobs"], still["refunds"], still["delivered_ms"]) == (2 * SECOND, 2, 1, 2000)
    assert "chip" not in film and "cost_micro" not in film


def test_a_figure_leads_to_its_jobs(client: httpx.Client, shop: tuple[Customer, list[UUID]]) -> None:
    (line,) = get(client, "/v1/usage", group_by="model", model="still")["data"]
    bounds = {"from": line["start"], "to": line["end"], "model": "still", "limit": 1}
    found: list[dict[str, Any]] = []
    page = get(client, "/v1/usage/jobs", **bounds)
    while True:
        found += page["data"]
        if page["next_cursor"] is None:
            break
        page = get(client, "/v1/usage/jobs", **bounds, cursor=page["next_cursor"])
    assert [one["kind"] for one in found] == ["charge", "charge", "refund"]
    assert sum(one["net_micro"] for one in found) == line["net_micro"]
    second, fourth = (f"job_{shop[1][nth].hex}" for nth in (1, 3))
    # What was settled together was charged at one moment, in no order.
    assert sorted(one["job"] for one in found[:2]) == sorted([second, fourth]) and found[2]["job"] == fourth


def test_a_statement_adds_up_and_names_the_jobs(client: httpx.Client, shop: tuple[Customer, list[UUID]]) -> None:
    found = get(client, "/v1/statement")
    assert found["opening"] == 0 and found["closing"] == 94 * SECOND
    assert found["opening"] + sum(one["amount"] for one in found["movements"]) == found["closing"]
    assert [one["kind"] for one in found["movements"]].count("capture") == 4
    assert {one["job"] for one in found["movements"]} == {None, *(f"job_{job.hex}" for job in shop[1])}
    assert client.get("/v1/statement", params={**MONTH, "asset": "SEC:hd"}).status_code == 404


@pytest.mark.parametrize("path,lines", [("/v1/usage", 2), ("/v1/usage/jobs", 5), ("/v1/statement", 8)])
def test_files(client: httpx.Client, path: str, lines: int) -> None:
    groups = {"group_by": "model"} if path == "/v1/usage" else {}
    answer = client.get(path, params={**MONTH, **groups, "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].endswith('.csv"')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == lines
    accepted = client.get(path, params={**MONTH, **groups}, headers={"accept": "application/vnd.apache.parquet"})
    table = parquet.read_table(io.BytesIO(accepted.content))
    assert table.num_rows == (6 if path == "/v1/statement" else lines)
    if path != "/v1/statement":
        assert sum(table.column("net_micro").to_pylist()) == sum(int(row["net_micro"]) for row in rows) == 6 * SECOND


def test_a_month_is_in_the_organizations_zone(client: httpx.Client) -> None:
    answer = client.get("/v1/usage", params={"month": "2026-11"}).json()
    assert answer["time_zone"] == "Asia/Shanghai"
    assert answer["start"] == "2026-10-31T16:00:00Z"
    assert month_of("2026-11", zone_of("Asia/Shanghai")).start.isoformat() == "2026-10-31T16:00:00+00:00"


def test_others_and_play_money_are_not_seen(desk: Stack, shop: tuple[Customer, list[UUID]]) -> None:
    for token in (desk.customer().live, shop[0].test):
        with httpx.Client(base_url=desk.base_url, headers=bearer(token)) as stranger:
            assert get(stranger, "/v1/usage")["data"] == []
            assert get(stranger, "/v1/usage/jobs")["data"] == []
            assert get(stranger, "/v1/statement")["closing"] in (0, 1_000_000_000)


@pytest.mark.parametrize(
    "path,parameters,param",
    [
        ("/v1/usage", {}, "month"),
        ("/v1/usage", {"month": "2026-11", "from": "2026-11-01"}, "month"),
        ("/v1/usage", {"month": "2026-13"}, "month"),
        ("/v1/usage", {"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ("/v1/usage", {"from": "1.5", "to": "2026-11-01"}, "from"),
        ("/v1/usage", {**MONTH, "time_zone": "Mars/Olympus"}, "time_zone"),
        ("/v1/usage", {**MONTH, "group_by": "colour"}, "group_by"),
        ("/v1/usage", {**MONTH, "group_by": "hour"}, "from"),
        ("/v1/usage", {**MONTH, "group_by": "hour", "format": "csv"}, "from"),
        ("/v1/usage", {**MONTH, "format": "xlsx"}, "format"),
        ("/v1/usage", {**MONTH, "organization": str(UUID(int=1))}, "organization"),
        ("/v1/usage", {**MONTH, "project": "default"}, "project"),
        ("/v1/usage", {**MONTH, "label": "team"}, "label"),
        ("/v1/usage/jobs", {**MONTH, "cursor": "nonsense"}, "cursor"),
        ("/v1/usage/jobs", {**MONTH, "cursor": "é"}, "cursor"),
        ("/v1/usage/jobs", {**MONTH, "limit": "0.5"}, "limit"),
        ("/v1/usage/jobs", {**MONTH, "limit": "1001"}, "limit"),
        ("/v1/statement", {"month": "2026-1"}, "month"),
    ],
)
def test_what_makes_no_sense_is_named(client: httpx.Client, path: str, parameters: dict[str, str], param: str) -> None:
    answer = client.get(path, params=parameters)
    assert answer.status_code == 400, answer.text
    assert answer.json()["param"] == param


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from billing.errors import ReportInvalid
    from billing.reports.parquet import write_parquet

    monkeypatch.setitem(sys.modules, "pyarrow", None)

    async def go() -> None:
        await write_parquet(msgspec.Struct, None, None)  # pyright: ignore[reportArgumentType] – nothing is read before the import

    with pytest.raises(ReportInvalid, match=r"tallylight\[reports\]"):
        go().send(None)
