"""The part of the card that moves, painted straight into a YUV 4:2:0 frame.

Only the rectangles touched by the frame before are restored, so the cost of a frame hardly depends on its size.
"""

import colorsys
import math
import random
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from testcard import card, text
from testcard.plan import Plan

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]

DISCS = 3
GLYPHS = "0123456789: #"
# ITU-R BT.709, studio swing: black, white and neutral chroma.
BLACK, WHITE, NEUTRAL = 16, 235, 128


class Canvas:
    """One reusable frame: `paint(i)` makes it frame number i. The encoder copies what it is given, so one frame is enough."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._where = card.layout(plan.width, plan.height)
        still = av.VideoFrame.from_ndarray(np.asarray(card.draw(plan)), format="rgb24")
        still = still.reformat(format="yuv420p", dst_colorspace="itu709")
        self._still: Planes = _planes(still, copy=True)
        self.frame = av.VideoFrame(plan.width, plan.height, "yuv420p")
        # Tagged like the stream (BT.709, studio swing): otherwise every frame is converted once more on its way in.
        self.frame.colorspace = self.frame.color_range = self.frame.color_primaries = self.frame.color_trc = 1
        self._live: Planes = _planes(self.frame, copy=False)
        for live, clean in zip(self._live, self._still, strict=True):
            live[:] = clean
        rng = random.Random(plan.seed)  # noqa: S311 - a picture, not a secret
        self._discs = [_Disc(rng, self._where.motion) for _ in range(DISCS)]
        self._clock = _Clock(self._where.clock)
        self._ramp_phase = rng.random()
        self._dirty: list[card.Box] = []

    def paint(self, index: int) -> None:
        """Frame `index`, counted from 0."""
        for box in self._dirty:
            for live, clean in zip(_cut(self._live, box), _cut(self._still, box), strict=True):
                live[:] = clean
        time_s = index / self._plan.fps
        self._dirty = [disc.paint(self._live, time_s) for disc in self._discs]
        self._dirty.append(self._marker(time_s))
        self._clock.paint(self._live[0], index, self._plan.fps)

    def _marker(self, time_s: float) -> card.Box:
        """A white marker that crosses the ramp once in four seconds: judder and dropped frames show at a glance."""
        ramp = self._where.ramp
        width = max(2, ramp.width // 100 & ~1)
        left = int((self._ramp_phase + time_s / 4) % 1.0 * (ramp.width - width)) & ~1
        box = card.Box(left, ramp.top, left + width, ramp.bottom)
        for plane, value in zip(_cut(self._live, box), (WHITE, NEUTRAL, NEUTRAL), strict=True):
            plane[:] = value
        return box


class _Disc:
    """A soft-edged disc on a Lissajous path; size, colour, speed and phase come from the seed."""

    def __init__(self, rng: random.Random, field: card.Box) -> None:
        self._field = field
        self._size = max(8, int(field.height * rng.uniform(0.25, 0.5))) & ~1
        self._speed_x, self._speed_y = rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.9)
        self._phase_x, self._phase_y = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
        red, green, blue = colorsys.hsv_to_rgb(rng.random(), 0.8, 1.0)
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        colour = (16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748)
        coverage = self._coverage()
        halved = coverage.reshape(self._size // 2, 2, self._size // 2, 2).mean(axis=(1, 3))
        self._keep = tuple(1 - a for a in (coverage, halved, halved))
        self._add = tuple(a * value + 0.5 for a, value in zip((coverage, halved, halved), colour, strict=True))

    def _coverage(self) -> NDArray[np.float32]:
        mask = Image.new("L", (self._size * 4, self._size * 4))
        ImageDraw.Draw(mask).ellipse((0, 0, self._size * 4 - 1, self._size * 4 - 1), fill=255)
        return np.asarray(mask.resize((self._size, self._size), Image.Resampling.BOX), dtype=np.float32) / 255

    def paint(self, planes: Planes, time_s: float) -> card.Box:
        span_x, span_y = self._field.width - self._size, self._field.height - self._size
        x = int(span_x * (0.5 + 0.5 * math.sin(self._phase_x + self._speed_x * time_s))) & ~1
        y = int(span_y * (0.5 + 0.5 * math.sin(self._phase_y + self._speed_y * time_s))) & ~1
        box = card.Box(x, y, x + self._size, y + self._size)
        for plane, keep, add in zip(_cut(planes, box), self._keep, self._add, strict=True):
            plane[:] = plane * keep + add
        return box


class _Clock:
    """Timecode HH:MM:SS:FF and the frame number, from glyphs drawn once. Luma only: the box under it is black."""

    def __init__(self, box: card.Box) -> None:
        self._box = box
        columns = len("00:00:00:00 #0000")
        cell = max(1, box.width // columns)
        face = text.fit("0" * columns, int(box.height * 0.8), box.width)
        self._glyphs = {c: _glyph(c, face, cell, box.height) for c in GLYPHS}
        self._left = box.left + (box.width - cell * columns) // 2
        self._cell = cell

    def paint(self, luma: Plane, index: int, fps: int) -> None:
        seconds, frame = divmod(index, fps)
        label = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:02} #{index:04}"
        row = np.hstack([self._glyphs[c] for c in label[:17]])
        luma[self._box.top : self._box.bottom, self._left : self._left + row.shape[1]] = row


def _glyph(character: str, face: text.Font, width: int, height: int) -> Plane:
    image = Image.new("L", (width, height), BLACK)
    ImageDraw.Draw(image).text((width / 2, height / 2), character, font=face, fill=WHITE, anchor="mm")
    return np.asarray(image)


def _planes(frame: av.VideoFrame, *, copy: bool) -> Planes:
    """Y, U and V of a frame as arrays without the padding at the end of their lines."""
    views: list[Plane] = []
    for plane in frame.planes:
        memory: Any = plane
        view = np.frombuffer(memory, dtype=np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        views.append(view.copy() if copy else view)
    return views[0], views[1], views[2]


def _cut(planes: Planes, box: card.Box) -> Planes:
    luma = planes[0][box.top : box.bottom, box.left : box.right]
    half = (slice(box.top // 2, box.bottom // 2), slice(box.left // 2, box.right // 2))
    return luma, planes[1][half], planes[2][half]
