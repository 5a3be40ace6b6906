"""What a fresh installation starts with: tables, the packaged prices and plans, a demo organization with money and keys."""

import msgspec

from billing.kit.migrate import migrate
from billing.kit.query import Conn
from billing.ledger.wallets import top_up
from billing.plans.catalogue import publish_catalogue
from billing.pricing.book import publish
from gateway.access.keys import issue_key, issue_management_key
from gateway.access.organizations import open_organization
from gateway.access.scopes import ROLES
from gateway.fleet.chips import read_catalogue
from gateway.fleet.editions.publish import publish_files
from gateway.fleet.offers import load_plans, load_prices
from gateway.local.folder import Credentials
from gateway.migrations import FOLDERS

DEMO = "demo"
DEMO_CURRENCY = "CNY"
DEMO_MICRO = 1_000_000_000


async def migrate_database(conn: Conn) -> list[str]:
    """Returns the names of the migrations applied. Raises MigrationError."""
    return await migrate(conn, FOLDERS)


async def publish_offers(conn: Conn, catalogue_dir: str) -> None:
    """Puts the catalogue, its rate cards and plans in force; the same ones again change nothing."""
    await publish_files(conn, read_catalogue(catalogue_dir))
    for card in load_prices(catalogue_dir):
        await publish(conn, card)
    await publish_catalogue(conn, load_plans(catalogue_dir))


async def open_demo(conn: Conn, known: Credentials) -> Credentials:
    """The demo organization, funded once, and its keys: those that are known, else new ones."""
    demo = await open_organization(conn, DEMO, DEMO_CURRENCY)
    await top_up(conn, source="demo", customer_id=demo.id, asset=DEMO_CURRENCY, amount_micro=DEMO_MICRO)
    if known.api_key and known.test_api_key and known.management_key:
        return known
    _, live = await issue_key(conn, demo.id, name="demo", livemode=True)
    _, test = await issue_key(conn, demo.id, name="demo test", livemode=False)
    _, management = await issue_management_key(conn, demo.id, name="demo", scopes=ROLES["developer"])
    return msgspec.structs.replace(known, api_key=live, test_api_key=test, management_key=management)
