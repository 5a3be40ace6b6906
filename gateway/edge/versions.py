"""Nobody overwrites what they have not read: ETag on what is answered, If-Match on what changes it (RFC 9110 §13.1.1).

Lists carry the same tags as the field `etag` of each row.
"""

from gateway.edge.caller import HttpRequest, header
from gateway.edge.described import Parameter
from gateway.errors import PreconditionFailed, PreconditionRequired

ETAG = {"ETag": "Send it as If-Match to change what you have read."}
IF_MATCH = Parameter(
    "If-Match", "The ETag of what you have read, or `*` to change it whatever it is now.", str, "header", required=True
)
VERSION_ERRORS = (PreconditionRequired, PreconditionFailed)


def etag(version: int) -> dict[str, str]:
    """The header of an answer."""
    return {"etag": f'"{version}"'}


def require_match(request: HttpRequest, version: int) -> None:
    """Call it with the version of the row that is locked. Raises PreconditionRequired, PreconditionFailed."""
    given = header(request, b"if-match")
    if given is None:
        raise PreconditionRequired
    wanted = etag(version)["etag"]
    if given.strip() != "*" and wanted not in [one.strip() for one in given.split(",")]:
        raise PreconditionFailed(f"this is now at {wanted}, not {given[:100]}; read it again and send its new ETag as If-Match")
