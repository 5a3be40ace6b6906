"""Endpoints and deliveries as managers are shown them, over HTTP and on the command line; pure."""

from datetime import datetime
from typing import Literal

import msgspec

from gateway.video import public_id
from gateway.webhooks.model import Delivery, Endpoint, EndpointForm, Kind, State, Try, message_id

CALLBACKS = {"callbacks_live": True, "callbacks_test": False}
"""The names of the two endpoints that stand for callbacks, and their mode."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `callbacks_live` and `callbacks_test` stand for the addresses that requests name in `callback_url`."""

    object: Literal["webhook"] = "webhook"
    id: str
    livemode: bool
    kind: Kind
    url: str | None
    form: EndpointForm
    events: tuple[str, ...]
    description: str
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime


class WebhookList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: tuple[Webhook, ...]


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """What messages are signed with (Standard Webhooks). While there are two, each message carries a signature of both."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str
    previous: str | None
    previous_until: datetime | None


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the `webhook-id` of its messages."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str
    event: str
    job_id: str | None
    url: str | None
    state: State
    tries: int
    happened_at: datetime
    due_at: datetime | None
    ended_at: datetime | None


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest first; ask again with `after` = the last one's id."""

    object: Literal["list"] = "list"
    data: tuple[WebhookDelivery, ...]


class DeliveryDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery, every try, and the message as it would be sent now; null when its job was deleted."""

    object: Literal["webhook_delivery_detail"] = "webhook_delivery_detail"
    delivery: WebhookDelivery
    tries: tuple[Try, ...]
    headers: dict[str, str] | None
    body: str | None


def webhook_view(row: Endpoint) -> Webhook:
    callbacks = "callbacks_live" if row.livemode else "callbacks_test"
    return Webhook(
        id=callbacks if row.kind == "callbacks" else f"we_{row.id.hex}",
        livemode=row.livemode,
        kind=row.kind,
        url=row.url,
        form=row.form,
        events=tuple(row.events),
        description=row.description,
        enabled=row.disabled_at is None,
        disabled_reason=row.disabled_reason,
        failing_since=row.failing_since,
        created_at=row.created_at,
    )


def delivery_view(row: Delivery) -> WebhookDelivery:
    return WebhookDelivery(
        id=message_id(row.id),
        event=row.event,
        job_id=public_id(row.job_id) if row.job_id else None,
        url=row.url,
        state=row.state,
        tries=row.tries,
        happened_at=row.happened_at,
        due_at=row.due_at if row.state == "waiting" else None,
        ended_at=row.ended_at,
    )
