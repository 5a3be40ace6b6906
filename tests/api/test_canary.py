"""A key is shown once: it is in no log, no table and no other answer, whatever was done with it."""

from billing.kit.query import Conn
from tests.api.test_keys import ANY, create
from tests.api.test_managers import manage
from tests.stack import Stack, bearer


async def everything(conn: Conn) -> str:
    """All rows of all tables, as text."""
    tables = await conn.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('gateway', 'billing')"
    )
    found: list[str] = []
    for table in tables:
        found += [row[0] for row in await conn.fetch("SELECT t::text FROM " + table["name"] + " t")]  # names from the catalogue
    return "\n".join(found)


def test_no_secret_is_kept_anywhere(desk: Stack) -> None:
    with manage(desk, desk.customer(), role="owner") as client:
        made = [create(client), create(client, kind="management", scopes=["keys:read"]), create(client, livemode=False)]
        rotated = [client.post(f"/v1/keys/{one['id']}/rotate", json={}).json() for one in made]
        tokens = [one["key"] for one in (*made, *rotated)]
        for token in tokens:
            client.get("/v1/jobs", headers=bearer(token))
            client.get("/v1/keys", headers=bearer(token))
            client.get(f"/v1/keys/{token}")
            client.get("/v1/keys", params={"cursor": token})
            client.get("/v1/keys", params={"token": token})
            client.patch(f"/v1/projects/{token}", json={"name": token}, headers=ANY)
            client.post("/v1/jobs", json={"model": token}, headers=bearer(token))
            client.post("/v1/jobs", content=token, headers={**bearer(token), "content-type": "application/json"})
            client.post("/v1/nowhere", headers={"authorization": token})
        client.post("/v1/leaked-keys", json=[{"token": token, "url": f"https://code.example/?k={token}"} for token in tokens])
        listed = client.get("/v1/keys").text
    kept = desk.database(everything) + desk.processes["api"].text()
    assert "code.example" in kept
    for token in tokens:
        assert token[8:-6] not in kept and token[8:-6] not in listed
