"""`tallylight simulate`: a trace through the scheduler that dispatch runs, without a database or a fleet."""

from pathlib import Path

import click

from gateway.cli.command import reported, write_json, write_table

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--catalogue", type=_FOLDER, help="models.toml, accelerators.toml and speeds.toml; without it, the packaged ones.")
@click.option(
    "--trace", required=True, metavar="FILE|NAME",
    help="CSV (arrival_s, organization, model, resolution, seconds, tier) or a scenario: busy, diurnal, overload, "
    "festival, deep-festival, crowd, without-crowd, lost-pool, slowdown, failures, wrong-speeds.",
)  # fmt: skip
@click.option(
    "--events", type=_FILE, help="CSV (at_s, event, pool, value): pool_loss, pool_back, drain, join, slowdown, failures."
)
@click.option(
    "--fleet", type=_FILE,
    help="TOML: [[pools]] of accelerator, count and perhaps slots, price_micro_usd_per_hour, models; without it, fleet.toml of "
    "the catalogue's folder, else the packaged 208 chips, or 32 of each that has a price where the catalogue lacks those.",
)  # fmt: skip
@click.option(
    "--policy", default="tallylight", show_default=True,
    help="tallylight, strong, fifo, fifo-model, least-loaded, cheapest; the latter also with +gate, behind our admission.",
)  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Of run times, failures and scenarios.")
@click.option(
    "--json",
    "out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write every figure to this file, or - .",
)
@click.option("--plots", type=_FOLDER, help="Draw waits and cost into this folder.")
def simulate(
    catalogue: Path | None,
    trace: str,
    events: Path | None,
    fleet: Path | None,
    policy: str,
    seed: int,
    out: Path | None,
    plots: Path | None,
) -> None:
    """Run a trace on a fleet on paper: who waited, who was refused, what a generated second cost and what it had to cost at
    least.
    """
    import msgspec

    from gateway.fleet.chips import load_chips
    from gateway.simulator.bounds import bounds
    from gateway.simulator.engine import POLICIES
    from gateway.simulator.engine import simulate as run
    from gateway.simulator.plots import draw
    from gateway.simulator.report import report, table
    from gateway.simulator.scenarios import SCENARIOS, Ground
    from gateway.simulator.setup import fleet_for, read_events, read_fleet, read_trace

    if policy not in POLICIES:
        raise click.BadParameter(f"must be one of {', '.join(POLICIES)}", param_hint="--policy")
    with reported():
        chips = load_chips(str(catalogue or ""))
        tables, replicas, which = (*read_fleet(fleet, chips), str(fleet)) if fleet else fleet_for(catalogue, chips)
        ground = Ground(tables, replicas)
        setup = SCENARIOS[trace](ground, seed) if trace in SCENARIOS else ground.setup(read_trace(Path(trace), ground.fleet))
        if events is not None:
            setup = msgspec.structs.replace(setup, events=read_events(events, ground.fleet))
        outcome = run(setup, policy, seed)
        finished = [one.arrival for one in outcome.records if one.finished_s is not None]
        made = report(setup, policy, seed, outcome, bounds(setup, finished) if finished else None)
        if out is not None and str(out) != "-":
            out.write_bytes(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
        if plots is not None:
            draw(plots, trace, [made])
    if out is not None and str(out) == "-":
        write_json(made)
    else:
        click.echo(f"{len(setup.arrivals)} jobs on {which}", err=True)
        write_table(table([made]))
