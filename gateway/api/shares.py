"""/v1/shares, for operators: agreements, statements of income, and pools shared by views."""

from datetime import date, datetime
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import msgspec
from litestar import Response, get, post
from msgspec import Meta

from billing.errors import StatementRefused as FileRefused
from billing.kit.query import Conn
from billing.shares.files import income_of_csv, views_of_csv
from billing.shares.model import WHOLE_PPM, Agreement, IncomeKind, IncomeStatement, Party, TakenIn, ViewPool
from billing.shares.payees import agree, payees_by_reference
from billing.shares.read import agreement_page, pool_by_id, pool_page, statement_page
from billing.shares.statements import Imported, import_income, settle_income
from billing.shares.views import count_views, open_pool
from gateway.api.fleet import require_operator
from gateway.api.organizations import BODY_ERRORS
from gateway.api.payees import LISTED, Amount, encode, operate
from gateway.edge.bodies import content_type, decode_json, read_body, read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.query import query_of, single
from gateway.edge.replies import json_reply
from gateway.errors import Conflict, InvalidRequest, NotFound, StatementRefused

Row = TypeVar("Row")
Currency = Literal["CNY", "USD"]
Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]


class AgreedParty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payee by its reference, and its part in millionths."""

    payee: Annotated[str, Meta(max_length=200)]
    ppm: Annotated[int, Meta(ge=1, le=WHOLE_PPM)]


class CreateAgreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a subject's income is split from a day on; what the parties do not get is the platform's. `parties: null` ends it."""

    subject: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: IncomeKind
    currency: Currency
    effective_on: date
    parties: Annotated[tuple[AgreedParty, ...], Meta(min_length=1, max_length=100)] | None


class CreatePool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is shared of `[starts_on, ends_on)` by views, once `closes_at` has passed: fraud needs time to show."""

    name: Name
    starts_on: date
    ends_on: date
    currency: Currency
    pool_micro: Amount
    closes_at: Annotated[datetime, Meta(tz=True)]


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A creator by its reference."""

    creator: Annotated[str, Meta(max_length=200)]
    views: Annotated[int, Meta(ge=0, lt=10**18)]


class CountViews(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole count; it replaces the one before. `total` is what the rows come to."""

    total: Annotated[int, Meta(ge=0, lt=10**18)]
    rows: Annotated[tuple[Counted, ...], Meta(max_length=100_000)]


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """The count as it was taken in; the highest revision is what counts."""

    object: Literal["view_count"] = "view_count"
    pool_id: UUID
    revision: int
    rows: int


class _Pages(msgspec.Struct, frozen=True, kw_only=True):
    has_more: bool
    next_cursor: str | None
    object: Literal["list"] = "list"


class AgreementList(_Pages, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    data: tuple[Agreement, ...]


class StatementList(_Pages, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    data: tuple[TakenIn, ...]


class PoolList(_Pages, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    data: tuple[ViewPool, ...]


class Settled(msgspec.Struct, frozen=True):
    """The network has paid the statement."""

    network: str
    reference: str
    settled: bool = True


_agreement = msgspec.json.Decoder(CreateAgreement)
_income = msgspec.json.Decoder(IncomeStatement)
_pool = msgspec.json.Decoder(CreatePool)
_views = msgspec.json.Decoder(CountViews)
_OF_FILE = (
    Parameter("network", "For CSV: whose statement it is; small letters, digits and dashes."),
    Parameter("reference", "For CSV: the network's name of it; the same one is booked once."),
    Parameter("currency", "For CSV: CNY or USD; CNY if not given.", Currency),
)
_AGREEMENTS = Described(
    tag="Shares",
    operator=True,
    answers={200: Answer("A page of agreements.", AgreementList)},
    parameters=(*PAGE, Parameter("subject", "Only those about it.")),
    errors=LISTED,
)
_AGREE = Described(
    tag="Shares",
    operator=True,
    body=CreateAgreement,
    answers={201: Answer("The agreement; the same again changes nothing.", Agreement)},
    errors=(*BODY_ERRORS, NotFound, Conflict),
)
_INCOMES = Described(
    tag="Shares", operator=True, answers={200: Answer("A page of statements.", StatementList)}, parameters=PAGE, errors=LISTED
)
_INCOME = Described(
    tag="Shares",
    operator=True,
    body=IncomeStatement,
    answers={201: Answer("What came of it. `new` is false for one that had been taken in.", Imported)},
    parameters=_OF_FILE,
    errors=(*BODY_ERRORS, StatementRefused),
)
_SETTLE = Described(
    tag="Shares",
    operator=True,
    answers={200: Answer("It is settled; once.", Settled)},
    parameters=(
        Parameter("network", "Whose statement it is.", str, "path"),
        Parameter("reference", "The network's name of it.", str, "path"),
    ),
    errors=(StatementRefused,),
)
_POOLS = Described(
    tag="Shares", operator=True, answers={200: Answer("A page of pools.", PoolList)}, parameters=PAGE, errors=LISTED
)
_OPEN = Described(
    tag="Shares",
    operator=True,
    body=CreatePool,
    answers={201: Answer("The pool; the same again changes nothing.", ViewPool)},
    errors=(*BODY_ERRORS, Conflict),
)
_COUNT = Described(
    tag="Shares",
    operator=True,
    body=CountViews,
    answers={201: Answer("The revision that counts now.", Revision)},
    parameters=(Parameter("pool_id", "The id of a pool.", str, "path"),),
    errors=(*BODY_ERRORS, NotFound, StatementRefused),
)


@get("/v1/shares/agreements", operation_id="list_agreements", opt={"described": _AGREEMENTS})
async def list_agreements(request: HttpRequest) -> Response[bytes]:
    """List agreements, newest first."""
    require_operator(request)
    values = query_of(request, "limit", "cursor", "subject")
    (limit, after), subject = page_of(values), single(values, "subject")
    page, cursor = cut(
        await operate(request, lambda conn: agreement_page(conn, subject, after=after, limit=limit + 1)), limit
    )  # fmt: skip
    return json_reply(encode(AgreementList(data=tuple(page), has_more=cursor is not None, next_cursor=cursor)))


@post("/v1/shares/agreements", operation_id="create_agreement", opt={"described": _AGREE})
async def create_agreement(request: HttpRequest) -> Response[bytes]:
    """Put an agreement in force from a day on. It is never changed; a later one follows it."""
    require_operator(request)
    body = await read_json(request, _agreement)

    async def write(conn: Conn) -> Agreement:
        parties: list[Party] | None = None
        if body.parties is not None:
            known = await payees_by_reference(conn, (one.payee for one in body.parties))
            if unknown := [one.payee for one in body.parties if one.payee not in known]:
                raise NotFound(f"there is no payee {unknown[0]}")
            parties = [Party(known[one.payee].id, one.ppm) for one in body.parties]
        return await agree(conn, body.subject, body.kind, body.currency, effective_on=body.effective_on, parties=parties)

    return json_reply(encode(await operate(request, write)), 201)


@get("/v1/shares/income", operation_id="list_income_statements", opt={"described": _INCOMES})
async def list_income(request: HttpRequest) -> Response[bytes]:
    """List the statements that were taken in, newest first."""
    require_operator(request)
    limit, after = page_of(query_of(request, "limit", "cursor"))
    page, cursor = cut(await operate(request, lambda conn: statement_page(conn, after=after, limit=limit + 1)), limit)
    return json_reply(encode(StatementList(data=tuple(page), has_more=cursor is not None, next_cursor=cursor)))


@post("/v1/shares/income", operation_id="take_income_statement", opt={"described": _INCOME})
async def take_income(request: HttpRequest) -> Response[bytes]:
    """Book a network's statement, all of it or nothing, once: as JSON, or as text/csv with a last row `total`.

    Every row that is wrong is named by its number, up to a hundred.
    """
    require_operator(request)
    values = query_of(request, "network", "reference", "currency")
    text = await _csv(request)
    if isinstance(text, str):
        statement = _read_income(values, text)
    elif values:
        raise InvalidRequest(f"{next(iter(values))} stands in the body", param=next(iter(values)))
    else:
        statement = decode_json(text, _income)
    return json_reply(encode(await operate(request, lambda conn: import_income(conn, statement))), 201)


@post(
    "/v1/shares/income/{network:str}/{reference:str}/settle",
    status_code=200,
    operation_id="settle_income_statement",
    opt={"described": _SETTLE},
)  # fmt: skip
async def settle_statement(request: HttpRequest, network: str, reference: str) -> Response[bytes]:
    """Say that the network has paid a statement into our bank."""
    await operate(request, lambda conn: settle_income(conn, network, reference))
    return json_reply(encode(Settled(network, reference)))


@get("/v1/shares/pools", operation_id="list_pools", opt={"described": _POOLS})
async def list_pools(request: HttpRequest) -> Response[bytes]:
    """List pools, the latest period first."""
    require_operator(request)
    limit, after = page_of(query_of(request, "limit", "cursor"))
    page, cursor = cut(await operate(request, lambda conn: pool_page(conn, after=after, limit=limit + 1)), limit)
    return json_reply(encode(PoolList(data=tuple(page), has_more=cursor is not None, next_cursor=cursor)))


@post("/v1/shares/pools", operation_id="create_pool", opt={"described": _OPEN})
async def create_pool(request: HttpRequest) -> Response[bytes]:
    """Open a pool that creators share by their views of a period."""
    require_operator(request)
    body = await read_json(request, _pool)
    opened = await operate(
        request,
        lambda conn: open_pool(
            conn, body.name, body.starts_on, body.ends_on, currency=body.currency, pool_micro=body.pool_micro,
            closes_at=body.closes_at,
        ),
    )  # fmt: skip
    return json_reply(encode(opened), 201)


@post("/v1/shares/pools/{pool_id:str}/views", operation_id="count_pool_views", opt={"described": _COUNT})
async def count_pool_views(request: HttpRequest, pool_id: str) -> Response[bytes]:
    """Take a whole count of views in: as JSON, or as text/csv of creator,views with a last row `total`."""
    require_operator(request)
    text = await _csv(request)
    if isinstance(text, str):
        try:
            rows, total = views_of_csv(text)
        except FileRefused as error:
            raise StatementRefused(str(error)) from error
    else:
        body = decode_json(text, _views)
        rows, total = [(one.creator, one.views) for one in body.rows], body.total

    async def count(conn: Conn) -> Revision:
        pool = await pool_by_id(conn, uuid_of(pool_id))
        _, revision = await count_views(conn, pool.name, pool.starts_on, rows, total)
        return Revision(pool_id=pool.id, revision=revision, rows=len(rows))

    return json_reply(encode(await operate(request, count)), 201)


async def _csv(request: HttpRequest) -> str | bytes:
    """The text of a CSV body, or the bytes of a JSON one. Raises UnsupportedContent, TooLarge, InvalidRequest."""
    kind, _ = content_type(request)
    body = await read_body(request, gateway_of(request).settings.json_body_max_bytes)
    if kind != "text/csv":
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("the file is not UTF-8") from error
    if "\0" in text:
        raise InvalidRequest("the file must not contain NUL")
    return text


def _read_income(values: dict[str, list[str]], text: str) -> IncomeStatement:
    network, reference = single(values, "network"), single(values, "reference")
    if not network or not reference:
        raise InvalidRequest("a file says its network and reference in the query", param="reference" if network else "network")
    try:
        return income_of_csv(text, network=network, reference=reference, currency=single(values, "currency") or "CNY")
    except FileRefused as error:
        raise StatementRefused(str(error)) from error
