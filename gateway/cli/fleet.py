"""Operators' view of Triton servers: the registry, straight on the database, and the check against the video contract."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.catalogue import catalogue
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.settings import Settings

if TYPE_CHECKING:
    from billing.kit.query import Conn
    from gateway.fleet.registry.model import SeenRow


@click.group()
def fleet() -> None:
    """List, register and command the Triton servers; check one against the video contract."""


fleet.add_command(catalogue)


@fleet.command("check")
@click.argument("url")
@click.argument("model")
@as_json
def check_server(url: str, model: str, *, as_json: bool) -> None:
    """Check MODEL on the server at URL (host:port of its gRPC endpoint) against deploy/triton/README.md; say what breaks it."""
    from gateway.fleet.check import check

    with reported():
        findings = asyncio.run(check(url, model))
    if as_json:
        write_json({"ok": all(one.ok for one in findings), "findings": findings})
    else:
        for one in findings:
            click.echo(f"{'ok  ' if one.ok else 'FAIL'}  {one.rule}: {one.detail}")
    if not all(one.ok for one in findings):
        raise SystemExit(1)


@fleet.command("list")
@settings_flags("dsn")
@as_json
def list_all(settings: Settings, *, as_json: bool) -> None:
    """List the replicas: what is wanted of them, and what the dispatcher last saw."""
    from gateway.fleet.registry.read import list_replicas

    with reported():
        _show(asyncio.run(in_transaction(settings, list_replicas)), as_json)


@fleet.command("register")
@click.argument("name")
@click.argument("url")
@click.option("--model", "models", multiple=True, required=True, help="One that it has or may hold; may be given several times.")
@click.option("--slots", type=click.IntRange(1, 1024), default=1, show_default=True, help="Jobs it runs at the same time.")
@click.option("--accelerator", default="cpu", show_default=True, help="Its chip, as the catalogue calls it.")
@click.option("--price", type=click.IntRange(min=0), help="USD micro-units an hour; without it, the catalogue's for the chip.")
@click.option("--loads", is_flag=True, help="Triton runs in explicit mode: models are loaded as jobs need them.")
@click.option("--models-max", type=click.IntRange(1, 256), help="So many models at a time; without it, all.")
@settings_flags("dsn", "catalogue_dir")
@as_json
def register(name: str, url: str, settings: Settings, *, as_json: bool, price: int | None, **given: Any) -> None:
    """Register the server at URL (host:port of its gRPC endpoint) as NAME; a running dispatcher uses it as soon as it answers."""
    import msgspec

    from gateway.errors import InvalidRequest
    from gateway.fleet.editions.current import Current
    from gateway.fleet.registry.declare import register
    from gateway.settings import ReplicaSettings

    with reported():
        fields = {"name": name, "url": url, "price_micro_usd_per_hour": price, **given}
        try:
            wanted = msgspec.convert(fields, ReplicaSettings)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error)) from error

        async def add(conn: "Conn") -> "SeenRow":
            known = Current(settings.catalogue_dir)
            await known.begin(conn)
            return await register(conn, wanted, known.models)

        _show([asyncio.run(in_transaction(settings, add))], as_json)


def _verb(verb: Any, about: str) -> Callable[..., None]:
    @settings_flags("dsn")
    @as_json
    def command(name: str, settings: Settings, *, as_json: bool, reason: str = "") -> None:
        from gateway.fleet.registry.change import change

        with reported():
            _show([asyncio.run(in_transaction(settings, lambda conn: change(conn, name, verb, reason)))], as_json)

    if verb == "quarantine":
        command = click.option("--reason", required=True, help="Why; shown to everybody who looks.")(command)
    return fleet.command(verb, help=about)(click.argument("name")(command))


cordon = _verb("cordon", "Give NAME no more jobs for now; what runs there ends as usual.")
uncordon = _verb("uncordon", "Give NAME jobs again.")
drain = _verb("drain", "Give NAME no more jobs, it is on its way out; what runs there ends as usual.")
remove = _verb("remove", "Drain NAME, then forget it.")
quarantine = _verb("quarantine", "Give NAME no more jobs because something is wrong with it, until it is released.")
release = _verb("release", "End the quarantine of NAME.")


def _show(found: list[Any], as_json: bool) -> None:
    from gateway.fleet.registry.view import view_of

    views = [view_of(row) for row in found]
    if as_json:
        write_json(views)
        return
    rows = [("name", "url", "chip", "$/h", "slots", "state", "is", "runs", "loaded", "because")]
    for one in views:
        live, price = one.live, one.price_micro_usd_per_hour
        reason = one.quarantine.reason if one.quarantine else live.reason if live else ""
        rows.append(
            (
                one.name,
                one.url,
                one.accelerator,
                "–" if price is None else f"{price / 1e6:.2f}",
                str(one.slots),
                one.state,
                live.condition if live else "not seen",
                str(live.running) if live else "–",
                ",".join(live.loaded) if live else "–",
                reason,
            )
        )
    write_table(rows)
