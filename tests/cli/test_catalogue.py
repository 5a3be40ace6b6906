"""`tallylight fleet catalogue`: what is refused changes nothing, what is applied is in force."""

import json
from pathlib import Path

from gateway.fleet.catalogue import PACKAGED
from tests.cli.test_commands import run

CHEAPER = """
[[accelerators]]
name = "cpu"
title = "A few cores of ours"
vendor = "any"
memory_gib = 8
price_micro_usd_per_hour = 40_000
price_source = "our own bill"
price_date = 2026-11-01
"""


def test_edits_are_checked_applied_and_taken_back(dsn: str, tmp_path: Path) -> None:
    good, bad, none = (tmp_path / name for name in ("good.toml", "bad.toml", "none.toml"))
    good.write_text(CHEAPER)
    bad.write_text(CHEAPER.replace("40_000", "-1"))
    none.write_text("")
    for verb in ("check", "apply"):
        refused = run("fleet", "catalogue", verb, str(bad), dsn=dsn)
        assert refused.returncode == 1 and "accelerators cpu: a price must be positive" in refused.stderr
    assert run("fleet", "catalogue", "check", dsn=dsn).stdout.startswith("sound: ")
    assert run("fleet", "catalogue", "check", str(good), dsn=dsn).stdout.startswith("sound: ")
    assert "edition 1, by files" in run("fleet", "catalogue", "show", dsn=dsn).stdout
    applied = run("fleet", "catalogue", "apply", str(good), "--reason", "our own bill", dsn=dsn)
    assert "edition 2, by operator" in applied.stdout and ": our own bill" in applied.stdout
    shown = json.loads(run("fleet", "catalogue", "show", "--json", dsn=dsn).stdout)
    assert [one["name"] for one in shown["edits"]["accelerators"]] == ["cpu"]
    assert "edition 3" in run("fleet", "catalogue", "apply", str(none), dsn=dsn).stdout
    broken = tmp_path / "folder"
    broken.mkdir()
    for file in PACKAGED.glob("*.toml"):
        (broken / file.name).write_text(file.read_text().replace("seconds_per_second = 65.0", "seconds_per_second = 0.0"))
    refused = run("fleet", "catalogue", "check", "--catalogue-dir", str(broken))
    assert refused.returncode == 1 and "seconds_per_second must be positive" in refused.stderr
