"""The flags that older Ark clients write into the prompt: "a lamp --rs 1080p --dur 5". Pure.

They are taken out of the prompt and obeyed, so that what is priced is what is made. A flag whose value does not fit is
refused: ignoring it would make another video than the one that was asked for.
"""

import re

from gateway.dialects.ark.wire import Options
from gateway.errors import InvalidRequest

FLAGS = {
    "resolution": "resolution",
    "rs": "resolution",
    "ratio": "ratio",
    "rt": "ratio",
    "duration": "duration",
    "dur": "duration",
    "frames": "frames",
    "framespersecond": "framespersecond",
    "fps": "framespersecond",
    "seed": "seed",
    "watermark": "watermark",
    "wm": "watermark",
    "camerafixed": "camera_fixed",
    "camera_fixed": "camera_fixed",
    "cf": "camera_fixed",
}
_FLAG = re.compile(
    rf"\s*(?<!-)--(?P<flag>{'|'.join(sorted(FLAGS, key=len, reverse=True))})(?![\w-])(?:\s*=\s*|\s+)?(?P<value>(?!--)[^\s]+)?",
    re.IGNORECASE,
)


def split_flags(text: str) -> tuple[str, dict[str, str]]:
    """The prompt without its flags, and their values by the name of the field, as text.

    Raises InvalidRequest for a flag without a value and for one given twice with different values.
    """
    found: dict[str, str] = {}
    for match in _FLAG.finditer(text):
        field, flag, value = FLAGS[match["flag"].lower()], match["flag"], match["value"]
        if value is None:
            raise InvalidRequest(f"--{flag} in the text needs a value", param=field)
        if found.setdefault(field, value) != value:
            raise InvalidRequest(f"--{flag} in the text is given as {found[field]} and as {value}; give it once", param=field)
    return _FLAG.sub("", text).strip(), found


def merged(explicit: Options, flags: Options) -> dict[str, object]:
    """The fields that only a flag gives. Raises InvalidRequest where a field and a flag say different things."""
    only: dict[str, object] = {}
    for name in Options.__struct_fields__:
        field, flag = getattr(explicit, name), getattr(flags, name)
        if flag is None:
            continue
        if field is None:
            only[name] = flag
        elif str(field).lower() != str(flag).lower():
            raise InvalidRequest(f"{name} is {field}, and a flag in the text says {flag}; give it once", param=name)
    return only
