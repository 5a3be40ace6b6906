"""Price lists: check a file, put it in force, show what is in force and what will be."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
import msgspec

from billing.kit.money import SYMBOLS, format_micro
from billing.kit.query import Conn
from billing.pricing.book import publish, succession
from billing.pricing.model import RateCard
from gateway.access.organizations import find_organization
from gateway.audit.model import PLATFORM, Action
from gateway.audit.record import record
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction, operator
from gateway.fleet.catalogue import PACKAGED
from gateway.fleet.offers import read_prices
from gateway.settings import Settings

_file = click.Path(path_type=Path, dir_okay=False)


class Shown(msgspec.Struct, frozen=True):
    """A card in its succession; `until` is null for the last one."""

    version: UUID
    currency: str
    organization: str | None
    effective_from: datetime
    until: datetime | None
    card: RateCard


@click.group()
def prices() -> None:
    """Check, publish and show price lists."""


@prices.command("check")
@click.argument("file", type=_file)
@click.option("--override", is_flag=True, help="It is for one customer: it may name only some of the models.")
@settings_flags("catalogue_dir")
@as_json
def check_file(file: Path, settings: Settings, *, override: bool, as_json: bool) -> None:
    """Say what is wrong with a price file, measured by what models.toml offers. Nothing is written."""
    with reported():
        cards = read_prices(file, settings.catalogue_dir, whole=not override)
        if as_json:
            write_json(cards)
        else:
            write_table([("currency", "models"), *((card.currency, ", ".join(card.models)) for card in cards)])


@prices.command("publish")
@click.argument("file", type=_file, required=False)
@click.option("--from", "effective_from", help="When it takes effect, such as 2027-01-01T00:00+08:00. Default: now.")
@click.option("--customer", "org", help="The organization that these prices were agreed with. Default: everyone.")
@settings_flags("dsn", "catalogue_dir")
@as_json
def publish_file(file: Path | None, effective_from: str | None, org: str | None, settings: Settings, *, as_json: bool) -> None:
    """Put a price file in force, without one prices.toml of the catalogue. Jobs that were admitted keep their prices."""
    moment = None if effective_from is None else _moment(effective_from)

    async def put(conn: Conn) -> dict[str, UUID]:
        owner = await find_organization(conn, org) if org else None
        path = file or Path(settings.catalogue_dir or PACKAGED) / "prices.toml"
        cards = read_prices(path, settings.catalogue_dir, whole=owner is None)
        versions = {card.currency: await publish(conn, card, moment, customer_id=owner and owner.id) for card in cards}
        for card in cards:
            await record(conn, _published(owner.id if owner else PLATFORM, versions[card.currency], card, moment))
        return versions

    with reported():
        done = asyncio.run(in_transaction(settings, put))
        if as_json:
            write_json(done)
        else:
            write_table([("currency", "version"), *((currency, str(version)) for currency, version in done.items())])


@prices.command("show")
@click.option("--customer", "org", help="The prices that were agreed with this organization. Default: the list.")
@settings_flags("dsn")
@as_json
def show_cards(org: str | None, settings: Settings, *, as_json: bool) -> None:
    """Show the prices in force and those that will be, with when each takes effect."""

    async def found(conn: Conn) -> list[Shown]:
        owner = await find_organization(conn, org) if org else None
        currencies = [owner.currency] if owner else list(SYMBOLS)
        cards = [one for currency in currencies for one in await succession(conn, currency, owner and owner.id)]
        return [Shown(one.id, one.card.currency, org, one.effective_from, one.until, one.card) for one in cards if not one.over]

    with reported():
        cards = asyncio.run(in_transaction(settings, found))
        if as_json:
            write_json(cards)
            return
        rows = [
            (one.currency, name, format_micro(rates.price_micro, one.currency), "second" if rates.unit == "ms" else "image",
             f"{one.effective_from:%Y-%m-%d %H:%M:%SZ}", str(one.version))
            for one in cards
            for name, rates in one.card.models.items()
        ]  # fmt: skip
        write_table([("currency", "model", "price", "per", "from", "version"), *rows])


def _published(org_id: UUID, version: UUID, card: RateCard, moment: datetime | None) -> Action:
    after = {"currency": card.currency, "models": list(card.models), "effective_from": moment}
    return Action(org_id=org_id, actor=operator(), name="prices.publish", object_id=str(version), after=after)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no time; write one like 2027-01-01T00:00+08:00", param_hint="--from") from error
    if moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} lacks its offset from UTC, such as +08:00 or Z", param_hint="--from")
    return moment.astimezone(UTC)
