"""A job's files: for its key, and for the holder of a signed link."""

from litestar import HttpMethod, Response, route
from litestar.response import Stream

from gateway.edge.artifacts import organization_of_link, serve_artifact
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, read_job
from gateway.edge.caller import job_id as parse_job_id
from gateway.edge.described import Answer, Described, Parameter
from gateway.errors import ArtifactGone, LinkRefused, NotFound, RangeNotSatisfiable
from gateway.jobs.model import job_of

_HEADERS = {
    "ETag": "The file's SHA-256, as a strong tag.",
    "Accept-Ranges": "bytes",
    "Content-Disposition": "A file name.",
    "Expires": "When the file is removed.",
}
_MEDIA = ("video/mp4", "image/jpeg", "image/png")
_ANSWERS = {
    200: Answer("The whole file.", media=_MEDIA, headers=_HEADERS),
    206: Answer("The part that Range asked for.", media=_MEDIA, headers={**_HEADERS, "Content-Range": "Which part this is."}),
    304: Answer("The file has the tag in If-None-Match.", empty=True),
}
_RANGES = (
    Parameter("Range", "One range of bytes (RFC 9110 §14.2).", str, "header"),
    Parameter("If-Range", "Ignore Range unless the file has this tag.", str, "header"),
    Parameter("If-None-Match", "Answer 304 if the file has one of these tags.", str, "header"),
)
_NAME = Parameter("name", "video, thumbnail or last_frame, as the job lists them.", str, "path")
_BY_KEY = Described(
    tag="Files", answers=_ANSWERS, parameters=(_NAME, *_RANGES), errors=(NotFound, ArtifactGone, RangeNotSatisfiable)
)
_BY_LINK = Described(
    tag="Files",
    answers=_ANSWERS,
    parameters=(
        Parameter("org", "32 hex digits; part of what is signed.", str, "path"),
        _NAME,
        Parameter("expires", "Unix time."),
        Parameter("key", "Which key signed."),
        Parameter("signature", "HMAC-SHA256 over method, path, organization, time and key."),
        *_RANGES,
    ),
    errors=(LinkRefused, NotFound, ArtifactGone, RangeNotSatisfiable),
    public=True,
)
_READ = [HttpMethod.GET, HttpMethod.HEAD]


@route("/jobs/{job_id:str}/artifacts/{name:str}", http_method=_READ, operation_id="get_artifact", opt={"described": _BY_KEY})
async def get_artifact(request: HttpRequest, job_id: str, name: str) -> Response[bytes] | Stream:
    """A file of a job, whole or by range."""
    caller = await authenticate(request)
    return serve_artifact(gateway_of(request), request, await read_job(request, caller, job_id), name)


@route("/files/{org:str}/{job_id:str}/{name:str}", http_method=_READ, operation_id="get_file", opt={"described": _BY_LINK})
async def get_file(request: HttpRequest, org: str, job_id: str, name: str) -> Response[bytes] | Stream:
    """A file by a signed link, as answers hold them. It needs no key and works until it expires."""
    gateway = gateway_of(request)
    row = await gateway.reader.any_job(organization_of_link(gateway, request, org), parse_job_id(job_id))
    return serve_artifact(gateway, request, job_of(row), name)
