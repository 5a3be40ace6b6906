"""The part of the card that never moves, drawn once per clip with Pillow."""

import dataclasses

from PIL import Image, ImageDraw

from testcard import text
from testcard.plan import Plan

# 75 % colour bars in the order of SMPTE ECR 1-1978, and the reversed strip under them.
BARS = ((192, 192, 192), (192, 192, 0), (0, 192, 192), (0, 192, 0), (192, 0, 192), (192, 0, 0), (0, 0, 192))
CASTELLATION = ((0, 0, 192), (19, 19, 19), (192, 0, 192), (19, 19, 19), (0, 192, 192), (19, 19, 19), (192, 192, 192))


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle in pixels on even coordinates, so that it also falls on whole chroma samples."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things are: `motion` and `ramp` belong to what moves, `clock` holds the running timecode."""

    motion: Box
    clock: Box
    ramp: Box
    panel: Box


def layout(width: int, height: int) -> Layout:
    def y(fraction: float) -> int:
        return int(height * fraction) & ~1

    clock_width = min(width, int(height * 0.9)) * 4 // 5 & ~1
    left = (width - clock_width) // 2 & ~1
    return Layout(
        motion=Box(0, 0, width, y(0.36)),
        clock=Box(left, y(0.38), left + clock_width, y(0.48)),
        ramp=Box(0, y(0.57), width, y(0.65)),
        panel=Box(0, y(0.65), width, height),
    )


def draw(plan: Plan) -> Image.Image:
    """The still card in RGB."""
    w, h = plan.width, plan.height
    where = layout(w, h)
    image = Image.new("RGB", (w, h), (24, 24, 24))
    pen = ImageDraw.Draw(image)
    strip_top = where.clock.bottom + max(2, h // 50)
    for i, (bar, under) in enumerate(zip(BARS, CASTELLATION, strict=True)):
        left, right = w * i // 7, w * (i + 1) // 7
        pen.rectangle((left, 0, right - 1, strip_top - 1), fill=bar)
        pen.rectangle((left, strip_top, right - 1, where.ramp.top - 1), fill=under)
    _ramp(image, where.ramp)
    _grid(pen, where.panel, max(16, h // 12))
    middle, radius, line = (w // 2, h // 2), int(min(w, h) * 0.46), max(1, h // 270)
    pen.ellipse((middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius), outline="white", width=line)
    pen.rectangle((0, 0, w - 1, h - 1), outline="white", width=line)
    clock = where.clock
    pen.rectangle((clock.left, clock.top, clock.right - 1, clock.bottom - 1), fill="black")
    _captions(image, pen, plan, where.panel)
    return image


def _ramp(image: Image.Image, box: Box) -> None:
    gradient = Image.linear_gradient("L").rotate(90).resize((box.width, box.height))
    image.paste(gradient.convert("RGB"), (box.left, box.top))


def _grid(pen: ImageDraw.ImageDraw, box: Box, pitch: int) -> None:
    for x in range(box.width // 2 % pitch, box.width, pitch):
        pen.line((x, box.top, x, box.bottom), fill=(70, 70, 70))
    for y in range(box.top, box.bottom, pitch):
        pen.line((0, y, box.width, y), fill=(70, 70, 70))


def _captions(image: Image.Image, pen: ImageDraw.ImageDraw, plan: Plan, panel: Box) -> None:
    margin = max(2, plan.height // 40)
    right = panel.right - margin
    if plan.inset is not None:
        picture = plan.inset.copy()
        picture.thumbnail((panel.width // 3, panel.height - 2 * margin))
        right -= picture.width
        image.paste(picture, (right, panel.top + margin))
        right -= margin
    width = right - margin - panel.left
    face = text.font(plan.height // 22)
    small = text.fit(plan.caption, plan.height // 34, width)
    line_height = int(face.size * 1.25)
    lines = text.wrap(plan.prompt, face, width, max(1, (panel.height - 2 * margin - int(small.size * 1.4)) // line_height))
    for i, line in enumerate(lines):
        _plate(pen, (panel.left + margin, panel.top + margin + i * line_height), line, face)
    _plate(pen, (panel.left + margin, panel.bottom - margin - int(small.size * 1.2)), plan.caption, small)


def _plate(pen: ImageDraw.ImageDraw, at: tuple[int, int], line: str, face: text.Font) -> None:
    """Text on a black plate, readable over the grid."""
    pen.rectangle((*at, at[0] + face.getlength(line) + 4, at[1] + face.size * 1.2), fill="black")
    pen.text((at[0] + 2, at[1]), line, font=face, fill="white")
