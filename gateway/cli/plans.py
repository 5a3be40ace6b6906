"""Plans, packs and budgets, straight on the database."""

import asyncio
from uuid import UUID

import click

from billing.kit.ids import new_id
from billing.kit.money import format_micro, parse_micro
from billing.kit.query import Conn
from billing.plans.alerts import Budgeted, set_budget
from billing.plans.catalogue import catalogue_in_force, publish_catalogue
from billing.plans.change import Change, cancel, change_plan, preview_change
from billing.plans.give_back import return_pack
from billing.plans.model import Catalogue, ContractPlan, Pack, Plan, Sale, Subscription, SubscriptionPlan
from billing.plans.read import subscriptions
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from gateway.access.organizations import find_organization
from gateway.cli.access import organization
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.fleet.offers import load_plans, load_sellers
from gateway.settings import Settings

source_option = click.option("--source", help="An id of your own: the same one is done once. Default: a new one.")


@click.group()
def plans() -> None:
    """Publish plans; begin, change and end them; sell packs."""


@plans.command("publish")
@settings_flags("dsn", "catalogue_dir")
@as_json
def publish(settings: Settings, *, as_json: bool) -> None:
    """Put plans.toml in force; what customers agreed to stays as it was."""

    async def put(conn: Conn) -> Catalogue:
        await publish_catalogue(conn, load_plans(settings.catalogue_dir))
        return await catalogue_in_force(conn)

    with reported():
        _show_offers(asyncio.run(in_transaction(settings, put)), as_json)


@plans.command("offered")
@settings_flags("dsn")
@as_json
def offered(settings: Settings, *, as_json: bool) -> None:
    """Show what is offered."""
    with reported():
        _show_offers(asyncio.run(in_transaction(settings, catalogue_in_force)), as_json)


def _show_offers(found: Catalogue, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    write_table([("name", "title", "what"), *((one.name, one.title, _terms(one)) for one in (*found.plans, *found.packs))])


def _terms(offer: Plan | Pack) -> str:
    match offer:
        case SubscriptionPlan():
            fee = format_micro(offer.fee_micro, offer.currency)
            return f"{fee} per {offer.every.count} {offer.every.unit} for {offer.included_ms // 1000} s {offer.seconds_class}"
        case ContractPlan():
            return f"on account up to {format_micro(offer.credit_limit_micro, offer.currency)}"
        case Pack():
            return f"{format_micro(offer.price_micro, offer.currency)} for {offer.duration_ms // 1000} s {offer.seconds_class}"
        case _:
            return f"{offer.allowance_ms // 1000} s {offer.seconds_class} per {offer.every.count} {offer.every.unit}, free"


@plans.command("show")
@organization
@settings_flags("dsn")
@as_json
def show(org: str, settings: Settings, *, as_json: bool) -> None:
    """Show an organization's plans, the oldest first."""

    async def found(conn: Conn) -> list[Subscription]:
        return await subscriptions(conn, (await find_organization(conn, org)).id)

    with reported():
        _show_plans(asyncio.run(in_transaction(settings, found)), as_json)


def _show_plans(found: list[Subscription], as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    rows = [
        (one.plan.name, one.state, one.starts_at.isoformat(), one.period.ends_at.isoformat() if one.period else "")
        for one in found
    ]
    write_table([("plan", "state", "from", "period until"), *rows])


@plans.command("begin")
@organization
@click.argument("plan")
@source_option
@settings_flags("dsn", "catalogue_dir")
@as_json
def begin(org: str, plan: str, source: str | None, settings: Settings, *, as_json: bool) -> None:
    """Begin a plan now."""

    async def work(conn: Conn) -> Subscription:
        owner, sellers = await find_organization(conn, org), load_sellers(settings.catalogue_dir)
        return await subscribe(conn, sellers, customer_id=owner.id, plan=plan, source=source or str(new_id()))

    with reported():
        _show_plans([asyncio.run(in_transaction(settings, work))], as_json)


@plans.command("change")
@organization
@click.argument("plan")
@click.option("--preview", is_flag=True, help="Only say what would be given back and charged.")
@source_option
@settings_flags("dsn", "catalogue_dir")
@as_json
def change(org: str, plan: str, source: str | None, settings: Settings, *, preview: bool, as_json: bool) -> None:
    """Change to another plan now; unused seconds come back, the rest of the period is charged."""

    async def look(conn: Conn) -> Change:
        owner = await find_organization(conn, org)
        return await preview_change(conn, load_sellers(settings.catalogue_dir), customer_id=owner.id, plan=plan)

    async def work(conn: Conn) -> Subscription:
        owner, sellers = await find_organization(conn, org), load_sellers(settings.catalogue_dir)
        return await change_plan(conn, sellers, customer_id=owner.id, plan=plan, source=source or str(new_id()))

    with reported():
        if not preview:
            _show_plans([asyncio.run(in_transaction(settings, work))], as_json)
        elif as_json:
            write_json(asyncio.run(in_transaction(settings, look)))
        else:
            _show_change(asyncio.run(in_transaction(settings, look)))


def _show_change(found: Change) -> None:
    rows = [
        (one.line.title, f"-{one.line.quantity_ms} ms", format_micro(-one.total_micro, one.sale.currency))
        for one in found.returned
    ]
    if found.charged is not None:
        rows.append((found.charged.title, f"{found.charged.quantity_ms} ms", format_micro(found.charged_micro, found.currency)))
    write_table([("plan", "seconds", "with tax"), *rows])


@plans.command("cancel")
@organization
@settings_flags("dsn")
@as_json
def cancel_plan(org: str, settings: Settings, *, as_json: bool) -> None:
    """Let the plan end with its period."""

    async def work(conn: Conn) -> Subscription:
        return await cancel(conn, (await find_organization(conn, org)).id)

    with reported():
        _show_plans([asyncio.run(in_transaction(settings, work))], as_json)


@plans.command("sell")
@organization
@click.argument("pack")
@click.option("--payer", type=click.Choice(["wallet", "account"]), default="wallet", show_default=True)
@source_option
@settings_flags("dsn", "catalogue_dir")
@as_json
def sell(org: str, pack: str, payer: str, source: str | None, settings: Settings, *, as_json: bool) -> None:
    """Sell a pack of seconds."""

    async def work(conn: Conn) -> Sale:
        owner, sellers = await find_organization(conn, org), load_sellers(settings.catalogue_dir)
        named = source or str(new_id())
        paying = "account" if payer == "account" else "wallet"
        return await buy_pack(conn, sellers, customer_id=owner.id, pack=pack, source=named, payer=paying)

    with reported():
        sold = asyncio.run(in_transaction(settings, work))
        if as_json:
            write_json(sold)
        else:
            click.echo(f"{sold.line.title}: {format_micro(sold.total_micro, sold.currency)} with tax, from the {sold.payer}")


@plans.command("return")
@organization
@click.argument("invoice_id", type=click.UUID)
@source_option
@settings_flags("dsn")
@as_json
def return_rest(org: str, invoice_id: UUID, source: str | None, settings: Settings, *, as_json: bool) -> None:
    """Take back what is left of a pack, by its invoice, for what it was sold for; the clerk writes the credit note."""

    async def work(conn: Conn) -> Sale:
        owner = await find_organization(conn, org)
        return await return_pack(conn, customer_id=owner.id, invoice_id=invoice_id, source=source or str(new_id()))

    with reported():
        back = asyncio.run(in_transaction(settings, work))
        if as_json:
            write_json(back)
        else:
            total = format_micro(back.total_micro, back.currency)
            click.echo(f"{back.line.title}: {back.line.quantity_ms} ms returned for {total} with tax, to the {back.payer}")


@plans.command("budget")
@organization
@click.option("--name", required=True, help="What the budget is called.")
@click.option("--amount", required=True, help="What is to be spent in a calendar month at most, such as 1000.")
@settings_flags("dsn")
@as_json
def budget(org: str, name: str, amount: str, settings: Settings, *, as_json: bool) -> None:
    """Tell when an organization has spent 50, 80 and 100 % of a monthly amount. It stops nothing."""
    try:
        amount_micro = parse_micro(amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error

    async def work(conn: Conn) -> str:
        owner = await find_organization(conn, org)
        return str(await set_budget(conn, owner.id, Budgeted(name=name, amount_micro=amount_micro)))

    with reported():
        budget_id = asyncio.run(in_transaction(settings, work))
        if as_json:
            write_json({"id": budget_id})
        else:
            click.echo(f"{name} is watched")
