"""Text in the one typeface Pillow ships: basic Latin, so anything else is folded to it or shown as a box."""

import bisect
import unicodedata

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

PROMPT_CHARACTERS_MAX = 600


def font(size: int) -> Font:
    loaded = ImageFont.load_default(max(size, 8))
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType; install a binary wheel of Pillow")
    return loaded


def drawable(text: str) -> str:
    """Letters lose their accents (the typeface has none), controls become spaces."""
    folded = unicodedata.normalize("NFKD", text[:PROMPT_CHARACTERS_MAX])
    kept = (c for c in folded if not unicodedata.combining(c))
    return "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in kept)


def wrap(text: str, face: Font, width: int, lines_max: int) -> list[str]:
    """Break `text` into at most `lines_max` lines of `width` pixels; an ellipsis marks what did not fit."""
    lines: list[str] = []
    line = ""
    for word in drawable(text).split():
        rest = word
        while rest:
            candidate = f"{line} {rest}" if line else rest
            if face.getlength(candidate) <= width:
                line, rest = candidate, ""
            elif line:
                lines.append(line)
                line = ""
            else:
                head = _longest_head(rest, face, width)
                lines.append(rest[:head])
                rest = rest[head:]
    if line:
        lines.append(line)
    if len(lines) > lines_max:
        lines = lines[:lines_max]
        lines[-1] = _shorten(lines[-1] + "…", face, width)
    return lines


def fit(text: str, size: int, width: int) -> Font:
    """The largest face up to `size` in which `text` is no wider than `width` pixels (never below 8)."""
    face = font(size)
    needed = face.getlength(text)
    return face if needed <= width else font(int(size * width / needed))


def _longest_head(word: str, face: Font, width: int) -> int:
    """How many characters of `word` fit; at least one, so that a line is never empty."""
    fitting = bisect.bisect_right(range(1, len(word) + 1), width, key=lambda count: face.getlength(word[:count]))
    return max(1, fitting)


def _shorten(line: str, face: Font, width: int) -> str:
    while len(line) > 1 and face.getlength(line) > width:
        line = line[:-2] + "…"
    return line
