"""However many keys there are, those of a batch are found one by one."""

import pytest

from billing.kit.query import Conn, Query
from gateway.access import sql
from gateway.access.organizations import open_organization


@pytest.mark.parametrize(
    "statement, arguments", [(sql.VALID_KEYS, 1), (sql.NO_LONGER_VALID, 2)], ids=["authentication", "admission"]
)
async def test_a_plan_for_any_values_reads_keys_by_the_index(database: Conn, statement: Query[sql.KeyId], arguments: int) -> None:
    org_id = (await open_organization(database, "acme", "CNY")).id
    await database.execute(
        "INSERT INTO gateway.api_key (org_id, id, project_id, name, hash, hint, livemode)"
        " SELECT org_id, gen_random_uuid(), id, 'k', sha256(int4send(n)), 'h', true"
        " FROM gateway.project, generate_series(1, 3000) AS n WHERE org_id = $1",
        org_id,
    )
    await database.execute("ANALYZE gateway.api_key")
    await database.execute("SET plan_cache_mode = force_generic_plan")
    await database.execute("PREPARE lookup AS " + statement.sql)
    nothing = ", ".join(["NULL"] * arguments)
    plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN EXECUTE lookup ({nothing})"))
    assert "Seq Scan on api_key" not in plan
