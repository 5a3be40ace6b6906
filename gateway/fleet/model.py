"""What is asked of a video server and what comes back. No I/O."""

from typing import Literal

from msgspec import Struct

Role = Literal["first_frame", "last_frame", "reference"]


class ReferenceMedia(Struct, frozen=True):
    """One reference picture, encoded (PNG, JPEG, WebP)."""

    role: Role
    data: bytes


class GenerateRequest(Struct, frozen=True):
    """One attempt at one job. Sizes in pixels; `frames` is exact, or the most allowed when `auto_length` is set."""

    job_id: str
    attempt: int
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    fps: int
    frames: int
    auto_length: bool
    guidance: float
    steps: int
    audio: bool
    media: tuple[ReferenceMedia, ...] = ()


class Progress(Struct, frozen=True):
    """The server is at work: `frames_done` of `frames_total`."""

    frames_done: int
    frames_total: int


class Chunk(Struct, frozen=True):
    """The next piece of the MP4 file, at most 1 MiB."""

    data: bytes


class StoredObject(Struct, frozen=True):
    """The MP4 file is in the object store under this key."""

    key: str


Event = Progress | Chunk | StoredObject

SAMPLE = GenerateRequest(
    job_id="contract-check",
    attempt=1,
    prompt="A lighthouse at dusk, waves breaking on the rocks",
    negative_prompt="",
    seed=42,
    # A size and a length that fit the grids of the usual diffusion models (multiples of 32; 8n + 1 frames).
    width=832,
    height=480,
    fps=16,
    frames=17,
    auto_length=False,
    guidance=5.0,
    steps=20,
    audio=False,
)
"""A small request that every video model can serve."""
