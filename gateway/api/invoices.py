"""Invoices and credit notes of the organization, for people and machines: GET /v1/invoices."""

import asyncio
from typing import Literal
from uuid import UUID

import msgspec
from litestar import Response, get

from billing.errors import InvoiceUnprintable, UnknownInvoice
from billing.invoices.model import Invoice
from billing.invoices.pdf import to_pdf
from billing.invoices.read import find_invoice, invoices
from billing.invoices.words import names_of
from billing.invoices.xml import to_xml
from billing.kit.pool import tenant
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter, between
from gateway.edge.manager import reader
from gateway.edge.query import integer, query_of, uuid_in
from gateway.edge.replies import json_reply
from gateway.errors import InvalidRequest, NotFound, Unavailable, UnsupportedField


class InvoiceList(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first; ask again with `after` = the last one's id."""

    object: Literal["list"] = "list"
    data: tuple[Invoice, ...]


_encode = msgspec.json.Encoder().encode
_ID = (Parameter("invoice_id", "The id of an invoice or credit note.", str, "path"),)
_LIST = Described(
    tag="Invoices",
    scope="billing:read",
    callers=True,
    answers={200: Answer("Invoices and credit notes.", InvoiceList)},
    parameters=(
        Parameter("after", "Only those older than the one with this id.", UUID),
        Parameter("limit", "At most this many, 1 to 100; default 20.", between(1, 100)),
    ),
    errors=(InvalidRequest, UnsupportedField),
)
_ONE = Described(
    tag="Invoices",
    scope="billing:read",
    callers=True,
    answers={200: Answer("The invoice.", Invoice)},
    parameters=_ID,
    errors=(NotFound,),
)
_PDF = Described(
    tag="Invoices",
    scope="billing:read",
    callers=True,
    answers={200: Answer("A PDF/A-3 that carries the XML.", media="application/pdf")},
    parameters=_ID,
    errors=(NotFound,),
)
_XML = Described(
    tag="Invoices",
    scope="billing:read",
    callers=True,
    answers={200: Answer("A Cross Industry Invoice in the profile EN 16931.", media="application/xml")},
    parameters=_ID,
    errors=(NotFound,),
)


@get("/v1/invoices", operation_id="list_invoices", opt={"described": _LIST})
async def list_invoices(request: HttpRequest) -> Response[bytes]:
    """List the organization's invoices and credit notes."""
    caller = await reader(request)
    values = query_of(request, "after", "limit")
    limit = integer(values, "limit", default=20, least=1, most=100)
    after = uuid_in(values, "after")
    async with tenant(gateway_of(request).pool, caller.org_id) as conn:
        found = await invoices(conn, caller.org_id, after=after, limit=limit)
    return json_reply(_encode(InvoiceList(data=tuple(found))))


@get("/v1/invoices/{invoice_id:str}", operation_id="get_invoice", opt={"described": _ONE})
async def get_invoice(request: HttpRequest, invoice_id: str) -> Response[bytes]:
    """One invoice or credit note."""
    return json_reply(_encode(await _find(request, invoice_id)))


@get("/v1/invoices/{invoice_id:str}/pdf", operation_id="get_invoice_pdf", opt={"described": _PDF})
async def get_invoice_pdf(request: HttpRequest, invoice_id: str) -> Response[bytes]:
    """The invoice for people, in the organization's language."""
    invoice = await _find(request, invoice_id)
    try:
        document = await asyncio.to_thread(to_pdf, invoice)
    except InvoiceUnprintable as error:
        raise Unavailable(str(error)) from error
    headers = {"content-disposition": f'inline; filename="{invoice.number}.pdf"'}
    return Response(document, media_type="application/pdf", headers=headers)


@get("/v1/invoices/{invoice_id:str}/xml", operation_id="get_invoice_xml", opt={"described": _XML})
async def get_invoice_xml(request: HttpRequest, invoice_id: str) -> Response[bytes]:
    """The invoice for machines."""
    invoice = await _find(request, invoice_id)
    return Response(to_xml(invoice, names_of(invoice)), media_type="application/xml")


async def _find(request: HttpRequest, invoice_id: str) -> Invoice:
    caller = await reader(request)
    async with tenant(gateway_of(request).pool, caller.org_id) as conn:
        try:
            return await find_invoice(conn, caller.org_id, _uuid(invoice_id))
        except UnknownInvoice as error:
            raise NotFound from error


def _uuid(text: str) -> UUID:
    """Raises NotFound for anything that is no id: it names nothing."""
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound from error
