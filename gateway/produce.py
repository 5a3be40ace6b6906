"""Produce: one attempt's way from a lease to a verified, stored video. Nothing here touches the ledger."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import BinaryIO, TypeVar

import structlog

from gateway.fleet.model import Chunk, Event, GenerateRequest, Progress, ReferenceMedia
from gateway.fleet.model import StoredObject as ModelObject
from gateway.fleet.server import TritonServer
from gateway.jobs.model import Delivered, Lease
from gateway.media.errors import ObjectMissing, StoreError
from gateway.media.keys import artifact_key
from gateway.media.pool import DecoderPool
from gateway.media.store import MediaStore
from gateway.media.verify import Expected, extract_frame, verify_video
from gateway.settings import Settings
from gateway.telemetry.metrics import triton_start_seconds
from gateway.video import SEED_MAX, Artifact, InputMedia, VideoRequest, public_id

Result = TypeVar("Result")

log = structlog.get_logger(__name__)

_INPUT_BYTES_MAX = 32 << 20
_STORE_PAUSE_S, _STORE_PAUSE_MAX_S = 1.0, 30.0


class Studio:
    """What an attempt needs besides its lease; one per dispatcher."""

    def __init__(self, settings: Settings, store: MediaStore, decoders: DecoderPool, spool: Path) -> None:
        self._settings, self._store, self._decoders, self.spool = settings, store, decoders, spool

    async def produce(
        self,
        lease: Lease,
        server: TritonServer,
        replica: str,
        triton_model: str,
        *,
        on_progress: Callable[[int], None],
        on_left: Callable[[int], None],
    ) -> Delivered:
        """Generates, verifies and stores. Raises AttemptFailed, VideoRejected, StoreError or DecoderUnavailable.

        `on_left` is told for how many milliseconds the device was ours, however that ended. Cancelling it cancels the work there.
        """
        video = lease.video()
        request = generate_request(lease, video, await self._media(video))
        path = self.spool / f"{lease.id.hex}-{lease.attempt}.mp4"
        try:
            events = server.generate(
                triton_model, request, stall_s=self._settings.stall_s, deadline_s=self._settings.attempt_deadline_s
            )
            await self._receive(_timed(events, replica, on_left), path, on_progress)
            checked = await verify_video(
                self._decoders,
                path,
                Expected(video.width, video.height, video.fps, video.frames, not video.auto, video.audio),
            )
            artifacts = await self._keep(lease, video, path, checked.sha256)
            return Delivered(checked.frames, checked.duration_ms, artifacts)
        finally:
            path.unlink(missing_ok=True)

    async def _media(self, video: VideoRequest) -> tuple[ReferenceMedia, ...]:
        due = self._due()

        async def read(media: InputMedia) -> ReferenceMedia:
            return ReferenceMedia(media.role, await self._store.read_bytes(media.key, _INPUT_BYTES_MAX))

        return tuple([await self._stubbornly(due, lambda m=m: read(m)) for m in video.inputs])

    async def _receive(self, stream: AsyncGenerator[Event, None], path: Path, on_progress: Callable[[int], None]) -> None:
        """Writes what the model sends to the spool; a 1 MiB write to a local file is shorter than a thread's hand-over."""
        async with aclosing(stream) as events:
            with path.open("wb") as spool:
                async for event in events:
                    match event:
                        case Progress(frames_done=frames):
                            on_progress(frames)
                        case Chunk(data=data):
                            spool.write(data)
                        case ModelObject(key=key):
                            await self._fetch(key, spool)

    async def _fetch(self, key: str, spool: BinaryIO) -> None:
        """Takes over a file the model put into the store itself; the contract has checked that it is this attempt's."""
        due = self._due()

        async def copy() -> None:
            spool.seek(0)
            spool.truncate()
            head = await self._store.head(key)
            async for chunk in self._store.read_range(key, 0, head.bytes):
                spool.write(chunk)

        await self._stubbornly(due, copy)
        await self._stubbornly(due, lambda: self._store.delete(key))

    async def _keep(self, lease: Lease, video: VideoRequest, path: Path, sha256: str) -> tuple[Artifact, ...]:
        org, job, due = lease.org_id.hex, lease.id.hex, self._due()
        key = artifact_key(org, job, lease.attempt, "video.mp4")
        stored = await self._stubbornly(due, lambda: self._store.put_file(key, path, sha256=sha256, content_type="video/mp4"))
        artifacts = [Artifact("video", stored.key, "video/mp4", stored.bytes, stored.sha256)]
        frames = [("thumbnail", "first", "image/jpeg")]
        if video.return_last_frame:
            frames.append(("last_frame", "last", "image/png"))
        for name, which, mime in frames:
            image = await extract_frame(self._decoders, path, "first" if which == "first" else "last")
            key = artifact_key(org, job, lease.attempt, f"{name}.{mime.rpartition('/')[2]}")
            stored = await self._stubbornly(due, lambda k=key, i=image, m=mime: self._store.put_bytes(k, i, content_type=m))
            artifacts.append(Artifact(name, stored.key, mime, stored.bytes, stored.sha256))
        return tuple(artifacts)

    def _due(self) -> float:
        return monotonic() + self._settings.attempt_deadline_s

    async def _stubbornly(self, due: float, work: Callable[[], Awaitable[Result]]) -> Result:
        """A store that fails is asked again, for as long as a whole attempt may take: the GPU's work is done and paid for by us.

        Meanwhile the replica's slot stays taken, so no more work waits in the spool than the fleet has slots.
        """
        pause_s = _STORE_PAUSE_S
        while True:
            try:
                return await work()
            except StoreError as error:
                if isinstance(error, ObjectMissing) or monotonic() + pause_s > due:
                    raise
                log.warning("store_again", code=error.code, pause_s=pause_s)
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(pause_s, _STORE_PAUSE_MAX_S))  # noqa: S311 – jitter, not a secret
            pause_s = min(pause_s * 2, _STORE_PAUSE_MAX_S)


async def _timed(
    stream: AsyncGenerator[Event, None], replica: str, on_left: Callable[[int], None]
) -> AsyncGenerator[Event, None]:
    """The same events; notes how long the replica took to say the first word, and how long the device was ours."""
    asked_at, heard = monotonic(), False
    try:
        async with aclosing(stream) as events:
            async for event in events:
                if not heard:
                    triton_start_seconds(replica).observe(monotonic() - asked_at)
                    heard = True
                yield event
    finally:
        on_left(round((monotonic() - asked_at) * 1000))


def generate_request(lease: Lease, video: VideoRequest, media: tuple[ReferenceMedia, ...]) -> GenerateRequest:
    """What the model is asked. A job without a seed gets one from its id, so that every attempt makes the same video."""
    return GenerateRequest(
        job_id=public_id(lease.id),
        attempt=lease.attempt,
        prompt=video.prompt,
        negative_prompt=video.negative_prompt,
        seed=lease.id.int & SEED_MAX if video.seed is None else video.seed,
        width=video.width,
        height=video.height,
        fps=video.fps,
        frames=video.frames,
        auto_length=video.auto,
        guidance=video.guidance,
        steps=video.steps,
        audio=video.audio,
        media=media,
    )
