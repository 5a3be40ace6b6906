"""`tallylight usage`, `statement` and `margin`: tables, JSON, files, and one sentence where something makes no sense."""

import asyncio
import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from billing.kit.pool import open_pool
from tests.api.test_usage import works
from tests.billing.charges.till import SECOND
from tests.cli.test_commands import run

ALL = ("--from", "2026-01-01", "--to", "2036-01-01")


@pytest.fixture
def shop(dsn: str) -> str:
    """An organization with four jobs, one of them given back."""
    assert run("orgs", "create", "acme", dsn=dsn).returncode == 0
    assert run("wallet", "topup", "--org", "acme", "--amount", "100", dsn=dsn).returncode == 0

    async def work() -> None:
        async with await open_pool(dsn, name="tests", size_min=1, size_max=1) as pool, pool.acquire() as conn:
            await works(conn, await conn.fetchval("SELECT id FROM gateway.organization"), 4)

    asyncio.run(work())
    return dsn


def test_usage(shop: str, tmp_path: Path) -> None:
    lines = json.loads(run("usage", "--org", "acme", *ALL, "--by", "model", "--only", "label:team=a", "--json", dsn=shop).stdout)
    assert [(line["model"], line["net_micro"]) for line in lines] == [("film", 4 * SECOND), ("still", 2 * SECOND)]
    table = run("usage", *ALL, "--by", "day", "--by", "model", dsn=shop)
    assert "¥4.00" in table.stdout, table.stderr
    for name, argv in {"usage": ("--by", "model"), "jobs": ("--jobs",)}.items():
        for kind in ("csv", "parquet"):
            done = run("usage", *ALL, *argv, "--file", str(tmp_path / f"{name}.{kind}"), dsn=shop)
            assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
        table = parquet.read_table(tmp_path / f"{name}.parquet")
        assert sum(int(row["net_micro"]) for row in rows) == sum(table.column("net_micro").to_pylist()) == 6 * SECOND
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.csv", "jobs.parquet", "usage.csv", "usage.parquet"]


def test_statement(shop: str, tmp_path: Path) -> None:
    found = json.loads(run("statement", "--org", "acme", *ALL, "--json", dsn=shop).stdout)
    assert found["opening"] + sum(line["amount"] for line in found["movements"]) == found["closing"] == 94 * SECOND
    assert "¥94.00" in run("statement", "--org", "acme", *ALL, dsn=shop).stdout
    assert run("statement", "--org", "acme", *ALL, "--file", str(tmp_path / "a.csv"), dsn=shop).returncode == 0
    assert (tmp_path / "a.csv").read_text().count("\n") == 9


def test_margin_converts_nothing_but_at_a_given_rate(shop: str) -> None:
    (plain,) = json.loads(run("margin", *ALL, "--json", dsn=shop).stdout)
    assert (plain["revenue_micro"], plain["cost_micro"], plain["margin_micro"]) == (6 * SECOND, 4800, None)
    (rated,) = json.loads(run("margin", *ALL, "--rate", "USD/CNY=7.1", "--json", dsn=shop).stdout)
    assert (rated["margin_micro"], rated["margin_bp"]) == (6 * SECOND - 34_080, 9943)
    assert "%" in run("margin", *ALL, "--rate", "USD/CNY=7.1", "--by", "model", dsn=shop).stdout


@pytest.mark.parametrize(
    "argv,said",
    [
        (("usage",), "say either"),
        (("usage", *ALL, "--time-zone", "Mars/Olympus"), "time zone"),
        (("usage", *ALL, "--by", "colour"), "colour"),
        (("usage", "--month", "2026-13"), "2026-13"),
        (("usage", *ALL, "--only", "model"), "model=film"),
        (("usage", *ALL, "--file", "a.xlsx"), ".parquet"),
        (("usage", *ALL, "--jobs"), "--file"),
        (("usage", *ALL, "--org", "nobody"), "there is no organization"),
        (("statement", "--org", "acme", *ALL, "--asset", "SEC:hd"), "SEC:hd"),
        (("margin", *ALL, "--by", "tier"), "tier"),
        (("margin", *ALL, "--rate", "USD/CNY=7.12345678"), "six places"),
        (("margin", *ALL, "--rate", "USD=7"), "USD/CNY"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(dsn: str, argv: tuple[str, ...], said: str) -> None:
    run("orgs", "create", "acme", dsn=dsn)
    done = run(*argv, dsn=dsn)
    assert done.returncode in (1, 2)
    assert said in done.stderr and "Traceback" not in done.stderr
