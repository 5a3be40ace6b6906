"""Bad input over a real socket: always a 4xx in the dialect's shape, never a 5xx, nothing held, memory bounded."""

import json
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.stack import Customer, Stack

JSON = {"content-type": "application/json"}
ROUTES = ("/v1/jobs", "/v1/videos", "/api/v3/contents/generations/tasks")
GOOD = {
    "/v1/jobs": {"model": "testcard", "prompt": "x"},
    "/v1/videos": {"model": "testcard", "prompt": "x"},
    "/api/v3/contents/generations/tasks": {"model": "testcard", "content": [{"type": "text", "text": "x"}]},
}
BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "empty": (JSON, b""),
    "not JSON": (JSON, b"{prompt}"),
    "cut off": (JSON, b'{"model": "testcard", "prompt": "x'),
    "an array": (JSON, b"[]"),
    "null": (JSON, b"null"),
    "a number": (JSON, b"1e999"),
    "bad UTF-8": (JSON, b'{"model": "testcard", "prompt": "\xff\xfe"}'),
    "deep arrays": (JSON, b"[" * 100_000),
    "deep objects": (JSON, b'{"a":' * 100_000),
    "deep inside a field": (JSON, b'{"model": "testcard", "prompt": ' + b"[" * 100_000),
    "another charset": ({"content-type": "application/json; charset=utf-16"}, b"{}"),
    "an unknown charset": ({"content-type": "application/json; charset=nonsense"}, b"{}"),
    "no content type that is read": ({"content-type": "text/plain"}, b"{}"),
    "a form without boundary": ({"content-type": "multipart/form-data"}, b"x"),
    "a form that is none": ({"content-type": "multipart/form-data; boundary=b"}, b"hello"),
    "a form that is cut off": ({"content-type": "multipart/form-data; boundary=b"}, b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1'),
    "ten thousand parts": (
        {"content-type": "multipart/form-data; boundary=b"},
        b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n' * 10_000 + b"--b--\r\n",
    ),
    "a field of two megabytes": (
        {"content-type": "multipart/form-data; boundary=b"},
        b'--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n' + b"a" * (2 << 20) + b"\r\n--b--\r\n",
    ),
    "larger than any JSON": (JSON, b'"' + b"a" * (17 << 20) + b'"'),
}  # fmt: skip
VALUES = {
    "seconds": [-1, 0, 1e308, 601, "NaN", [], {}, True],
    "size": ["-1x-1", "0x0", "99999x99999", "1280", "１２８０x720", 5],
    "seed": [-1, 2**63, 1.5, "x"],
    "fps": [0, -5, 10**9],
    "model": ["", "nope", "a" * 1000, "../../etc", None],
    "prompt": ["", " ", "a" * 100_000, None, 5, "a\0b"],
    "tier": ["fast", 1],
    "metadata": [{"a": "\0"}, {"\0": "a"}, {"a": 1}, {"a" * 100: "x"}, {str(n): "x" for n in range(100)}],
    "inputs": [[{"role": "first_frame", "data": "http://127.0.0.1/x.png"}], [{"role": "x", "data": ""}], ["x"]],
    "unknown": [1],
}


@pytest.fixture(scope="module")
def customer(desk: Stack) -> Customer:
    return desk.customer()


@pytest.fixture(autouse=True)
def nothing_held(desk: Stack, customer: Customer) -> object:
    before = desk.wallet(customer)
    yield
    assert desk.wallet(customer) == before


def check(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    body = answer.json()
    shape = body if answer.headers["content-type"].startswith("application/problem+json") else body["error"]
    assert shape["code"] and (shape.get("detail") or shape.get("message"))
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", BODIES)
def test_bodies(desk: Stack, customer: Customer, route: str, name: str) -> None:
    headers, body = BODIES[name]
    check(httpx.post(desk.base_url + route, headers={**customer.bearer, **headers}, content=body, timeout=30))


@pytest.mark.parametrize("route", ROUTES)
def test_what_no_database_takes(desk: Stack, customer: Customer, route: str) -> None:
    body = json.dumps(GOOD[route]).replace('"x"', r'"\\ \u0000"')
    check(httpx.post(desk.base_url + route, headers={**customer.bearer, **JSON}, content=body))
    form = {"model": "testcard", "prompt": "a\0b"}
    check(httpx.post(desk.base_url + route, headers=customer.bearer, data=form, files={"x": b""}))


@pytest.mark.parametrize("field", VALUES)
def test_values(desk: Stack, customer: Customer, field: str) -> None:
    with httpx.Client(base_url=desk.base_url, headers=customer.bearer) as client:
        for value in VALUES[field]:
            check(client.post("/v1/jobs", json={**GOOD["/v1/jobs"], field: value}))
        for literal in ("NaN", "Infinity", "-Infinity", "1e999"):
            body = f'{{"model": "testcard", "prompt": "x", "seconds": {literal}}}'
            check(client.post("/v1/jobs", content=body, headers=JSON))


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_without_a_declared_length_is_bounded_too(desk: Stack, customer: Customer, route: str) -> None:
    def endless() -> object:
        for _ in range(80):
            yield b"a" * (1 << 20)

    with httpx.Client(base_url=desk.base_url, headers={**customer.bearer, **JSON}) as client:
        try:
            answer = client.post(route, content=endless())  # pyright: ignore[reportArgumentType] – a generator of bytes
        except httpx.TransportError:
            return  # refused while it was still sending
        check(answer)


PATHS = [
    "/v1/jobs/%00",
    "/v1/jobs/..%2f..%2fetc",
    "/v1/jobs/job_" + "g" * 32,
    "/v1/jobs/" + "a" * 8000,
    "/v1/nope",
    "/v1/videos/x/y/z",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths(desk: Stack, customer: Customer, path: str) -> None:
    for method in ("GET", "DELETE", "PUT", "PATCH"):
        check(httpx.request(method, desk.base_url + path, headers=customer.bearer))


@pytest.mark.parametrize("token", ["", "Bearer", "Basic x", "Bearer " + "a" * 5000, "Bearer tl_live_é"])
def test_keys(desk: Stack, token: str) -> None:
    answer = httpx.get(f"{desk.base_url}/v1/jobs", headers=[(b"authorization", token.encode("latin-1"))])
    assert answer.status_code == 401
    check(answer)


def _raw(desk: Stack, head: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", desk.settings.port), timeout=20) as conn:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has stopped reading: the answer is there already
            conn.sendall(head)
        answer = b""
        with suppress(ConnectionResetError):
            while chunk := conn.recv(65536):
                answer += chunk
                if b"\r\n\r\n" in answer:
                    break
        return answer


@pytest.mark.parametrize("count, size", [(100_000, 5), (200, 5), (3, 100_000)])
def test_headers_are_bounded(desk: Stack, customer: Customer, count: int, size: int) -> None:
    head = b"GET /v1/jobs HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"a" * size) for n in range(count)) + b"\r\n"
    answer = _raw(desk, head)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), answer[:200]


def test_memory_is_bounded(desk: Stack, customer: Customer) -> None:
    def resident_mb() -> float:
        lines = Path(f"/proc/{desk.processes['api'].pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    headers, body = BODIES["larger than any JSON"]
    before = resident_mb()
    for _ in range(12):
        httpx.post(f"{desk.base_url}/v1/jobs", headers={**customer.bearer, **headers}, content=body)
        _raw(desk, b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: aaaaaaaaaa\r\n" % n for n in range(100_000)) + b"\r\n")
    assert resident_mb() - before < 100, json.dumps({"before": before, "after": resident_mb()})
