"""Every statement is accepted by the migrated schema, and its rows fit their struct."""

import importlib

import asyncpg
import msgspec
import pytest

from billing.kit.query import Command, Conn, Query
from tests.tidy.checks import PACKAGES, STATEMENTS, modules
from tests.tidy.columns import Column, misfits


async def complaints(database: Conn, sql: str, row: type[msgspec.Struct] | None) -> list[str]:
    try:
        prepared = await database.prepare(sql)
    except asyncpg.PostgresError as refused:
        return [f"{refused}: {sql}"]
    columns = [Column(attribute.name, attribute.type.name) for attribute in prepared.get_attributes()]
    return [] if row is None else [f"{misfit}: {sql}" for misfit in misfits(row, columns)]


def import_statements() -> None:
    for module in modules(*PACKAGES):
        if any(f"{kind}(" in module.text for kind in STATEMENTS):
            importlib.import_module(module.name)


async def test_every_statement_fits_the_schema(database: Conn) -> None:
    import_statements()
    statements = [(query.sql, query.row) for query in Query.registry] + [(command.sql, None) for command in Command.registry]
    assert len(statements) > 20
    found = [complaint for sql, row in statements for complaint in await complaints(database, sql, row)]
    assert found == [], "\n".join(found)


class Wrong(msgspec.Struct):
    id: str


@pytest.mark.parametrize(
    "sql,row",
    [
        ("SELECT nowhere FROM billing.account", None),
        ("SELEC 1", None),
        ("SELECT id FROM billing.account", Wrong),
        ("SELECT id::text AS other FROM billing.account", Wrong),
    ],
)
async def test_a_wrong_statement_is_found(database: Conn, sql: str, row: type[msgspec.Struct] | None) -> None:
    assert len(await complaints(database, sql, row)) == 1
    assert await complaints(database, "SELECT id::text FROM billing.account", Wrong) == []
