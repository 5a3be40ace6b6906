"""Quotas as they are shown, over HTTP, on the command line and in the trail."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.quotas.model import Meter, Per, Quota, Scope
from gateway.quotas.read import SUBJECTS_MAX, Standing


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    """A quota. `limit` and what counts against it are in the unit of its meter: ms, micro-units of the currency, or how many."""

    id: str
    object: Literal["quota"] = "quota"
    name: str
    livemode: bool
    scope: Scope
    subject: Annotated[str | None, Meta(description="The only one it is about; null: each of the scope by itself.")]
    meter: Meter
    per: Annotated[Per | None, Meta(description="In the organization's time zone; null for concurrent_jobs.")]
    rolling: bool
    limit: int
    soft: bool
    created_at: datetime
    updated_at: datetime
    etag: Annotated[str, Meta(description="Send it as If-Match to change what you have read.")]
    standings: Annotated[tuple[Standing, ...], Meta(description=f"Of the {SUBJECTS_MAX} subjects that have the most.")]


def quota_view(quota: Quota, standings: tuple[Standing, ...] = ()) -> QuotaView:
    return QuotaView(
        id=str(quota.id),
        name=quota.name,
        livemode=quota.livemode,
        scope=quota.scope,
        subject=quota.subject or None,
        meter=quota.meter,
        per=quota.per,
        rolling=quota.rolling,
        limit=quota.most,
        soft=quota.soft,
        created_at=quota.created_at,
        updated_at=quota.updated_at,
        etag=f'"{quota.version}"',
        standings=standings,
    )
