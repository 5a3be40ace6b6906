"""Open, list, change and archive projects."""

from uuid import UUID

import asyncpg

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import PROMPT_DAYS, Project
from gateway.errors import Conflict, NotFound


async def open_project(conn: Conn, org_id: UUID, name: str, prompt_days: int = PROMPT_DAYS) -> Project:
    """Raises Conflict where there is one of this name, also an archived one."""
    project_id = new_id()
    if await sql.ADD_PROJECT.run(conn, org_id, project_id, name, prompt_days) == 0:
        raise Conflict(f"there is a project {name!r}; choose another name, or use that one", param="name")
    return await read_project(conn, org_id, project_id)


async def list_projects(conn: Conn, org_id: UUID, *, limit: int, after: UUID | None = None) -> list[Project]:
    """The newest first."""
    return await sql.PROJECTS.all(conn, org_id, after, limit)


async def read_project(conn: Conn, org_id: UUID, project_id: UUID, *, lock: bool = False) -> Project:
    """`lock` keeps others from changing it until the transaction ends. Raises NotFound."""
    found = await (sql.LOCKED_PROJECT if lock else sql.PROJECT).maybe(conn, org_id, project_id)
    if found is None:
        raise NotFound(f"there is no project {project_id}")
    return found


async def change_project(conn: Conn, org_id: UUID, project_id: UUID, *, name: str, archived: bool, prompt_days: int) -> Project:
    """An archived project's keys are revoked, for good. Raises Conflict where another project has the name; the transaction is
    then of no further use.
    """
    try:
        await sql.CHANGE_PROJECT.run(conn, org_id, project_id, name, archived, prompt_days)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"there is a project {name!r}; choose another name", param="name") from error
    if archived:
        await sql.REVOKE_KEYS_OF_PROJECT.run(conn, org_id, project_id)
    return await read_project(conn, org_id, project_id)
