"""/v1/projects, for managers: open, list, read, rename and archive."""

from typing import Literal

import msgspec
from litestar import Response, get, patch, post
from msgspec import UNSET, UnsetType

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.model import PROMPT_DAYS, Name, Project, PromptDays
from gateway.access.projects import change_project, list_projects, open_project, read_project
from gateway.access.view import ProjectView, project_view
from gateway.api.organizations import BODY_ERRORS
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.manager import manager
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.query import query_of
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import Conflict, InvalidRequest, NotFound, UnsupportedField


class ProjectList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[ProjectView, ...]
    has_more: bool
    next_cursor: str | None


class CreateProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    prompt_days: PromptDays = PROMPT_DAYS


class ChangeProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change; what is left out stays. Archiving revokes the project's keys for good."""

    name: Name | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    prompt_days: PromptDays | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_create = msgspec.json.Decoder(CreateProject)
_change = msgspec.json.Decoder(ChangeProject)
_ID = Parameter("project_id", "The id of a project.", str, "path")
_LIST = Described(
    tag="Projects",
    answers={200: Answer("A page of projects.", ProjectList)},
    parameters=PAGE,
    errors=(InvalidRequest, UnsupportedField),
    scope="projects:read",
)
_CREATE = Described(
    tag="Projects",
    body=CreateProject,
    answers={201: Answer("The project.", ProjectView, headers=ETAG)},
    errors=(*BODY_ERRORS, Conflict),
    scope="projects:write",
)
_GET = Described(
    tag="Projects",
    answers={200: Answer("The project.", ProjectView, headers=ETAG)},
    parameters=(_ID,),
    errors=(NotFound,),
    scope="projects:read",
)
_CHANGE = Described(
    tag="Projects",
    body=ChangeProject,
    answers={200: Answer("As it is now.", ProjectView, headers=ETAG)},
    parameters=(_ID, IF_MATCH),
    errors=(*BODY_ERRORS, NotFound, *VERSION_ERRORS, Conflict),
    scope="projects:write",
)


@get("/v1/projects", operation_id="list_projects", opt={"described": _LIST})
async def list_all_projects(request: HttpRequest) -> Response[bytes]:
    """List the projects, newest first."""
    who, (limit, after) = await manager(request), page_of(query_of(request, "limit", "cursor"))
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        page, cursor = cut(await list_projects(conn, who.org_id, limit=limit + 1, after=after), limit)
    views = tuple(map(project_view, page))
    return json_reply(_encode(ProjectList(data=views, has_more=cursor is not None, next_cursor=cursor)))


@post("/v1/projects", operation_id="create_project", opt={"described": _CREATE})
async def create_one_project(request: HttpRequest) -> Response[bytes]:
    """Open a project."""
    who, body = await manager(request), await read_json(request, _create)

    async def write(conn: Conn) -> Project:
        made = await open_project(conn, who.org_id, body.name, body.prompt_days)
        await record(conn, acted(request, who, made.id, after=project_view(made)))
        return made

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id), 201)


@get("/v1/projects/{project_id:str}", operation_id="get_project", opt={"described": _GET})
async def get_one_project(request: HttpRequest, project_id: str) -> Response[bytes]:
    """One project."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return _reply(await read_project(conn, who.org_id, uuid_of(project_id)))


@patch("/v1/projects/{project_id:str}", operation_id="change_project", opt={"described": _CHANGE})
async def change_one_project(request: HttpRequest, project_id: str) -> Response[bytes]:
    """Rename a project, archive it or bring it back."""
    who, change = await manager(request), await read_json(request, _change)

    async def write(conn: Conn) -> Project:
        found = await read_project(conn, who.org_id, uuid_of(project_id), lock=True)
        require_match(request, found.version)
        name = found.name if change.name is UNSET else change.name
        archived = found.archived_at is not None if change.archived is UNSET else change.archived
        prompt_days = found.prompt_days if change.prompt_days is UNSET else change.prompt_days
        if (name, archived, prompt_days) == (found.name, found.archived_at is not None, found.prompt_days):
            return found
        changed = await change_project(conn, who.org_id, found.id, name=name, archived=archived, prompt_days=prompt_days)
        await record(conn, acted(request, who, found.id, before=project_view(found), after=project_view(changed)))
        return changed

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id))


def _reply(project: Project, status: int = 200) -> Response[bytes]:
    return json_reply(_encode(project_view(project)), status, etag(project.version))
