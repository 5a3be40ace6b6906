from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.media.pool import DecoderPool
from tests.media.videos import write_video


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def decoders() -> AsyncIterator[DecoderPool]:
    """One decoder for all tests: whatever one file did to it, the next file must find it sound."""
    async with DecoderPool(size=1, wall_s=30) as pool:
        yield pool


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second: 24 frames of 128x96 at 24 fps, silent."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def sound_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a second of sound."""
    return write_video(tmp_path_factory.mktemp("clip") / "sound.mp4", sound_s=1.0)
