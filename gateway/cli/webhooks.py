"""`tallylight webhooks`: through the public API, with a management key."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from gateway.cli.client import ApiClient, connection
from gateway.cli.command import as_json, data_option, reported, write_json, write_table
from gateway.webhooks.events import EventName
from gateway.webhooks.model import OVERLAP_S, EndpointForm
from gateway.webhooks.view import DeliveryDetail, DeliveryList, Webhook, WebhookDelivery, WebhookList, WebhookSecret

PATH, LOG = "/v1/webhooks", "/v1/webhook-deliveries"

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])

events_option = click.option(
    "--event", "events", multiple=True, type=click.Choice(get_args(EventName)), help="Only this; repeatable. Default: everything."
)
form_option = click.option(
    "--form",
    type=click.Choice(get_args(EndpointForm)),
    default="native",
    show_default=True,
    help="Whose messages it understands.",
)
test_option = click.option("--test", is_flag=True, help="What happens with test keys.")


def managing(function: Function) -> Function:
    for option in (
        as_json,
        data_option,
        click.option("--key", help="A management key. Default: TALLYLIGHT_API_KEY, else the demo's."),
        click.option("--url", help="The gateway. Default: TALLYLIGHT_BASE_URL, else the one of `tallylight up` in this folder."),
    ):
        function = option(function)
    return function


def ask(url: str | None, key: str | None, data: Path, work: Callable[[ApiClient], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with ApiClient(*connection(url, key, data, manages=True)) as client:
            return await work(client)

    with reported():
        return asyncio.run(run())


@click.group()
def webhooks() -> None:
    """Keep the addresses that are told what happens; look at deliveries and send them again."""


@webhooks.command("list")
@managing
def show_all(url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """List the endpoints, the newest first."""
    found = ask(url, key, data, lambda client: client.manage("GET", PATH, WebhookList))
    if as_json:
        write_json(found)
        return
    rows = [(one.id, _state(one), one.form, "test" if not one.livemode else "live", one.url or one.kind) for one in found.data]
    write_table([("id", "state", "form", "mode", "address"), *rows])


@webhooks.command("create")
@click.argument("address")
@events_option
@form_option
@test_option
@click.option("--description", default="", help="For people.")
@managing
def create(
    address: str,
    events: tuple[str, ...],
    form: str,
    description: str,
    url: str | None,
    key: str | None,
    data: Path,
    *,
    test: bool,
    as_json: bool,
) -> None:
    """Have ADDRESS, an https:// URL, told what happens."""
    body = {"url": address, "events": events, "form": form, "livemode": not test, "description": description}

    async def work(client: ApiClient) -> tuple[Webhook, WebhookSecret]:
        made = await client.manage("POST", PATH, Webhook, json=body)
        return made, await client.manage("GET", f"{PATH}/{made.id}/secret", WebhookSecret)

    made, secret = ask(url, key, data, work)
    if as_json:
        write_json(made)
    else:
        click.echo(f"{made.id}\nits messages are signed with {secret.secret}")


@webhooks.command("enable")
@click.argument("webhook_id")
@managing
def enable(webhook_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Send an endpoint what waits for it and what happens from now on."""
    _show(ask(url, key, data, lambda client: _enable(client, webhook_id, enabled=True)), as_json)


@webhooks.command("disable")
@click.argument("webhook_id")
@managing
def disable(webhook_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Tell an endpoint nothing more; what waits for it is kept."""
    _show(ask(url, key, data, lambda client: _enable(client, webhook_id, enabled=False)), as_json)


@webhooks.command("delete")
@click.argument("webhook_id")
@managing
def delete(webhook_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Remove an endpoint and its deliveries."""
    ask(url, key, data, lambda client: client.manage("DELETE", f"{PATH}/{webhook_id}", None))
    if as_json:
        write_json({"id": webhook_id, "deleted": True})
    else:
        click.echo(f"{webhook_id} is gone")


@webhooks.command("secret")
@click.argument("webhook_id")
@managing
def secret(webhook_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Show what an endpoint's messages are signed with; callbacks_live and callbacks_test for those of requests."""
    _show_secret(ask(url, key, data, lambda client: client.manage("GET", f"{PATH}/{webhook_id}/secret", WebhookSecret)), as_json)


@webhooks.command("rotate")
@click.argument("webhook_id")
@click.option("--overlap", "overlap_s", type=click.IntRange(0, 30 * 86400), default=OVERLAP_S, show_default=True,
              help="Seconds for which the old secret stays valid beside the new one.")  # fmt: skip
@managing
def rotate(webhook_id: str, overlap_s: int, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Replace an endpoint's secret."""
    path, body = f"{PATH}/{webhook_id}/rotate", {"overlap_s": overlap_s}
    _show_secret(ask(url, key, data, lambda client: client.manage("POST", path, WebhookSecret, json=body)), as_json)


@webhooks.command("deliveries")
@click.argument("webhook_id")
@click.option("--state", type=click.Choice(["waiting", "delivered", "failed"]))
@click.option("--after", help="Only those behind the one with this id.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@managing
def deliveries(
    webhook_id: str,
    state: str | None,
    after: str | None,
    limit: int,
    url: str | None,
    key: str | None,
    data: Path,
    *,
    as_json: bool,
) -> None:
    """List what an endpoint was told, the oldest first."""
    query = {name: value for name, value in (("state", state), ("after", after), ("limit", limit)) if value}
    path = f"{PATH}/{webhook_id}/deliveries"
    page = ask(url, key, data, lambda client: client.manage("GET", path, DeliveryList, params=query))
    if as_json:
        write_json(page)
        return
    rows = [(d.id, d.event, d.job_id or "", d.state, str(d.tries), f"{d.happened_at:%Y-%m-%d %H:%M:%S}") for d in page.data]
    write_table([("id", "event", "job", "state", "tries", "happened"), *rows])


@webhooks.command("delivery")
@click.argument("message_id")
@managing
def delivery(message_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Show one delivery: every try, and the message as it would be sent now."""
    detail = ask(url, key, data, lambda client: client.manage("GET", f"{LOG}/{message_id}", DeliveryDetail))
    if as_json:
        write_json(detail)
        return
    for one in detail.tries:
        click.echo(f"{one.at:%Y-%m-%d %H:%M:%S}  {one.status or one.error}  {one.took_ms} ms  {one.answer}".rstrip())
    click.echo(detail.body or "its job was deleted")


@webhooks.command("resend")
@click.argument("message_id")
@managing
def resend(message_id: str, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Send a delivery once more, under the same id."""
    again = ask(url, key, data, lambda client: client.manage("POST", f"{LOG}/{message_id}/resend", WebhookDelivery))
    if as_json:
        write_json(again)
    else:
        click.echo(f"{again.id} is {again.state}")


async def _enable(client: ApiClient, webhook_id: str, *, enabled: bool) -> Webhook:
    change = {"json": {"enabled": enabled}, "headers": {"if-match": "*"}}
    return await client.manage("PATCH", f"{PATH}/{webhook_id}", Webhook, **change)


def _show(one: Webhook, as_json: bool) -> None:
    if as_json:
        write_json(one)
    else:
        click.echo(f"{one.id}  {_state(one)}")


def _show_secret(one: WebhookSecret, as_json: bool) -> None:
    if as_json:
        write_json(one)
        return
    click.echo(one.secret)
    if one.previous:
        click.echo(f"{one.previous}  until {one.previous_until:%Y-%m-%d %H:%M:%S}")


def _state(one: Webhook) -> str:
    if one.disabled_reason:
        return f"disabled: {one.disabled_reason}"
    return f"failing since {one.failing_since:%Y-%m-%d %H:%M}" if one.failing_since else "enabled"
