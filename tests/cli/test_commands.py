"""Commands that work on the database, and the manners of all of them."""

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from gateway.cli import COMMANDS
from tests.cli.warm import Warm

ROOT = Path(__file__).parents[2]


@cache
def warm() -> Warm:
    started = Warm()
    atexit.register(started.close)
    return started


def run(*argv: str, dsn: str = "") -> subprocess.CompletedProcess[str]:
    return warm().run(list(argv), {**os.environ, **({"TALLYLIGHT_DSN": dsn} if dsn else {})})


def test_a_command_is_a_program() -> None:
    argv = (sys.executable, "-m", "gateway", "keys", "list", "--org", "acme")
    environment = {**os.environ, "TALLYLIGHT_DSN": "postgresql://nowhere.invalid/db"}
    alone = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    forked = run(*argv[3:], dsn=environment["TALLYLIGHT_DSN"])
    assert alone.returncode == forked.returncode == 1
    assert (alone.stdout, alone.stderr) == (forked.stdout, forked.stderr) != ("", "")


def test_help_imports_only_what_it_needs() -> None:
    program = "import sys; from gateway.cli import tallylight; tallylight(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    modules = done.stdout.splitlines()[-1]
    for heavy in ("litestar", "asyncpg", "tritonclient", "grpc", "numpy", "httpx", "rich", "uvicorn", "obstore"):
        assert f"'{heavy}'" not in modules, heavy


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0 and "Usage:" in done.stdout


def test_keys_and_money(dsn: str) -> None:
    assert json.loads(run("migrate", "--json", dsn=dsn).stdout) == {"applied": []}
    assert run("orgs", "create", "acme", "--currency", "USD", "--time-zone", "Europe/Berlin", dsn=dsn).returncode == 0
    nowhere = run("orgs", "create", "nowhere", "--time-zone", "Mars/Olympus", dsn=dsn)
    assert nowhere.returncode == 1 and "Mars/Olympus" in nowhere.stderr
    made = json.loads(run("keys", "create", "--org", "acme", "--name", "ci", "--json", dsn=dsn).stdout)
    assert made["key"].startswith("tl_live_")
    listed = run("keys", "list", "--org", "acme", dsn=dsn)
    assert made["id"] in listed.stdout and made["key"] not in listed.stdout
    assert run("keys", "revoke", "--org", "acme", made["id"], dsn=dsn).returncode == 0
    assert "revoked" in run("keys", "list", "--org", "acme", dsn=dsn).stdout
    for _ in range(2):  # the same payment is booked once
        run("wallet", "topup", "--org", "acme", "--amount", "12.50", "--source", "payment-1", dsn=dsn)
    (live, _test) = json.loads(run("wallet", "show", "--org", "acme", "--json", dsn=dsn).stdout)
    assert (live["asset"], live["posted"]) == ("USD", 12_500_000)
    assert run("prices", "publish", dsn=dsn).returncode == 0
    assert "testcard" in run("prices", "show", dsn=dsn).stdout
    assert run("ledger", "verify", dsn=dsn).stdout.strip() == "the ledger is sound"


@pytest.mark.parametrize(
    "argv, said",
    [
        (("keys", "list", "--org", "nobody"), "there is no organization"),
        (("wallet", "topup", "--org", "nobody", "--amount", "1"), "there is no organization"),
        (("jobs", "list", "--data", "/nonexistent"), "tallylight up"),
        (("fleet", "check", "127.0.0.1:1", "testcard"), ""),
    ],
)
def test_refusals_are_one_sentence(dsn: str, argv: tuple[str, ...], said: str) -> None:
    done = run(*argv, dsn=dsn)
    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("amount", ["-5", "0", "1e3", "0.0000001", "x"])
def test_amounts_are_plain_decimals(dsn: str, amount: str) -> None:
    assert run("wallet", "topup", "--org", "acme", f"--amount={amount}", dsn=dsn).returncode == 2


def test_a_broken_ledger_is_an_exit_code(dsn: str) -> None:
    run("orgs", "create", "acme", dsn=dsn)
    run("wallet", "topup", "--org", "acme", "--amount", "5", dsn=dsn)
    import asyncio

    import asyncpg

    async def damage() -> None:
        conn = await asyncpg.connect(dsn)
        await conn.execute("UPDATE billing.balance SET posted = posted + 1")
        await conn.close()

    asyncio.run(damage())
    done = run("ledger", "verify", "--json", dsn=dsn)
    assert done.returncode == 1
    assert {finding["rule"] for finding in json.loads(done.stdout)["findings"]} == {"balance_equals_entries"}


def test_the_head_of_the_ledger_proves_its_past(dsn: str) -> None:
    run("orgs", "create", "acme", "--currency", "CNY", dsn=dsn)
    run("wallet", "topup", "--org", "acme", "--amount", "10", dsn=dsn)
    run("wallet", "promo", "--org", "acme", "--amount", "2.50", "--expires", "2100-01-01", dsn=dsn)
    head = run("ledger", "head", dsn=dsn).stdout.strip()
    assert head.startswith("2:")
    assert run("ledger", "verify", "--head", head, dsn=dsn).stdout.strip() == "the ledger is sound"
    assert "¥2.50" in run("ledger", "trial", dsn=dsn).stdout
    forged = run("ledger", "verify", "--head", "2:" + "0" * 64, dsn=dsn)
    assert forged.returncode == 1 and "chain_leads_through_the_kept_head" in forged.stdout
    assert run("ledger", "verify", "--head", "2", dsn=dsn).returncode == 2
