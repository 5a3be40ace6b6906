"""Plans and invoices from the command line."""

import json
from pathlib import Path

from tests.cli.test_commands import run


def test_a_plan_a_pack_and_their_invoices(dsn: str, tmp_path: Path) -> None:
    run("orgs", "create", "acme", dsn=dsn)
    assert "there are: none" in run("plans", "begin", "--org", "acme", "studio", dsn=dsn).stderr
    assert "¥500.00 per 1 month for 600 s standard" in run("plans", "publish", dsn=dsn).stdout
    refused = run("plans", "begin", "--org", "acme", "studio", dsn=dsn)
    assert refused.returncode == 1 and "Studio costs ¥500.00; the wallet has ¥0.00" in refused.stderr
    run("wallet", "topup", "--org", "acme", "--amount", "5000", dsn=dsn)
    for _ in range(2):  # once per source
        assert "active" in run("plans", "begin", "--org", "acme", "studio", "--source", "s1", dsn=dsn).stdout
    assert "Studio Pro" in run("plans", "change", "--org", "acme", "studio-pro", "--preview", dsn=dsn).stdout
    assert run("plans", "change", "--org", "acme", "studio-pro", dsn=dsn).returncode == 0
    assert "¥900.00 with tax, from the wallet" in run("plans", "sell", "--org", "acme", "pack-1000", dsn=dsn).stdout
    assert run("plans", "budget", "--org", "acme", "--name", "all", "--amount", "100", dsn=dsn).returncode == 0
    states = [one["state"] for one in json.loads(run("plans", "show", "--org", "acme", "--json", dsn=dsn).stdout)]
    assert states == ["ended", "active"]
    assert run("plans", "cancel", "--org", "acme", dsn=dsn).returncode == 0

    assert run("invoices", "close", dsn=dsn).returncode == 0
    found = json.loads(run("invoices", "list", "--org", "acme", "--json", dsn=dsn).stdout)
    assert sorted(one["kind"] for one in found) == ["credit_note", "invoice", "invoice", "invoice"]
    printed = tmp_path / "one.pdf"
    assert run("invoices", "print", "--org", "acme", found[0]["id"], "--output", str(printed), dsn=dsn).returncode == 0
    assert printed.read_bytes().startswith(b"%PDF")
    refused = run("invoices", "credit", "--org", "acme", found[0]["id"], "--line", "1", "100", "--reason", "x", dsn=dsn)
    assert refused.returncode == 1 and "is not owed" in refused.stderr
    assert run("ledger", "verify", dsn=dsn).stdout.strip() == "the ledger is sound"
