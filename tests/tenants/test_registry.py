"""Every statement runs as one tenant or stands in the registry, and what serves many at once keeps them apart."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import asyncpg

from billing.kit.pool import APP_ROLE, BATCH_ROLE
from billing.kit.query import Command, Conn, Query
from tests.tenants.registry import ALSO_TENANT, BATCHED, EVERY, HOT, registered, stands_in
from tests.tenants.watch import TENANT
from tests.tidy.test_sql import import_statements

_number = count()


class Statement(NamedTuple):
    module: str
    name: str
    sql: str


def statements() -> list[Statement]:
    """Each under the name of the module that makes it."""
    import_statements()
    found: dict[int, Statement] = {}
    for module in sorted(name for name in sys.modules if name.startswith(("gateway.", "billing."))):
        for name, value in vars(sys.modules[module]).items():
            if isinstance(value, Query | Command) and name.isupper():
                found.setdefault(id(value), Statement(module, name, value.sql))
    assert len(found) > 300
    return list(found.values())


async def explained(conn: Conn, sql: str) -> Any:
    """The plan for whatever values, in the caller's transaction. Raises InsufficientPrivilegeError as a run would."""
    wanted, name = len((await conn.prepare(sql)).get_parameters()), f"s{next(_number)}"
    await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    await conn.execute("PREPARE " + name + " AS " + sql)
    given = f"({', '.join(['NULL'] * wanted)})" if wanted else ""
    return json.loads(await conn.fetchval("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE " + name + given))[0]["Plan"]


async def test_every_statement_has_its_place(database: Conn) -> None:
    every = statements()
    known = {(one.module, one.name) for one in every} | {(one.module, "*") for one in every}
    wrong = [
        f"{module}.{name} stands in the registry and is no statement"
        for page in EVERY
        for module, name in registered(page)
        if (module, name) not in known
    ]
    for one in every:
        if in_registry(one):
            continue
        try:
            async with database.transaction():
                await database.execute("SET LOCAL ROLE " + TENANT)
                await explained(database, one.sql)
        except asyncpg.InsufficientPrivilegeError as refused:
            wrong.append(
                f"{one.module}.{one.name}: {refused}. If one organization's requests run it, grant that in the call of billing.isolate"
                " that its table has in 0010_tenants.sql; if not, give it a line in tests/tenants/registry.py"
            )
    assert wrong == [], "\n".join(wrong)


RIGHTS = """
    SELECT c.oid::regclass::text AS table, a.privilege_type AS right, NULL AS column
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE a.grantee = $1::regrole AND c.relnamespace::regnamespace::text IN ('gateway', 'billing')
    UNION ALL
    SELECT c.attrelid::regclass::text, a.privilege_type, c.attname
    FROM pg_attribute c CROSS JOIN LATERAL aclexplode(c.attacl) a WHERE a.grantee = $1::regrole
"""


async def refused(conn: Conn, role: str, every: list[Statement]) -> str | None:
    """The first of them that a role may not run."""
    for one in every:
        try:
            async with conn.transaction():
                await conn.execute("SET LOCAL ROLE " + role)
                await explained(conn, one.sql)
                if "count_quotas" in one.sql:  # what a function takes, only a run tells
                    await conn.fetch(one.sql, *[None] * 6)
        except asyncpg.InsufficientPrivilegeError:
            return one.name
    return None


async def needless(conn: Conn, role: str, every: list[Statement]) -> list[str]:
    """The rights of a role without which all these statements run just as well."""
    found: list[str] = []
    for table, right, column in [tuple(row) for row in await conn.fetch(RIGHTS, role)]:
        held = f"{right} ({column})" if column else right
        if table == "billing.usage_mark":  # read by billing.usage_through(), inside of reports
            continue
        name = table.partition(".")[2].strip('"')
        undone = conn.transaction()
        await undone.start()
        await conn.execute("REVOKE " + held + " ON " + table + " FROM " + role)  # names from the catalogue
        if await refused(conn, role, [one for one in every if name in one.sql or "count_quotas" in one.sql]) is None:
            found.append(f"{role} needs no {held} ON {table}")
        await undone.rollback()
    return found


async def test_each_role_has_the_rights_it_needs(database: Conn) -> None:
    """Admission and polls run as theirs, an organization's requests as the tenant; without any one right some statement could not."""
    hot = [one for one in statements() if one.name in HOT.get(one.module, "").split()]
    own = [one for one in statements() if not in_registry(one) or one.name in ALSO_TENANT.get(one.module, "").split()]
    assert len(hot) == sum(len(names.split()) for names in HOT.values()) and len(own) > 60
    for role, every in ((BATCH_ROLE, hot), (TENANT, own)):
        assert await refused(database, role, every) is None
        assert await needless(database, role, every) == []


def in_registry(one: Statement) -> bool:
    return any(stands_in(page, one.module, one.name) for page in EVERY)


def shape(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Nodes with their costs; a filter's words may come in another order."""
    return [{name: value for name, value in node.items() if name not in ("Filter", "Plans")} for node in nodes(plan)]


async def test_a_policy_costs_the_platform_nothing(database: Conn) -> None:
    """What serves many has the plan that a superuser has, whom no policy concerns: on the hot paths nothing is looked at twice."""
    differ: list[str] = []
    for one in statements():
        if in_registry(one) and one.module != "billing.kit.migrate":
            async with database.transaction():
                bare = shape(await explained(database, one.sql))
                await database.execute("SET LOCAL ROLE " + APP_ROLE)
                if shape(await explained(database, one.sql)) != bare:
                    differ.append(f"{one.module}.{one.name}")
    assert differ == [], "\n".join(differ)


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def not_compared(plan: Mapping[str, Any], leads: Mapping[str, str]) -> list[str]:
    """Tables that are read without a comparison of the column that says whose a row is."""
    every = list(nodes(plan))
    said = " ".join(str(value) for node in every for name, value in node.items() if name.endswith((" Cond", "Filter")))
    scans = [
        (f"{node['Schema']}.{node['Relation Name']}", node["Alias"])
        for node in every
        if node["Node Type"] != "ModifyTable" and "Relation Name" in node
    ]
    return [table for table, alias in scans if table in leads and not re.search(rf"\b{alias}\.{leads[table]}\b", said)]


async def leading(conn: Conn) -> dict[str, str]:
    """Table → the column that says whose a row is."""
    rows = await conn.fetch("""
        SELECT format('%s.%s', n.nspname, c.relname) AS name, a.attname AS column
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE n.nspname IN ('gateway', 'billing') AND c.relkind IN ('r', 'p')
          AND (a.attname IN ('org_id', 'customer_id') OR (a.attname = 'id' AND c.relname IN ('organization', 'customer')))
    """)
    return {row["name"]: row["column"] for row in rows}


async def test_what_serves_many_compares_whose_each_row_is(database: Conn) -> None:
    """Proves it of the plan and of tables that a statement reads; a row that is inserted brings its organization with it.

    What a function does inside (gateway.count_quotas) is not seen here: tests/quotas and tests/properties try it with many at once.
    """
    leads, wrong = await leading(database), list[str]()
    assert leads["gateway.job"] == "org_id" and leads["billing.wallet"] == "customer_id"
    for one in statements():
        if stands_in(BATCHED, one.module, one.name):
            async with database.transaction():
                wrong += [
                    f"{one.module}.{one.name} reads {table} without its {leads[table]}"
                    for table in not_compared(await explained(database, one.sql), leads)
                ]
    assert wrong == [], "\n".join(wrong)


MIXING = (
    "SELECT state FROM gateway.job WHERE id = ANY($1::uuid[])",
    "SELECT j.state FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id) JOIN gateway.job j ON j.id = u.id",
    "UPDATE gateway.quota_counter k SET held = 0 FROM gateway.quota q WHERE q.org_id = $1 AND k.quota_id = q.id",
    "DELETE FROM gateway.member WHERE email = $1",
)


async def test_a_statement_that_mixes_is_found(database: Conn) -> None:
    leads = await leading(database)
    async with database.transaction():
        assert [len(not_compared(await explained(database, sql), leads)) for sql in MIXING] == [1, 1, 1, 1]
