"""Shared income from the command line."""

import json
from pathlib import Path
from typing import Any

from tests.cli.test_commands import run


def answer(*words: str, dsn: str) -> Any:
    done = run("shares", *words, "--json", dsn=dsn)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_income_is_booked_shown_and_paid_out(dsn: str, tmp_path: Path) -> None:
    answer("payee", "lamp-shop", "--name", "Lamp Shop", "--threshold", "5", "--verified", "--destination", "acct_1", dsn=dsn)
    agreed = answer("agree", "lamps", "--kind", "ad", "--from", "2026-01-01", "--party", "lamp-shop", "70", dsn=dsn)
    assert agreed["parties"][0]["ppm"] == 700_000
    file = tmp_path / "statement.csv"
    head = "id,subject,occurred_on,currency,amount,takes_back\n"
    file.write_text(head + "a,lamps,2026-01-05,CNY,10,\nb,vases,2026-01-05,CNY,10,\ntotal,,,,20,\n")
    book = ("shares", "import", str(file), "--network", "kads", "--reference", "2026-01")
    refused = run(*book, dsn=dsn)
    assert refused.returncode == 1 and "row 2: there is no agreement about vases on 2026-01-05" in refused.stderr
    file.write_text(head + "a,lamps,2026-01-05,CNY,10,\ntotal,,,,10,\n")
    assert run(*book, dsn=dsn).stdout.strip() == "1 rows, ¥10.00"
    assert run(*book, dsn=dsn).stdout.strip() == "1 rows, ¥10.00, booked before"
    assert run("shares", "settled", "--network", "kads", "--reference", "2026-01", dsn=dsn).returncode == 0
    shown = run("shares", "statement", "lamp-shop", "--month", "2026-11", dsn=dsn)
    assert shown.returncode == 0 and "70 % of ¥10.00" in shown.stdout and "¥7.00" in shown.stdout
    assert answer("payouts", dsn=dsn) == [] == answer("pay", "--available", "1", dsn=dsn)
    (made,) = answer("pay", "--available", "100", dsn=dsn)
    assert (made["amount_micro"], made["destination"], made["state"]) == (7_000_000, "acct_1", "due")
    assert run("shares", "payout", made["id"], "--sent", "wire-1", dsn=dsn).returncode == 0
    assert run("shares", "payout", made["id"], "--paid", dsn=dsn).returncode == 0
    wrong = run("shares", "payout", made["id"], "--failed", "late", dsn=dsn)
    assert wrong.returncode == 1 and "it cannot become failed" in wrong.stderr
    assert [one["state"] for one in answer("payouts", "--payee", "lamp-shop", dsn=dsn)] == ["paid"]
    assert run("shares", "agree", "x", "--kind", "ad", "--from", "2026-01-01", dsn=dsn).returncode == 2
    wrong = run("shares", "agree", "x", "--kind", "ad", "--from", "2026-01-01", "--party", "lamp-shop", "0.00001", dsn=dsn)
    assert wrong.returncode == 1 and "at most four decimals" in wrong.stderr
    assert run("ledger", "verify", dsn=dsn).stdout.strip() == "the ledger is sound"


def test_views_are_counted(dsn: str, tmp_path: Path) -> None:
    for name in ("ann", "ben"):
        answer("payee", name, "--name", name.title(), dsn=dsn)
    pool = ("pool", "films", "--from", "2025-01-01", "--to", "2025-02-01", "--amount", "100")
    (opened,) = answer(*pool, dsn=dsn)
    assert opened["closes_at"].startswith("2025-02-15")
    file = tmp_path / "views.csv"
    file.write_text("creator,views\nann,3\nben,1\ntotal,4\n")
    counted = run("shares", "views", str(file), "--pool", "films", "--from", "2025-01-01", dsn=dsn)
    assert counted.stdout.strip() == "revision 1: 2 creators, 4 views"
