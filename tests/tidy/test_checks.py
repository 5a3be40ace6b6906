"""Each checker complains about what it is there for, and is silent about its neighbour."""

from pathlib import Path

import pytest

from tests.tidy import checks
from tests.tidy.checks import Module


def module(text: str, name: str = "gateway.jobs.claim", path: str = "gateway/jobs/claim.py") -> Module:
    return Module(name, path, text)


def function(lines: int) -> str:
    return "def f():\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    "text,complaints",
    [
        ("#\n" * 400, 0),
        ("#\n" * 401, 1),
        (function(70), 0),
        (function(71), 1),
        ("class A:\n async " + function(71).replace("    ", "  "), 1),
    ],
)
def test_length(text: str, complaints: int) -> None:
    assert len(list(checks.too_long(module(text)))) == complaints


@pytest.mark.parametrize(
    "name,complaints", [("gateway.jobs.claim", 0), ("gateway.utils.claim", 1), ("billing.ledger.service", 1)]
)
def test_names(name: str, complaints: int) -> None:
    assert len(list(checks.nameless(module("", name)))) == complaints


@pytest.mark.parametrize(
    "importing",
    [
        "import gateway.jobs.claim",
        "from gateway.jobs import claim",
        "from gateway.jobs.claim import claim",
        "from .claim import claim",
        "from . import claim",
        "def f():\n    from ..jobs import claim",
        "run('gateway.jobs.claim:app')",
    ],
)
def test_a_module_is_alive_when_another_imports_it(importing: str) -> None:
    claim, other = module("import gateway.jobs.claim"), module("", "gateway.jobs.lease", "gateway/jobs/lease.py")
    lone = "gateway/jobs/claim.py: nothing imports it; remove it"
    assert list(checks.dead([claim, other], {"gateway.jobs.lease"})) == [lone]
    other = module(importing, "gateway.jobs.lease", "gateway/jobs/lease.py")
    assert list(checks.dead([claim, other], {"gateway.jobs.lease"})) == []


@pytest.mark.parametrize(
    "name,complaints",
    [
        ("gateway.jobs.claim", 1),
        ("gateway.admit", 0),
        ("gateway.admitting", 1),
        ("gateway.cli.keys", 0),
        ("billing.ledger.hold", 1),
    ],
)
def test_transactions(name: str, complaints: int) -> None:
    text = "async def f(conn):\n    async with conn.transaction():\n        pass\n"
    assert len(list(checks.transactions(module(text, name)))) == complaints


@pytest.mark.parametrize(
    "text,complaints",
    [
        ('A = Query(Row, "SELECT 1")', 0),
        ('A = Query(Row, "SELECT " "1")', 0),
        ('_C = "id, " + "seq"\nA = Query(Row, "SELECT " + _C + " FROM t")', 0),
        ('_C: Final = "id"\nA = Query(Row, "SELECT " + _C)', 0),
        ("A = Query(Row, f'SELECT {x}')", 1),
        ("A = Query[Row](Row, sql=f'SELECT {x}')", 1),
        ("A = Command('DELETE FROM ' + table)", 1),
        ("A = Command('DELETE FROM %s' % 'x')", 1),
        ("A = kit.Command('DELETE FROM {}'.format(x))", 1),
        ("_C = f'{x}'\nA = Command('SELECT ' + _C)", 1),
        ("A = Command()", 1),
        ("A = Command(elsewhere.SQL)", 1),
        ("await conn.execute(f'SET x = {y}')", 1),
        ("await conn.fetch('SELECT ' + x)", 1),
        ("await conn.fetchval('SELECT {}'.format(x))", 1),
        ("await conn.execute(migration.sql)", 0),
        ("await conn.fetch('SELECT $1', f'{x}')", 0),
    ],
)
def test_statements(text: str, complaints: int) -> None:
    assert len(list(checks.built_sql(module(text)))) == complaints


@pytest.mark.parametrize(
    "line,complaints",
    [
        ("# TODO: later", 1),
        ("FIXME", 1),
        ("the toDo of it, XXXL", 0),
        ("x = 1  # type: ignore", 1),
        ("x = 1  # type: ignore[attr-defined]", 1),
        ("x = 1  # type: ignore[attr-defined]  # the stub misses it", 0),
        ("x = 1  # pyright: ignore[reportUnknownMemberType] - untyped", 0),
        ("x = 1  # noqa", 1),
        ("x = 1  # noqa: S311", 1),
        ("x = 1  # noqa: S311, E501", 1),
        ("x = 1  # noqa: S311 – jitter, not a secret", 0),
        ("x = 1  # noqa - because", 1),
    ],
)
def test_unfinished(line: str, complaints: int) -> None:
    assert len(list(checks.unfinished("a.py", line))) == complaints


def test_links(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").touch()
    text = "[a](there.md#part) [b](../docs/there.md) [c](https://x.example) [d](#here) ![e](gone.svg) [f](gone.md)\n"
    fenced = "```\n[g](code.md)\n```\n"
    assert [complaint.split()[3] for complaint in checks.broken_links("docs/a.md", text + fenced, tmp_path)] == [
        "gone.svg,",
        "gone.md,",
    ]


def test_make_targets() -> None:
    makefile = ".PHONY: up test\nup:\n\techo\n.PHONY: fmt\nfmt:\n"
    assert checks.make_targets(makefile) == {"up", "test", "fmt"}
    assert [complaint.split(":")[0] for complaint in checks.unnamed_targets(makefile, "`make up`, then make tests")] == [
        "make fmt",
        "make test",
    ]
