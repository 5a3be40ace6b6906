"""The house rules hold for every file of the repository."""

import subprocess
from pathlib import Path

from gateway.cli import COMMANDS
from tests.tidy import checks
from tests.tidy.checks import PACKAGES, ROOT, modules

ENTRIES = {"gateway.__main__"}
NOT_READ = {"uv.lock", "tests/tidy/test_checks.py"}  # the second holds what must not be found elsewhere
TEXT = {".cfg", ".css", ".html", ".js", ".json", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".yaml", ".yml", ""}


def tracked() -> list[str]:
    """Files git knows or would take up."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def texts(suffixes: set[str]) -> dict[str, str]:
    names = [name for name in tracked() if Path(name).suffix in suffixes]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names}


def test_modules_and_functions_are_short() -> None:
    assert [complaint for module in modules(*PACKAGES, "deploy", "tests") for complaint in checks.too_long(module)] == []


def test_names_say_something() -> None:
    assert [complaint for module in modules(*PACKAGES, "deploy", "tests") for complaint in checks.nameless(module)] == []


def test_no_module_is_dead() -> None:
    every = modules(*PACKAGES)
    lazy = {f"gateway.cli.{module}" for module, _ in COMMANDS.values()}
    assert list(checks.dead(every, ENTRIES | lazy)) == []


def test_every_package_says_what_it_owns() -> None:
    folders = [Path(module.path).parent for module in modules(*PACKAGES) if module.is_package and "." in module.name]
    assert [str(folder) for folder in folders if not (ROOT / folder / "README.md").is_file()] == []


def test_transactions_are_opened_at_the_edge() -> None:
    assert [complaint for module in modules(*PACKAGES) for complaint in checks.transactions(module)] == []


def test_statements_are_literals() -> None:
    assert [complaint for module in modules(*PACKAGES) for complaint in checks.built_sql(module)] == []


def test_nothing_is_unfinished_or_silenced_without_a_reason() -> None:
    files = texts(TEXT).items()
    assert [complaint for path, text in files if path not in NOT_READ for complaint in checks.unfinished(path, text)] == []


def test_links_between_documents_resolve() -> None:
    assert [complaint for path, text in texts({".md"}).items() for complaint in checks.broken_links(path, text)] == []


def test_every_make_target_is_explained() -> None:
    readmes = (ROOT / "README.md").read_text() + (ROOT / "tests" / "README.md").read_text()
    assert checks.make_targets((ROOT / "Makefile").read_text()) > {"up", "test", "check"}
    assert list(checks.unnamed_targets((ROOT / "Makefile").read_text(), readmes)) == []
