"""`tallylight fleet catalogue`: the models, chips and speeds in force, straight on the database."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction, operator
from gateway.settings import Settings

if TYPE_CHECKING:
    from billing.kit.query import Conn
    from gateway.fleet.editions.model import Edition, Edits

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def catalogue() -> None:
    """Show the catalogue in force; check and apply what is to be otherwise than its files say.

    FILE is TOML: whole rows as in models.toml, accelerators.toml and speeds.toml, each in the place of the row with the same key
    or beside the others, `default_model`, and [without] with `models`, `accelerators` and `speeds` that do not count. It holds
    all edits there shall be: an empty file gives the files back.
    """


@catalogue.command()
@settings_flags("dsn", "catalogue_dir")
@as_json
def show(settings: Settings, *, as_json: bool) -> None:
    """Show the edition in force: its models, on which chips they have a speed, and what is edited."""

    async def find(conn: "Conn") -> "Edition":
        return await _in_force(conn, settings)

    with reported():
        _show(asyncio.run(in_transaction(settings, find)), as_json=as_json)


@catalogue.command()
@click.argument("file", type=_FILE, required=False)
@settings_flags("dsn", "catalogue_dir")
def check(file: Path | None, settings: Settings) -> None:
    """Say whether FILE can be applied; without FILE, whether the folder of the catalogue is sound. Changes nothing."""
    from gateway.fleet.chips import load_chips
    from gateway.fleet.editions.model import checked

    async def examine(conn: "Conn") -> int:
        return len(checked((await _in_force(conn, settings)).files, edits).models)

    with reported():
        if file is None:
            count = len(load_chips(settings.catalogue_dir).models)
        else:
            edits = _read(file)
            count = asyncio.run(in_transaction(settings, examine))
        click.echo(f"sound: {count} models")


@catalogue.command("apply")
@click.argument("file", type=_FILE)
@click.option("--reason", default="", help="Why; kept with the edition and in the platform's trail.")
@settings_flags("dsn", "catalogue_dir")
@as_json
def apply_edits(file: Path, reason: str, settings: Settings, *, as_json: bool) -> None:
    """Put the edits in FILE on top of the files, instead of any there were; running processes follow within moments."""
    from gateway.api.editions import edited
    from gateway.audit.record import record
    from gateway.fleet.catalogue import CatalogueError
    from gateway.fleet.editions.publish import edit

    async def change(conn: "Conn") -> "Edition":
        before = await _in_force(conn, settings)
        made = await edit(conn, before, edits, reason)
        if made is None:
            raise CatalogueError("somebody else changed the catalogue just now; look at it and try again")
        await record(conn, edited(operator(), before, made))
        return made

    with reported():
        edits = _read(file)
        _show(asyncio.run(in_transaction(settings, change)), as_json=as_json)


async def _in_force(conn: "Conn", settings: Settings) -> "Edition":
    from gateway.fleet.chips import read_catalogue
    from gateway.fleet.editions.publish import begin

    return await begin(conn, read_catalogue(settings.catalogue_dir))


def _read(file: Path) -> "Edits":
    import msgspec

    from gateway.fleet.catalogue import CatalogueError, read_table
    from gateway.fleet.editions.model import Edits

    try:
        return msgspec.convert(read_table(file), Edits)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{file}: {error}") from error


def _show(edition: "Edition", *, as_json: bool) -> None:
    found, edits = edition.catalogue, edition.edits
    if as_json:
        fields = ("version", "catalogue", "edits", "source", "reason", "made_at")
        write_json({name: getattr(edition, name) for name in fields})
        return
    edited = {one.name for one in (*edits.models, *edits.accelerators)} | {one.model for one in edits.speeds}
    models = [("model", "offered", "GiB", "speeds", "")]
    for model in found.models:
        own = dict.fromkeys(one.accelerator for one in found.speeds if one.model == model.name)
        speeds = ", ".join(own) if own else f"like {model.like}"
        models.append(
            (model.name, "yes" if model.offered else "no", str(model.memory_gib), speeds, "edited" * (model.name in edited))
        )
    chips = [("accelerator", "GiB", "$/h", "")]
    for chip in found.accelerators:
        price = chip.price_micro_usd_per_hour
        chips.append(
            (chip.name, str(chip.memory_gib), "–" if price is None else f"{price / 1e6:.2f}", "edited" * (chip.name in edited))
        )
    why = f": {edition.reason}" if edition.reason else ""
    click.echo(f"edition {edition.version}, by {edition.source}, {edition.made_at:%Y-%m-%d %H:%M:%SZ}{why}")
    write_table(models)
    write_table(chips)
