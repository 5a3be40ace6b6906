"""Every error a client can meet, as a page for people: docs/errors.md and /docs/errors say what gateway/errors.py says."""

from collections.abc import Iterator
from html import escape

from gateway.errors import GatewayError

_INTRODUCTION = (
    "Every error has a stable `code`. The native dialect answers it as `application/problem+json` (RFC 9457), the others in "
    "their own shape. After any answer that is not 2xx nothing is held, unless the code is `outcome_unknown`. A job that "
    "failed is no error: it is a 200 whose `state` says so."
)


def every_error() -> list[type[GatewayError]]:
    """By status, then by code."""
    return sorted(_below(GatewayError), key=lambda error: (error.status, error.code))


def _below(error: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


def _retry(error: type[GatewayError]) -> str:
    return {None: "", True: "yes", False: "no"}[error.retry]


def markdown() -> str:
    """docs/errors.md."""
    rows = [f"| {e.status} | `{e.code}` | {_retry(e)} | {e.__doc__} |" for e in every_error()]
    head = ["| Status | Code | Retry | Meaning, and what to do |", "| --- | --- | --- | --- |"]
    return "\n".join(["# Errors", "", _INTRODUCTION, "", *head, *rows, ""])


def html() -> str:
    """The page that the `type` of a problem document points into."""
    rows = "".join(
        f'<tr id="{e.code}"><td>{e.status}</td><td><code>{e.code}</code></td><td>{_retry(e)}</td>'
        f"<td>{escape(e.__doc__ or '')}</td></tr>"
        for e in every_error()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Tallylight errors</title><link rel="icon" href="data:,">'
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}:target{background:#ffc}</style>"
        f"<h1>Errors</h1><p>{escape(_INTRODUCTION).replace('`', '')}</p>"
        f"<table><tr><th>Status<th>Code<th>Retry<th>Meaning, and what to do</tr>{rows}</table></html>\n"
    )
