"""`make fuzz NAME=links`: feeds one parser of foreign bytes with what a coverage-guided fuzzer (atheris) thinks up.

A parser may only do what its docstring says: return, or raise the errors it names. `ARGS="-max_total_time=60"` goes to libFuzzer; what
broke a parser is left in `crash-…` and repeated by naming that file in ARGS. NAME=all lists the targets.
"""

import contextlib
import hmac
import io
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import atheris

with atheris.instrument_imports(include=["gateway", "billing", "multipart", "urllib", "ipaddress"]):
    from billing.errors import BillingError
    from billing.stripe.signature import read_event
    from gateway.access.model import hint, new_token, token_hash, well_formed
    from gateway.edge.bodies import decode_json, decode_lenient, nested, read_form
    from gateway.egress.errors import UrlRefused
    from gateway.egress.urls import parse
    from gateway.errors import GatewayError
    from gateway.media.boxes import read_movie
    from gateway.media.errors import ImageRejected, LinkRefused, VideoRejected
    from gateway.media.image_headers import read_header
    from gateway.media.ranges import RangeOutcome, is_not_modified, parse_range, range_still_applies
    from gateway.media.signing import LinkSigner

import msgspec
from litestar import Request

SECRET = "a secret of the fuzzers, long enough to sign with"
_signer = LinkSigner({"1": SECRET.encode()}, "1")
_any = msgspec.json.Decoder(Any)
_settings = SimpleNamespace(settings=SimpleNamespace(request_body_max_bytes=1 << 20))


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """A body with a field of each kind."""

    name: str = ""
    count: int = 0
    labels: dict[str, str] = {}
    parts: list[float] = []


def keys(data: bytes) -> None:
    token = data.decode("latin-1")
    if well_formed(token) or well_formed(token, "management"):
        assert token.isascii()
    token_hash(token)
    hint(token)


def signatures(data: bytes) -> None:
    header, _, body = data.partition(b"\n")
    with contextlib.suppress(BillingError):
        read_event(body, header.decode("latin-1"), SECRET)
        raise AssertionError("a message was accepted that nobody signed")
    stamp = header.decode("latin-1")
    digest = hmac.new(SECRET.encode(), header + b"." + body, sha256).hexdigest()
    with contextlib.suppress(BillingError):
        read_event(body, f"t={stamp},v1={digest}", SECRET)


def links(data: bytes) -> None:
    with contextlib.suppress(LinkRefused):
        _signer.verify("GET", "/v1/files/a", "org", data.decode("latin-1"), 0.0)
        raise AssertionError("a link was accepted that nobody signed")


def urls(data: bytes) -> None:
    with contextlib.suppress(UrlRefused, UnicodeDecodeError):
        parse(data.decode())


def forms(data: bytes) -> None:
    """The first line is the content type, the rest the body, in pieces as it arrives."""
    kind, _, body = data.partition(b"\n")
    pieces = [body[at : at + 61] for at in range(0, len(body), 61)] or [b""]

    async def receive() -> Any:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope: Any = {
        "type": "http",
        "headers": [(b"content-type", b"multipart/form-data; boundary=" + kind)],
        "litestar_app": SimpleNamespace(state={"gateway": _settings}),
    }
    reading = read_form(cast(Any, Request(scope, receive)))
    try:
        reading.send(None)
    except StopIteration as done:
        with contextlib.suppress(GatewayError):
            decode_lenient(nested(done.value.fields), Named, strict=False)
    except GatewayError:
        pass


def bodies(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        decode_lenient(decode_json(data, _any), Named)


def ranges(data: bytes) -> None:
    header = data.decode("latin-1")
    found = parse_range(header, 1000)
    if not isinstance(found, RangeOutcome):
        assert 0 <= found.start < found.end <= 1000
    range_still_applies(header, '"a"')
    is_not_modified(header, '"a"')


def images(data: bytes) -> None:
    with contextlib.suppress(ImageRejected):
        read_header(data)


def movies(data: bytes) -> None:
    with contextlib.suppress(VideoRejected):
        read_movie(io.BytesIO(data), len(data))


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (keys, signatures, links, urls, forms, bodies, ranges, images, movies)
}

FORM = b'X\n--X\r\nContent-Disposition: form-data; name="labels[a]"\r\n\r\nb\r\n--X--\r\n'
SEEDS: Mapping[str, Sequence[bytes]] = {
    "keys": [new_token().encode(), new_token("management").encode()],
    "signatures": [b't=1790000000,v1=00\n{"id":"evt_1","type":"a","created":1,"data":{"object":{"id":"a","object":"b"}}}'],
    "links": [_signer.sign("GET", "/v1/files/b", "org", 1_790_000_000).encode()],
    "urls": [
        b"https://user@example.com:8443/a?b#c",
        b"https://[::ffff:127.0.0.1]/",
        b"https://0x7f.1/",
        "https://ß。com".encode(),
    ],
    "forms": [FORM, FORM.replace(b'[a]"', b'[]"; filename="a.png"')],
    "bodies": [b'{"name":"a","count":1,"labels":{"a":"b"},"parts":[1.5]}'],
    "ranges": [b"bytes=0-499", b"bytes=-5", b'W/"a", "b"'],
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"say which: {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory(prefix="tallylight-fuzz-") as corpus:
        for at, seed in enumerate(SEEDS.get(sys.argv[1], ())):
            Path(corpus, str(at)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *sys.argv[2:], corpus], TARGETS[sys.argv[1]])
        atheris.Fuzz()
