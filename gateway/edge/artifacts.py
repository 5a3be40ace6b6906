"""Serve a job's files: whole or by range, to the key's owner or to the holder of a signed link."""

import time
from collections.abc import Callable
from email.utils import format_datetime
from uuid import UUID

from litestar import Response
from litestar.response import Stream

from gateway.context import Gateway
from gateway.edge.caller import HttpRequest, gateway_of, header
from gateway.edge.replies import base_url
from gateway.errors import ArtifactGone, RangeNotSatisfiable
from gateway.media.ranges import (
    RangeOutcome,
    entity_tag,
    is_not_modified,
    parse_range,
    range_still_applies,
    unsatisfied_content_range,
)
from gateway.media.signing import LinkSigner
from gateway.video import Job


def serve_artifact(gateway: Gateway, request: HttpRequest, job: Job, name: str) -> Response[bytes] | Stream:
    """Raises ArtifactGone, RangeNotSatisfiable."""
    artifact = job.artifact(name)
    if artifact is None:
        raise ArtifactGone
    tag = entity_tag(artifact.sha256)
    headers = {"etag": tag, "accept-ranges": "bytes", "cache-control": "private, max-age=3600"}
    if job.assets_expire_at is not None:
        headers["expires"] = format_datetime(job.assets_expire_at, usegmt=True)
    if is_not_modified(header(request, b"if-none-match"), tag):
        return Response(b"", status_code=304, headers=headers)
    asked = header(request, b"range") if range_still_applies(header(request, b"if-range"), tag) else None
    part = parse_range(asked, artifact.bytes)
    if part is RangeOutcome.UNSATISFIABLE:
        raise RangeNotSatisfiable(f"the file has {artifact.bytes} bytes ({unsatisfied_content_range(artifact.bytes)})")
    start, end, status = 0, artifact.bytes, 200
    if not isinstance(part, RangeOutcome):
        start, end, status = part.start, part.end, 206
        headers["content-range"] = part.content_range(artifact.bytes)
    headers["content-length"] = str(end - start)
    headers["content-disposition"] = f'inline; filename="{job.public_id}-{name}.{artifact.mime.rpartition("/")[2]}"'
    if request.method == "HEAD":
        return Response(b"", status_code=status, headers=headers, media_type=artifact.mime)
    return Stream(
        gateway.store.read_range(artifact.key, start, end), status_code=status, headers=headers, media_type=artifact.mime
    )


def linked(request: HttpRequest) -> tuple[str, Callable[[Job, str], str | None]]:
    """How this client reaches the API, and what makes the links to files in its answers."""
    gateway = gateway_of(request)
    base = base_url(request, gateway.settings.public_url)
    return base, lambda job, name: signed_link(gateway.signer, gateway.settings.link_ttl_s, base, job, name)


def organization_of_link(gateway: Gateway, request: HttpRequest, org: str) -> UUID:
    """The organization a signed link was made for. Raises LinkRefused; nothing else was looked at before."""
    path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
    gateway.signer.verify("GET", path.partition("?")[0], org, query, time.time())
    return UUID(hex=org)


def signed_link(signer: LinkSigner, ttl_s: int, base: str, job: Job, name: str) -> str | None:
    """A link that needs no key and works for `ttl_s`; None while there is no such file."""
    if job.artifact(name) is None:
        return None
    path = f"/v1/files/{job.org_id.hex}/{job.public_id}/{name}"
    return f"{base}{path}?{signer.sign('GET', path, job.org_id.hex, int(time.time()) + ttl_s)}"
