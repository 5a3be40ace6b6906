"""`tallylight listen` and `trigger`: webhooks for a developer at a terminal, whose machine nobody can call."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import get_args

import click
import httpx

from billing.kit.loops import run_until
from gateway.cli.client import ApiClient, ApiError
from gateway.cli.command import write_json
from gateway.cli.webhooks import LOG, PATH, ask, events_option, form_option, managing, test_option
from gateway.webhooks.events import EventName
from gateway.webhooks.view import DeliveryDetail, DeliveryList, Webhook, WebhookDelivery, WebhookList, WebhookSecret

_WAITING = {"state": "waiting", "wait": 20}
FORWARD_S = 30.0


@click.command()
@click.option(
    "--forward-to", required=True, metavar="URL", help="Where your program listens, such as http://localhost:3000/hook."
)
@events_option
@form_option
@test_option
@managing
def listen(
    forward_to: str,
    events: tuple[str, ...],
    form: str,
    url: str | None,
    key: str | None,
    data: Path,
    *,
    test: bool,
    as_json: bool,
) -> None:
    """Hand what happens on to a program on this machine, until Ctrl-C."""
    body = {"events": events, "form": form, "livemode": not test, "description": f"tallylight listen {forward_to}"[:200]}

    async def work(client: ApiClient) -> None:
        made = await client.manage("POST", PATH, Webhook, json=body)
        try:
            secret = (await client.manage("GET", f"{PATH}/{made.id}/secret", WebhookSecret)).secret
            if as_json:
                write_json({"id": made.id, "secret": secret})
            else:
                click.echo(f"Listening. Messages are signed with {secret}")
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await run_until(stop, _forward(client, made, forward_to, as_json=as_json))
        finally:
            with contextlib.suppress(ApiError):
                await client.manage("DELETE", f"{PATH}/{made.id}", None)

    ask(url, key, data, work)


@click.command()
@click.argument("event", type=click.Choice(get_args(EventName)))
@click.option("--webhook", "webhook_id", help="Only this endpoint. Default: all that are enabled.")
@managing
def trigger(event: str, webhook_id: str | None, url: str | None, key: str | None, data: Path, *, as_json: bool) -> None:
    """Send EVENT, which did not happen, to the organization's endpoints, marked as a sample."""

    async def work(client: ApiClient) -> list[WebhookDelivery]:
        ids = (
            [webhook_id]
            if webhook_id
            else [one.id for one in (await client.manage("GET", PATH, WebhookList)).data if one.enabled]
        )
        if not ids:
            raise ApiError(
                "there is no endpoint to send it to; make one with `tallylight webhooks create` or `tallylight listen`"
            )
        body = {"event": event}
        return [await client.manage("POST", f"{PATH}/{one}/trigger", WebhookDelivery, json=body) for one in ids]

    sent = ask(url, key, data, work)
    if as_json:
        write_json(sent)
    else:
        click.echo("\n".join(one.id for one in sent))


async def _forward(client: ApiClient, of: Webhook, url: str, *, as_json: bool) -> None:
    """What waits, in order; a message whose outcome could not be told is offered again."""
    async with httpx.AsyncClient(timeout=FORWARD_S, trust_env=False) as receiver:
        while True:
            page = await client.manage("GET", f"{PATH}/{of.id}/deliveries", DeliveryList, params=_WAITING)
            for one in page.data:
                outcome = await _hand_on(client, receiver, one, url)
                await client.manage("POST", f"{LOG}/{one.id}/outcome", WebhookDelivery, json=outcome)
                if as_json:
                    write_json({"id": one.id, "event": one.event, "job_id": one.job_id, **outcome})
                else:
                    came = outcome.get("status") or outcome.get("error")
                    click.echo(f"{one.event:<16} {one.job_id or '':<36} → {came}  {outcome['took_ms']} ms")


async def _hand_on(client: ApiClient, receiver: httpx.AsyncClient, one: WebhookDelivery, url: str) -> dict[str, int | str]:
    message = await client.manage("GET", f"{LOG}/{one.id}", DeliveryDetail)
    if message.headers is None or message.body is None:
        return {"took_ms": 0, "error": "the job was deleted"}
    began = time.monotonic()
    try:
        answer = await receiver.post(url, content=message.body, headers=message.headers)
    except httpx.HTTPError as error:
        return {"took_ms": _ms_since(began), "error": f"{url} does not answer ({type(error).__name__})"[:200]}
    return {"took_ms": _ms_since(began), "status": answer.status_code}


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
