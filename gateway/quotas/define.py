"""Define: make, change and remove quotas. A change takes effect with the next admission."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.quotas import sql
from gateway.quotas.model import Meter, Most, Name, Per, Quota, Scope


class NewQuota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quota to make. Without `subject` it counts each project, key, model or end user by itself."""

    name: Name
    scope: Scope
    subject: (
        Annotated[
            str, Meta(min_length=1, max_length=100, description="The id of a project or key, a model, an end user; null: each.")
        ]
        | None
    ) = None
    meter: Meter
    per: Annotated[Per, Meta(description="In the organization's time zone; null for concurrent_jobs.")] | None = None
    rolling: Annotated[bool, Meta(description="Any stretch of that length, kept in 60 parts; a month has 30 days.")] = False
    limit: Annotated[Most, Meta(description="In the meter's unit: ms, micro-units of the organization's currency, or how many.")]
    soft: Annotated[bool, Meta(description="Refuses nothing; 80 and 100 % are told as events.")] = False
    livemode: bool = True


class QuotaChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed. What is counted stays as it is; for another meter or window, make another quota."""

    name: Name | UnsetType = UNSET
    limit: Most | UnsetType = UNSET
    soft: bool | UnsetType = UNSET


async def create_quota(conn: Conn, org_id: UUID, wanted: NewQuota) -> Quota:
    """Counts what is admitted from now on. Raises InvalidRequest, Conflict for a name that is taken."""
    subject = await _subject(conn, org_id, wanted)
    if (wanted.meter == "concurrent_jobs") != (wanted.per is None):
        raise InvalidRequest("per must be a window, or null for concurrent_jobs", param="per")
    if wanted.rolling and wanted.per is None:
        raise InvalidRequest("concurrent_jobs has no window that could roll", param="rolling")
    quota_id = new_id()
    added = await sql.ADD.maybe(
        conn, org_id, quota_id, wanted.name, wanted.livemode, wanted.scope, subject, wanted.meter, wanted.per, wanted.rolling,
        wanted.limit, wanted.soft,
    )  # fmt: skip
    if added is None:
        raise _taken(wanted.name)
    return await sql.READ.one(conn, org_id, quota_id)


async def lock_quota(conn: Conn, org_id: UUID, quota_id: UUID) -> Quota:
    """As it is, and stays until the transaction ends. Raises NotFound."""
    if await sql.LOCK_ONE.maybe(conn, org_id, quota_id) is None:
        raise NotFound("there is no such quota")
    return await sql.READ.one(conn, org_id, quota_id)


async def lock_named_quota(conn: Conn, org_id: UUID, name: str) -> Quota:
    """As `lock_quota`, by name. Raises NotFound."""
    found = await sql.NAMED.maybe(conn, org_id, name)
    if found is None:
        raise NotFound(f"there is no quota {name!r}")
    return await lock_quota(conn, org_id, found.id)


async def change_quota(conn: Conn, known: Quota, change: QuotaChange) -> Quota:
    """`known` is locked. What changes nothing keeps its version. Raises Conflict for a name that is taken."""
    name = known.name if change.name is UNSET else change.name
    most = known.most if change.limit is UNSET else change.limit
    soft = known.soft if change.soft is UNSET else change.soft
    if (name, most, soft) == (known.name, known.most, known.soft):
        return known
    if name != known.name and await sql.NAMED.maybe(conn, known.org_id, name) is not None:
        raise _taken(name)
    await sql.CHANGE.run(conn, known.org_id, known.id, name, most, soft)
    return await sql.READ.one(conn, known.org_id, known.id)


async def delete_quota(conn: Conn, known: Quota) -> None:
    """Removes it with what it counted; `known` is locked. Jobs that were counted end as usual."""
    await sql.LOCK_COUNTERS.run(conn, known.org_id, known.id)
    await sql.DELETE_COUNTERS.run(conn, known.org_id, known.id)
    await sql.DELETE.run(conn, known.org_id, known.id)


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a quota named {name!r}; change it, or choose another name", param="name")


async def _subject(conn: Conn, org_id: UUID, wanted: NewQuota) -> str:
    """As it is stored. Raises InvalidRequest."""
    if wanted.subject is None:
        return ""
    if wanted.scope == "organization":
        raise InvalidRequest("a quota of the organization has no subject", param="subject")
    if wanted.scope in ("project", "key"):
        try:
            subject = UUID(wanted.subject)
        except ValueError as error:
            raise InvalidRequest(f"subject must be the id of a {wanted.scope}", param="subject") from error
        if await sql.HAS_SUBJECT.maybe(conn, org_id, wanted.scope, subject) is None:
            raise InvalidRequest(f"there is no {wanted.scope} {subject}", param="subject")
        return str(subject)
    if "\x00" in wanted.subject:
        raise InvalidRequest("subject must not contain NUL", param="subject")
    return wanted.subject
