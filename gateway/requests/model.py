"""Calls of the API as they are logged; pure. Nothing of what was sent or answered is in them."""

from datetime import datetime
from uuid import UUID

import msgspec


class Call(msgspec.Struct, frozen=True):
    """One call that changed something or was refused. `route` is the path's template, `code` that of its error."""

    org_id: UUID
    id: UUID
    at: datetime
    project_id: UUID | None
    caller_id: UUID
    method: str
    route: str
    status: int
    code: str | None
    duration_ms: int
    job_id: UUID | None
    request_id: str


class Logged(Call, frozen=True):
    """With the price of the job that it made or asked about: held until the job ended, then charged, in micro-units."""

    price_micro: int | None
    currency: str | None


class Group(msgspec.Struct, frozen=True):
    """Calls of one kind: how many, how long they took, when, and the newest one's request id to ask about.

    Reads that succeeded, whatever their status, are counted as GET and 200; they have no `max_ms` and no request id.
    """

    method: str
    route: str
    status: int
    code: str | None
    calls: int
    mean_ms: int
    max_ms: int | None
    first_at: datetime
    last_at: datetime
    request_id: str | None
