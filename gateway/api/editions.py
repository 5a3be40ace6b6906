"""/v1/fleet/catalogue, for operators: the models, chips and speeds in force, and what is edited on top of the files."""

from datetime import datetime

import msgspec
from litestar import Response, get, put

from gateway.api.fleet import require_operator
from gateway.audit.model import PLATFORM, Action, Actor
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described
from gateway.edge.replies import json_reply
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import InvalidRequest, PreconditionFailed, TooLarge, UnsupportedContent, UnsupportedField
from gateway.fleet.catalogue import CatalogueError
from gateway.fleet.chips import Catalogue
from gateway.fleet.editions.model import Edition, Edits, Source
from gateway.fleet.editions.publish import edit
from gateway.fleet.editions.read import newest


class CatalogueView(msgspec.Struct, frozen=True):
    """`catalogue`: the rows in force, which are the files' with `edits` on top; `source` and `reason`: who made this edition."""

    version: int
    catalogue: Catalogue
    edits: Edits
    source: Source
    reason: str
    made_at: datetime


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All edits there shall be from now on; leave one out, and what the files say counts again."""

    edits: Edits
    reason: str = ""


_encode = msgspec.json.Encoder().encode
_change = msgspec.json.Decoder(Change)
_GET = Described(tag="Fleet", operator=True, answers={200: Answer("The edition in force.", CatalogueView, headers=ETAG)})
_EDIT = Described(
    tag="Fleet",
    operator=True,
    body=Change,
    answers={200: Answer("The new edition. Every process has it within moments.", CatalogueView, headers=ETAG)},
    parameters=(IF_MATCH,),
    errors=(InvalidRequest, UnsupportedField, TooLarge, UnsupportedContent, *VERSION_ERRORS),
)


@get("/v1/fleet/catalogue", operation_id="get_catalogue", opt={"described": _GET})
async def get_catalogue(request: HttpRequest) -> Response[bytes]:
    """The models, accelerators and speeds in force, and what of them operators have edited."""
    require_operator(request)
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        found = await newest(conn)
    assert found is not None, "an API process begins with an edition"
    return _reply(found)


@put("/v1/fleet/catalogue", operation_id="edit_catalogue", opt={"described": _EDIT})
async def edit_catalogue(request: HttpRequest) -> Response[bytes]:
    """Put these edits on top of the files, instead of any there were. Checked whole: one wrong row, and nothing changes.

    What runs goes on, what was promised stays promised, and a replica that no longer fits gets no more work and says why.
    """
    require_operator(request)
    wanted = await read_json(request, _change)
    async with gateway_of(request).pool.acquire(timeout=5) as conn, conn.transaction():
        before = await newest(conn)
        assert before is not None, "an API process begins with an edition"
        require_match(request, before.version)
        try:
            made = await edit(conn, before, wanted.edits, wanted.reason)
        except CatalogueError as refused:
            raise InvalidRequest(str(refused)) from refused
        if made is None:
            raise PreconditionFailed
        await record(conn, edited(Actor("operator", "operator", "operator"), before, made))
    return _reply(made)


def edited(actor: Actor, before: Edition, made: Edition) -> Action:
    """For the platform's trail."""
    return Action(
        org_id=PLATFORM,
        actor=actor,
        name="catalogue.edit",
        object_id=str(made.version),
        before=_facts(before),
        after=_facts(made) | {"reason": made.reason},
    )


def _facts(edition: Edition) -> dict[str, object]:
    return {"edits": msgspec.to_builtins(edition.edits)}


def _reply(edition: Edition) -> Response[bytes]:
    view = CatalogueView(edition.version, edition.catalogue, edition.edits, edition.source, edition.reason, edition.made_at)
    return json_reply(_encode(view), headers=etag(edition.version))
