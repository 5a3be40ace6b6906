"""Every table keeps tenants apart or stands here with its reason; every route acts as the tenant it serves."""

import re

import msgspec

from billing.kit.query import Conn
from tests.tidy.checks import Module, modules

NOBODYS = {
    "billing.agreement": "payees are no customers",
    "billing.asset": "currencies and classes of seconds",
    "billing.catalogue": "what is on offer, to everybody",
    "billing.clearing_mark": "the platform's account at Stripe",
    "billing.income": "payees are no customers",
    "billing.income_statement": "payees are no customers",
    "billing.invoice_number": "a counter of each legal entity",
    "billing.payout": "payees are no customers",
    "billing.payout_reversal": "payees are no customers",
    "billing.reconciliation": "the platform's account at Stripe",
    "billing.share": "payees are no customers",
    "billing.stripe_event": "Stripe's messages, of whomever",
    "billing.stripe_transaction": "the platform's account at Stripe",
    "billing.supplier_bill": "what compute is bought for",
    "billing.usage_mark": "how far the roll-up has come",
    "billing.view_count": "payees are no customers",
    "billing.view_pool": "payees are no customers",
    "gateway.catalogue_edition": "the fleet is nobody's",
    "gateway.demand_curve": "the fleet is nobody's",
    "gateway.person": "a person is no organization's",
    "gateway.quoter": "the fleet is nobody's",
    "gateway.recovery_code": "a person is no organization's",
    "gateway.replica": "the fleet is nobody's",
    "gateway.replica_sight": "the fleet is nobody's",
    "gateway.sign_in_pace": "attempts of whomever",
    "gateway.webhook_mark": "how far the events were taken",
}
"""Tables without an organization or a customer, that no row policy guards."""
OPEN = {"billing.catalogue", "billing.usage_mark"}
"""Of these, what a tenant may read."""

_WRITE = """{table} has no forced row policy. In the migration that makes it, or in {schema}/migrations/0010_tenants.sql where that comes later, write
    CALL billing.isolate('{table}', {whose}, 'SELECT');
with what requests of one organization do to it in the last place; without the last two arguments none of its rows is a tenant's.{instead}"""
_INSTEAD = " If it has rows of nobody, give it a line in NOBODYS of tests/tidy/test_tenants.py."


class Table(msgspec.Struct):
    name: str
    partition: bool
    forced: bool
    column: str | None
    platform: bool
    tenant: str | None
    granted: bool


async def tables(conn: Conn) -> list[Table]:
    rows = await conn.fetch("""
        SELECT format('%s.%s', n.nspname, c.relname) AS name, c.relispartition AS partition,
               c.relrowsecurity AND c.relforcerowsecurity AS forced,
               (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('org_id', 'customer_id')) AS column,
               EXISTS (SELECT FROM pg_policies p WHERE p.schemaname = n.nspname AND p.tablename = c.relname AND p.qual = 'true'
                       AND p.cmd = 'ALL' AND p.roles @> '{tallylight_app,tallylight_batch}' AND cardinality(p.roles) = 2) AS platform,
               (SELECT p.qual FROM pg_policies p WHERE p.schemaname = n.nspname AND p.tablename = c.relname
                AND p.cmd = 'ALL' AND p.roles = '{tallylight_tenant}') AS tenant,
               has_any_column_privilege('tallylight_tenant', c.oid, 'SELECT, INSERT, UPDATE')
               OR has_table_privilege('tallylight_tenant', c.oid, 'DELETE, TRUNCATE, REFERENCES, TRIGGER') AS granted
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('gateway', 'billing') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1
    """)
    return [Table(*row) for row in rows]


def wrong(table: Table) -> str | None:
    """What to write about a table that could mix tenants, or None."""
    if table.partition:
        return (
            f"{table.name}: a partition is read through its parent; revoke what tallylight_tenant may do to it"
            if table.granted
            else None
        )
    if table.name in NOBODYS:
        if table.column or table.forced:
            return f"{table.name} stands in NOBODYS and has rows of somebody: remove its line there"
        return f"{table.name} is nobody's, and a tenant may use it" if table.granted and table.name not in OPEN else None
    if not (table.forced and table.platform):
        whose = f"'{table.column or '…'} = billing.tenant()'"
        instead = "" if table.column else _INSTEAD
        return _WRITE.format(table=table.name, schema=table.name.partition(".")[0], whose=whose, instead=instead)
    if table.granted != (table.tenant is not None):
        return f"{table.name}: a tenant has rights and no policy, or a policy and no rights; leave both to billing.isolate"
    if table.tenant and not re.search(r"tenant\(\)|\bSELECT\b", table.tenant):
        return f"{table.name}: its policy asks neither billing.tenant() nor a table that does"
    return None


async def test_every_table_keeps_tenants_apart(database: Conn) -> None:
    every = await tables(database)
    assert len(every) > 50
    found = [sentence for table in every if (sentence := wrong(table))]
    found += [f"{name} stands in NOBODYS and is no table" for name in NOBODYS.keys() - {table.name for table in every}]
    assert found == [], "\n".join(found)


async def test_a_table_that_mixes_is_found(database: Conn) -> None:
    async with database.transaction():
        await database.execute("""
            CREATE TABLE gateway.first (org_id uuid NOT NULL, id uuid NOT NULL);
            CREATE TABLE gateway.second (id uuid NOT NULL);
            CREATE TABLE gateway.third (id uuid NOT NULL);
            CALL billing.isolate('gateway.third', 'id IS NOT NULL');
            CREATE TABLE gateway.fourth (org_id uuid NOT NULL);
            CALL billing.isolate('gateway.fourth');
            GRANT SELECT ON gateway.fourth TO tallylight_tenant;
            CREATE TABLE gateway.fifth (org_id uuid NOT NULL);
            CALL billing.isolate('gateway.fifth', 'org_id = billing.tenant()', 'SELECT, INSERT');
        """)
        found = {table.name: wrong(table) or "" for table in await tables(database)}
    assert "CALL billing.isolate('gateway.first', 'org_id = billing.tenant()', 'SELECT')" in found["gateway.first"]
    assert "NOBODYS" in found["gateway.second"] and "neither" in found["gateway.third"] and "no policy" in found["gateway.fourth"]
    assert found["gateway.fifth"] == ""


SEES_ALL = {
    ("gateway.api.catalogue", "list_public_prices"): "public",
    ("gateway.api.editions", "edit_catalogue"): "the fleet is nobody's",
    ("gateway.api.editions", "get_catalogue"): "the fleet is nobody's",
    ("gateway.api.fleet", "change_one"): "the fleet is nobody's",
    ("gateway.api.fleet", "get_one"): "the fleet is nobody's",
    ("gateway.api.fleet", "list_all"): "the fleet is nobody's",
    ("gateway.api.fleet", "register_one"): "the fleet is nobody's",
    ("gateway.api.leaked_keys", "report_leaked_keys"): "whose keys they are, is what is asked",
    ("gateway.api.payments", "take_event"): "Stripe's messages, of whomever",
    ("gateway.api.payees", "operate"): "payees are no customers",
    ("gateway.api.routes", "ready"): "asks nothing",
    ("gateway.api.invitations", "_accept_anew"): "whose invitation it is, is what is asked",
    ("gateway.api.invitations", "accept_invitation"): "whose invitation it is, is what is asked",
    ("gateway.api.sessions", "_end"): "a person is no organization's",
    ("gateway.api.sessions", "change_own_password"): "a person is no organization's",
    ("gateway.api.sessions", "get_session"): "a person is no organization's",
    ("gateway.api.sessions", "list_own_sessions"): "a person is no organization's",
    ("gateway.api.sign_in", "answer_who"): "a person is no organization's",
    ("gateway.api.sign_in", "enrol_second_factor"): "a person is no organization's",
    ("gateway.api.sign_in", "reset_password"): "a person is no organization's",
    ("gateway.api.sign_in", "sign_in"): "a person is no organization's",
    ("gateway.api.sign_in", "with_code"): "a person is no organization's",
    ("gateway.api.sign_in_provider", "_entered"): "who came, is what is asked",
    ("gateway.api.sign_in_provider", "sign_in_at_provider"): "attempts of whomever",
    ("gateway.edge.entrance", "note_failure"): "who tried, is what is asked",
    ("gateway.edge.manager", "_by_key"): "whose key it is, is what is asked",
    ("gateway.edge.person", "member"): "whose member they are, is what is asked",
    ("gateway.edge.person", "signed_in"): "whose session it is, is what is asked",
}
"""Functions of the edge that take a connection which sees every organization's rows, and why."""


def unscoped(module: Module) -> list[tuple[str, str]]:
    """Functions that take a connection without saying whom it serves."""
    found: list[tuple[str, str]] = []
    for function, text in re.findall(r"^(?:async )?def (\w+)(.*?)(?=^[^\s)]|\Z)", module.text, re.DOTALL | re.MULTILINE):
        if ".acquire(" in text or len(re.findall(r"\btransact\(", text)) > len(re.findall(r"\bof=", text)):
            found.append((module.name, function))
    return found


def test_every_route_acts_as_whom_it_serves() -> None:
    found = [one for module in modules("gateway/api", "gateway/edge", "gateway/dialects") for one in unscoped(module)]
    assert set(found) - SEES_ALL.keys() == set(), "take the connection from tenant(pool, org_id) or transact(…, of=org_id)"
    assert SEES_ALL.keys() - set(found) == set(), "these do so no longer: remove their lines"


def test_a_route_that_does_not_is_found() -> None:
    scoped = "async def good(pool):\n    async with tenant(pool, org) as conn:\n        await work(conn)\n    await transact(pool, work, of=org)\n"
    for line in ("    async with pool.acquire() as conn:\n        pass\n", "    await transact(pool, work)\n"):
        assert unscoped(Module("m", "m.py", scoped + "\n\nasync def bad(pool):\n" + line)) == [("m", "bad")]
