"""Is this message from Stripe, as it was sent, and now? Pure: every malformed form is one refusal.

The SDK's own check takes timestamps from the future and raises TypeError or UnicodeDecodeError for bytes it does not expect.
"""

import hmac
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from billing.errors import WebhookRefused

TOLERANCE = timedelta(minutes=5)
"""How far a message's clock may be from ours, in either direction."""

BODY_BYTES_MAX = 1 << 20
_HEADER_CHARS_MAX = 2048
_STAMP = re.compile(r"[1-9][0-9]{0,10}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class _Object(msgspec.Struct, frozen=True):
    """The balance has no id."""

    object: Annotated[str, Meta(pattern=r"\A[a-z_.]{1,60}\Z")]
    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]{0,255}\Z")] = ""


class _Data(msgspec.Struct, frozen=True):
    object: _Object


class Event(msgspec.Struct, frozen=True):
    """An event names the object that changed; what it says of it is not believed."""

    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]{1,255}\Z")]
    type: Annotated[str, Meta(pattern=r"\A[a-z0-9_.]{1,100}\Z")]
    created: Annotated[int, Meta(ge=0, le=10**11)]
    data: _Data

    @property
    def sent_at(self) -> datetime:
        return datetime.fromtimestamp(self.created, UTC)


_event = msgspec.json.Decoder(Event)


class Signed(msgspec.Struct, frozen=True):
    """An event whose signature is right, and when it was signed."""

    event: Event
    body: bytes
    signed_at: datetime


def read_event(body: bytes, header: str, secret: str) -> Signed:
    """Checks the signature over the bytes as they came. Raises WebhookRefused.

    `secret` is one, or several with white space between: each endpoint at Stripe has its own.
    """
    secrets = secret.split()
    if not secrets:
        raise WebhookRefused("no signing secret is set")
    if len(body) > BODY_BYTES_MAX or len(header) > _HEADER_CHARS_MAX:
        raise WebhookRefused("the message is too long")
    stamps, digests = _parts(header)
    if len(stamps) != 1 or not digests:
        raise WebhookRefused("the signature header needs one t and at least one v1")
    signed = stamps[0].encode() + b"." + body
    expected = [hmac.new(one.encode(), signed, sha256).hexdigest() for one in secrets]
    if not any([hmac.compare_digest(one, digest) for one in expected for digest in digests]):  # noqa: C419 – each is compared, whichever fits
        raise WebhookRefused("no signature fits the message")
    try:
        event = _event.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookRefused("the message is no event") from error
    return Signed(event, body, datetime.fromtimestamp(int(stamps[0]), UTC))


def check_time(signed: Signed, now: datetime) -> None:
    """Raises WebhookRefused for a message that was signed too long before `now`, or after it."""
    if abs(now - signed.signed_at) > TOLERANCE:
        raise WebhookRefused(f"the message was signed at {signed.signed_at.isoformat()}, it is {now.isoformat()}")


def _parts(header: str) -> tuple[list[str], list[str]]:
    """The well-formed timestamps and digests of a header; schemes of other names are not for us."""
    stamps: list[str] = []
    digests: list[str] = []
    for item in header.split(","):
        name, _, value = item.partition("=")
        if name == "t":
            if not _STAMP.fullmatch(value):
                raise WebhookRefused("the timestamp is no whole number")
            stamps.append(value)
        elif name == "v1" and _DIGEST.fullmatch(value):
            digests.append(value)
    return stamps, digests
