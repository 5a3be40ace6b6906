"""One JSON object per line on standard error, for every logger of the process, with secrets masked."""

import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import lru_cache
from typing import BinaryIO, Literal, cast

import msgspec
import structlog
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
MASK = "[masked]"

_SENSITIVE_NAME = re.compile(r"prompt|authorization|api[-_ ]?key|secret|token|password|cookie", re.IGNORECASE)
# Applied to the rendered line. None of these contains a character that JSON escapes.
_SENSITIVE_VALUE = re.compile(
    rb"(?P<key>tl_(?:live|test|mgmt|session|invite|reset|trip)_)[A-Za-z0-9_]+"
    rb"|(?P<bearer>[Bb]earer\s+)[A-Za-z0-9._~+/=-]+"
    rb"|(?P<login>://[^/\s:@\"]*:)[^@\s/\"]+(?=@)"
)
# Their request lines hold signed links.
_QUIET = ("uvicorn.access", "httpx", "httpcore")

_encoder = msgspec.json.Encoder(enc_hook=repr)

answering: ContextVar[str] = ContextVar("answering")
"""The id of the request that this task answers. A variable of its own: structlog takes twenty times as long to bind one."""


def configure(level: Level = "info", stream: BinaryIO | None = None) -> None:
    """Send structlog, the standard library's loggers and warnings to `stream` (standard error) as JSON lines.

    Call once per process, before the first line is logged.
    """
    output = _Output(stream or sys.stderr.buffer)
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=output.named,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def about(
    *, request_id: str | None = None, job_id: str | None = None, attempt: int | None = None
) -> AbstractContextManager[None]:
    """Put these ids on every line that is logged inside, by this task and those it starts."""
    ids = {"request_id": request_id, "job_id": job_id, "attempt": attempt}
    return bound_contextvars(**{name: value for name, value in ids.items() if value is not None})


class _Output:
    """The stream, with one lock for all loggers: a line is written whole."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def named(self, name: str = "tallylight") -> "_Named":
        return _Named(name, self)

    def write(self, line: bytes) -> None:
        with self._lock:
            self._stream.write(line + b"\n")
            self._stream.flush()


class _Named:
    """What structlog writes to; the level methods it calls are all the same."""

    def __init__(self, name: str, output: _Output) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = output.write


class _Forward(logging.Handler):
    """Passes records of the standard library on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        known = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)  # structlog knows the five levels only
        try:
            structlog.get_logger(record.name).log(known, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - the contract of logging.Handler: a log line never breaks its caller
            self.handleError(record)


def _about_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = answering.get(None)
    return event if request_id is None else {"request_id": request_id, **event}


def _head(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {"at": event.pop("at"), "level": method, "logger": logger.name, "event": event.pop("event"), **event}


def _mask_names(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: _masked(name, value) for name, value in event.items()}


def _masked(name: str, value: object) -> object:
    if value is None or isinstance(value, int | float):  # a count of tokens is not a token
        return value
    if _is_sensitive(name):
        return MASK
    if isinstance(value, str):
        return value
    match value:
        case Mapping():
            inside = cast(Mapping[object, object], value)
            return {key: _masked(str(key), inner) for key, inner in inside.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(name, inner) for inner in cast(Iterable[object], value)]
        case msgspec.Struct():
            return _masked(name, msgspec.structs.asdict(value))
        case _:
            return value


@lru_cache(maxsize=1024)
def _is_sensitive(name: str) -> bool:
    return not name.endswith("_id") and _SENSITIVE_NAME.search(name) is not None


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    try:
        line = _encoder.encode(event)
    except (ValueError, TypeError, RecursionError):  # a lone surrogate, a cycle: the line is worth more than its form
        line = _encoder.encode({name: ascii(value) for name, value in event.items()})
    return without_secrets(line)


def without_secrets(line: bytes) -> bytes:
    """Masks what looks like an API key, a bearer token or the password of a URL."""
    suspicious = b"tl_" in line or b"earer" in line or b"://" in line  # a tenth of the cost of the expression
    return _SENSITIVE_VALUE.sub(_masked_value, line) if suspicious else line


def _masked_value(found: re.Match[bytes]) -> bytes:
    return found[found.lastgroup or 0] + b"***"


_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    _about_request,
    structlog.processors.format_exc_info,
    structlog.processors.TimeStamper(fmt="iso", key="at"),
    _head,
    _mask_names,
    _render,
]
