"""Images that come with a request, in its body or behind a link: looked at and stored before the job is admitted."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any

import msgspec

from gateway.access.model import Caller
from gateway.context import Gateway
from gateway.egress.errors import EgressBusy, EgressError
from gateway.errors import InvalidMedia, InvalidRequest, Unavailable
from gateway.media.errors import DecoderUnavailable, ImageRejected, StoreError
from gateway.media.images import ImageLimits, decode_data_url, is_web_url, probe_image
from gateway.media.keys import input_key, job_prefix, pending_key
from gateway.media.store import StoredObject
from gateway.video import InputMedia, Role

IMAGE_LIMITS = ImageLimits(bytes=20 << 20, pixels=40_000_000, edge=8192)
IMAGES_MAX = 8


class Image(msgspec.Struct, frozen=True):
    """An image that came with a request, not looked at yet: its bytes, or the link to fetch it from. `param` names the field."""

    role: Role
    source: bytes | str
    param: str

    @property
    def named(self) -> InputMedia:
        """What is known of it before it was looked at."""
        return InputMedia(self.role, "", "", "", 0, 0, 0)


def image_at(role: Role, url: str, param: str) -> Image:
    """The image that a data URL holds or a link leads to, which is not followed yet. Raises InvalidMedia."""
    if is_web_url(url):
        return Image(role, url, param)
    try:
        return Image(role, decode_data_url(url, IMAGE_LIMITS.bytes), param)
    except ImageRejected as error:
        raise _invalid(param, error.detail) from error


async def store_images(gateway: Gateway, caller: Caller, images: Sequence[Image], job: str) -> tuple[InputMedia, ...]:
    """Fetches, checks and stores them side by side. Raises InvalidRequest, InvalidMedia, Unavailable; then call `discard`."""
    if len(images) > IMAGES_MAX:
        raise InvalidRequest(f"a request takes at most {IMAGES_MAX} images", param=images[0].param)
    _check_links(gateway, images)
    try:  # the clerk follows this note when nobody comes back to decide
        await gateway.store.put_bytes(pending_key(caller.org_id.hex, job), b"", content_type="application/octet-stream")
    except StoreError as error:
        raise Unavailable(retry_after_s=5) from error
    keys = [input_key(caller.org_id.hex, job, index) for index in range(len(images))]
    under_way = [asyncio.create_task(_take(gateway, caller, *each)) for each in zip(images, keys, strict=True)]
    try:
        return tuple(await asyncio.gather(*under_way))
    finally:  # one that was refused ends the others, before anybody removes what they have stored
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def _check_links(gateway: Gateway, images: Sequence[Image]) -> None:
    for image in images:
        if isinstance(image.source, str):
            try:
                gateway.fetcher.check(image.source)
            except EgressError as error:
                raise _invalid(image.param, error.detail) from error


async def _take(gateway: Gateway, caller: Caller, image: Image, key: str) -> InputMedia:
    try:
        async with _data(gateway, caller, image) as data:
            probed = await probe_image(gateway.decoders, data, IMAGE_LIMITS)
            mime = f"image/{probed.format}"
            put = await _to_its_end(gateway.store.put_bytes(key, data, content_type=mime))
    except ImageRejected as error:
        raise _invalid(image.param, error.detail) from error
    except (DecoderUnavailable, StoreError) as error:
        raise Unavailable(retry_after_s=5) from error
    return InputMedia(image.role, put.key, put.sha256, mime, probed.width, probed.height, put.bytes)


async def _to_its_end(writing: Coroutine[Any, Any, StoredObject]) -> StoredObject:
    """A write that is cancelled may still be done, after what was written has been removed: so it is waited for."""
    task = asyncio.create_task(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


@contextlib.asynccontextmanager
async def _data(gateway: Gateway, caller: Caller, image: Image) -> AsyncGenerator[bytes]:
    """Raises InvalidMedia for a link that leads to no file, Unavailable where too much is fetched already."""
    if isinstance(image.source, bytes):
        yield image.source
        return
    try:
        async with gateway.fetcher.file(caller.org_id, image.source, bytes_max=IMAGE_LIMITS.bytes) as data:
            yield data
    except EgressBusy as error:
        raise Unavailable("too many links are being fetched now", retry_after_s=5) from error
    except EgressError as error:
        raise _invalid(image.param, error.detail) from error


def _invalid(param: str, detail: str) -> InvalidMedia:
    return InvalidMedia(f"{param}: {detail}", param=param)


async def discard(gateway: Gateway, org: str, job: str) -> None:
    """Removes the images of a request that became no job; if that fails, the clerk does it."""
    with contextlib.suppress(StoreError):
        await gateway.store.delete_prefix(job_prefix(org, job))
        await gateway.store.delete(pending_key(org, job))


async def keep(gateway: Gateway, org: str, job: str) -> None:
    """The images belong to a job now."""
    with contextlib.suppress(StoreError):
        await gateway.store.delete(pending_key(org, job))
