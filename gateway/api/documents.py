"""The OpenAPI document, its page (Swagger UI, served from the package) and the page of errors."""

import gzip
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import msgspec
from litestar import Response, get

from gateway.api import errors_page
from gateway.api.openapi import document
from gateway.edge.caller import HttpRequest, header
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.replies import json_reply
from gateway.errors import NotFound

_STATIC = Path(__file__).parent / "static"
_FILES = MappingProxyType(
    {
        "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
        "swagger-ui.css": "text/css; charset=utf-8",
        "docs.js": "text/javascript; charset=utf-8",
    }
)
# Swagger UI sets styles and draws its icons as data URLs; nothing is fetched from anywhere else.
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
_SAFE = MappingProxyType({"content-security-policy": _POLICY, "x-content-type-options": "nosniff"})

_OPENAPI = Described(tag="About", answers={200: Answer("The document you are reading.", dict)}, public=True)
_PAGE = Described(tag="About", answers={200: Answer("A page.", media="text/html")}, public=True)
_FILE = Described(
    tag="About",
    answers={200: Answer("A file of the page.", media=("text/javascript", "text/css"))},
    parameters=(Parameter("name", "Its name.", str, "path"),),
    errors=(NotFound,),
    public=True,
)


@get("/openapi.json", operation_id="openapi", opt={"described": _OPENAPI})
async def openapi(request: HttpRequest) -> Response[bytes]:
    """This API, as OpenAPI 3.1."""
    state = request.app.state
    if "openapi" not in state:
        state.openapi = msgspec.json.encode(document(request.app, version("tallylight")))
    return json_reply(state.openapi, headers={"cache-control": "no-cache"})


@get("/docs", operation_id="docs", opt={"described": _PAGE})
async def docs() -> Response[bytes]:
    """This API, as a page to try it."""
    return _html((_STATIC / "docs.html").read_bytes())


@get("/docs/errors", operation_id="docs_errors", opt={"described": _PAGE})
async def docs_errors() -> Response[bytes]:
    """Every error code and what to do about it."""
    return _html(errors_page.html().encode())


@get("/docs/{name:str}", operation_id="docs_file", opt={"described": _FILE})
async def docs_file(request: HttpRequest, name: str) -> Response[bytes]:
    """A script or style of the page."""
    media_type = _FILES.get(name)
    if media_type is None:
        raise NotFound
    headers = {**_SAFE, "cache-control": "public, max-age=3600", "vary": "accept-encoding"}
    packed = _STATIC / f"{name}.gz"
    if not packed.exists():
        return Response((_STATIC / name).read_bytes(), media_type=media_type, headers=headers)
    if "gzip" not in (header(request, b"accept-encoding") or ""):
        return Response(gzip.decompress(packed.read_bytes()), media_type=media_type, headers=headers)
    return Response(packed.read_bytes(), media_type=media_type, headers={**headers, "content-encoding": "gzip"})


def _html(body: bytes) -> Response[bytes]:
    return Response(body, media_type="text/html; charset=utf-8", headers=dict(_SAFE))
