"""What is offered: read it from a file, check it, publish it, find what is in force."""

import tomllib
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from billing.errors import CatalogueInvalid, UnknownPlan
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.plans import sql
from billing.plans.calendar import zone_of
from billing.plans.model import Catalogue, FreePlan, Pack, Plan

Offer = TypeVar("Offer", Plan, Pack)


def read_catalogue(text: str) -> Catalogue:
    """Parses and checks plans.toml. Raises CatalogueInvalid naming the entry, UnknownTimeZone."""
    try:
        catalogue = msgspec.convert(tomllib.loads(text), Catalogue)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CatalogueInvalid(str(error)) from error
    return checked(catalogue)


def checked(catalogue: Catalogue) -> Catalogue:
    """Raises CatalogueInvalid naming the entry, UnknownTimeZone."""
    for kind, names in (
        ("plan", [plan.name for plan in catalogue.plans]),
        ("pack", [pack.name for pack in catalogue.packs]),
        ("budget", [budget.name for budget in catalogue.budgets]),
    ):
        for name in names:
            if names.count(name) > 1:
                raise CatalogueInvalid(f"two {kind}s are called {name}")
    budgets = {budget.name for budget in catalogue.budgets}
    for budget in catalogue.budgets:
        zone_of(budget.time_zone)
    for plan in catalogue.plans:
        if isinstance(plan, FreePlan) and plan.budget not in budgets:
            raise CatalogueInvalid(f"plan {plan.name}: there is no budget {plan.budget}")
    return catalogue


async def publish_catalogue(conn: Conn, catalogue: Catalogue) -> None:
    """Puts the offers in force from now on; what was agreed to before stays as it was. The same ones again change nothing.

    Raises as `checked`.
    """
    if await catalogue_in_force(conn) == checked(catalogue):
        return
    await sql.ADD_CATALOGUE.run(conn, new_id(), msgspec.json.encode(checked(catalogue)))


async def catalogue_in_force(conn: Conn) -> Catalogue:
    """The last one published; an empty one before the first."""
    stored = await sql.CATALOGUE.maybe(conn)
    return msgspec.json.decode(stored.document, type=Catalogue) if stored else Catalogue()


async def find_plan(conn: Conn, name: str) -> Plan:
    """Raises UnknownPlan naming those there are."""
    return _find("plan", name, (await catalogue_in_force(conn)).plans)


async def find_pack(conn: Conn, name: str) -> Pack:
    """Raises UnknownPlan naming those there are."""
    return _find("pack", name, (await catalogue_in_force(conn)).packs)


def _find(kind: str, name: str, offers: Iterable[Offer]) -> Offer:
    by_name = {offer.name: offer for offer in offers}
    if name not in by_name:
        raise UnknownPlan(f"there is no {kind} {name!r}; there are: {', '.join(by_name) or 'none'}")
    return by_name[name]
