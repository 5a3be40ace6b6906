"""Quotas at the command line: set, shown, changed and removed, and kept in the trail."""

import json

from tests.cli.test_commands import run


def test_a_quota_from_its_making_to_its_end(dsn: str) -> None:
    assert run("orgs", "create", "acme", dsn=dsn).returncode == 0
    asked = ("daily", "--org", "acme", "--meter", "money_micro", "--per", "day", "--limit", "12500000")
    (made,) = json.loads(run("quotas", "create", *asked, "--json", dsn=dsn).stdout)
    assert (made["scope"], made["limit"], made["standings"][0]["remaining"]) == ("organization", 12_500_000, 12_500_000)
    again = run("quotas", "create", *asked, dsn=dsn)
    assert again.returncode == 1 and "there is a quota named 'daily'" in again.stderr
    shown = run("quotas", "list", "--org", "acme", dsn=dsn).stdout
    assert "¥12.50 per day" in shown and "organization" in shown
    changed = run("quotas", "change", "daily", "--org", "acme", "--limit", "1000000", "--soft", dsn=dsn).stdout
    assert "¥1.00 per day (soft)" in changed
    assert run("quotas", "delete", "daily", "--org", "acme", dsn=dsn).returncode == 0
    gone = run("quotas", "change", "daily", "--org", "acme", "--limit", "1", dsn=dsn)
    assert gone.returncode == 1 and "there is no quota 'daily'" in gone.stderr
    wrong = run("quotas", "create", "Daily", "--org", "acme", "--meter", "requests", "--per", "day", "--limit", "1", dsn=dsn)
    assert wrong.returncode == 1 and "name" in wrong.stderr
    trail = json.loads(run("audit", "list", "--org", "acme", "--json", dsn=dsn).stdout)
    assert [one["action"] for one in trail if one["action"].startswith("quota.")] == [
        "quota.create",
        "quota.change",
        "quota.delete",
    ]
