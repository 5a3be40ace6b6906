"""Read: an organization's quotas, and what counts against them now."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.errors import NotFound
from gateway.quotas import sql
from gateway.quotas.model import Quota, span

SUBJECTS_MAX = 20
"""How many subjects of one quota are shown; those that have the most."""


class Standing(msgspec.Struct, frozen=True):
    """What counts against a quota for one subject. `resets_at`: when something becomes free; None: when a job ends."""

    subject: str
    used: int
    held: int
    remaining: int
    resets_at: datetime | None


class Shown(msgspec.Struct, frozen=True):
    """A quota with its standings."""

    quota: Quota
    standings: tuple[Standing, ...]

    @property
    def id(self) -> UUID:
        return self.quota.id


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever is counted: it sees the quotas that may concern it, and no other's standing in them."""

    livemode: bool
    project_id: UUID
    key_id: UUID
    end_user: str | None

    def subject(self, quota: Quota) -> str | None:
        match quota.scope:
            case "project":
                return str(self.project_id)
            case "key":
                return str(self.key_id)
            case "end_user":
                return self.end_user or ""
            case "organization" | "model":
                return None


async def read_quota(conn: Conn, org_id: UUID, quota_id: UUID, subject: str | None = None) -> Shown:
    """`subject`: only this one's standing. Raises NotFound."""
    quota = await sql.READ.maybe(conn, org_id, quota_id)
    if quota is None:
        raise NotFound("there is no such quota")
    (shown,) = await _shown(conn, org_id, [quota], [subject])
    return shown


async def list_quotas(
    conn: Conn, org_id: UUID, *, limit: int, after: UUID | None = None, asker: Asker | None = None
) -> list[Shown]:
    """Newest first, with the standings of the subjects that have the most. `asker`: only what it may see."""
    mine = asker and ["", str(asker.project_id), str(asker.key_id)]
    quotas = await sql.LIST.all(conn, org_id, after, limit, asker and asker.livemode, mine)
    return await _shown(conn, org_id, quotas, [asker and asker.subject(quota) for quota in quotas])


async def _shown(conn: Conn, org_id: UUID, quotas: list[Quota], subjects: list[str | None]) -> list[Shown]:
    now = (await sql.NOW.one(conn)).at
    counted: dict[UUID, list[Standing]] = {quota.id: [] for quota in quotas}
    known = {quota.id: quota for quota in quotas}
    for row in await sql.COUNTED.all(conn, org_id, list(known), subjects, SUBJECTS_MAX):
        quota = known[row.quota_id]
        left = max(quota.most - row.used - row.held, 0)
        counted[quota.id].append(Standing(row.subject, row.used, row.held, left, row.frees_at if quota.per else None))
    return [
        Shown(quota, tuple(counted[quota.id]) or _untouched(quota, subject, now))
        for quota, subject in zip(quotas, subjects, strict=True)
    ]


def _untouched(quota: Quota, subject: str | None, now: datetime) -> tuple[Standing, ...]:
    """Nothing counts yet: said of whom it is about, where that is one."""
    whom = quota.subject or subject or ""
    if not whom and quota.scope != "organization":
        return ()
    here = span(quota.per, now, quota.time_zone, rolling=quota.rolling)
    return (Standing(whom, 0, 0, quota.most, here.counts_until if quota.per else None),)
