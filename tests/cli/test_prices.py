"""Price files from the command line: what is refused writes nothing, what is published shows when it begins."""

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import run

OWN = """
[[cards]]
currency = "CNY"
[cards.models.testcard]
price_micro = 800_000
audio = 10_000
resolution = { 480p = 7_500, 720p = 10_000, 1080p = 16_000 }
tier = { priority = 15_000, standard = 10_000, flex = 5_000 }
hours = [{ name = "night", start = "22:00", end = "06:00", factor = 5_000 }]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "prices.toml"
    path.write_text(text)
    return str(path)


def test_a_list_with_a_hole_is_refused_and_nothing_is_written(dsn: str, tmp_path: Path) -> None:
    path = written(tmp_path, OWN.replace(", flex = 5_000", ""))
    for argv in (("check", path), ("publish", path)):
        done = run("prices", *argv, dsn=dsn)
        assert done.returncode == 1 and "CNY: testcard: tier has no entry for flex" in done.stderr
    assert json.loads(run("prices", "show", "--json", dsn=dsn).stdout) == []


def test_a_list_an_override_and_what_will_be(dsn: str, tmp_path: Path) -> None:
    assert run("orgs", "create", "acme", dsn=dsn).returncode == 0
    own = written(tmp_path, OWN)
    assert run("prices", "check", own).returncode == 0
    assert run("prices", "publish", dsn=dsn).returncode == 0
    assert run("prices", "publish", own, "--customer", "acme", dsn=dsn).returncode == 0
    assert run("prices", "publish", own, "--from", "2099-01-01T00:00+08:00", dsn=dsn).returncode == 0
    shown = json.loads(run("prices", "show", "--json", dsn=dsn).stdout)
    assert [(one["currency"], one["effective_from"][:13], one["until"]) for one in shown if one["currency"] == "CNY"][1:] == [
        ("CNY", "2098-12-31T16", None)
    ]
    assert [one["currency"] for one in shown] == ["CNY", "CNY", "USD"]
    mine = run("prices", "show", "--customer", "acme", dsn=dsn).stdout
    assert "¥0.80" in mine and "¥1.00" not in mine


@pytest.mark.parametrize(
    "argv,code,said",
    [
        (("--from", "tomorrow"), 2, "is no time"),
        (("--from", "2099-01-01T00:00"), 2, "lacks its offset"),
        (("--customer", "nobody"), 1, "there is no organization"),
    ],
)
def test_a_publication_that_makes_no_sense(dsn: str, tmp_path: Path, argv: tuple[str, ...], code: int, said: str) -> None:
    done = run("prices", "publish", written(tmp_path, OWN), *argv, dsn=dsn)
    assert done.returncode == code and said in done.stderr
