"""Nothing a customer names leads into our own network."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address, ip_network

import pytest
import trustme

from gateway.egress.addresses import Address, networks
from gateway.egress.errors import EgressError, EgressFailed, UrlRefused
from gateway.egress.guard import Egress
from tests.egress import corpus
from tests.egress.servers import Tripwire, answering, server

PARTNER = networks(["127.0.0.2/32"])


class Names:
    """A resolver whose answers change from question to question; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> list[Address]:
        self.asked += 1
        texts = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [ip_address(text) for text in texts]


@pytest.fixture
async def tripwire() -> AsyncIterator[Tripwire]:
    async with Tripwire().listening() as wire:
        yield wire


async def test_no_form_of_a_forbidden_address_is_reached(tripwire: Tripwire) -> None:
    forms = list(dict.fromkeys(corpus.urls(tripwire.port)))
    assert len(forms) > 1000
    egress = Egress(resolver=Names(["127.0.0.1"]))
    for url in forms:
        with pytest.raises(UrlRefused):
            await egress.get(url, bytes_max=100, timeout_s=5)
    assert tripwire.hits == 0
    await egress.close()


async def test_an_operators_exception_opens_only_what_it_names(tripwire: Tripwire) -> None:
    egress = Egress(allowed=PARTNER, resolver=Names(["127.0.0.1"]))
    for url in dict.fromkeys(corpus.urls(tripwire.port)):
        with pytest.raises(EgressError):
            await egress.get(url, bytes_max=100, timeout_s=5)
    assert tripwire.hits == 0
    await egress.close()


@pytest.mark.parametrize(
    "text", [*corpus.FORBIDDEN_V4, *corpus.FORBIDDEN_V6, "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"]
)
async def test_a_name_that_leads_to_a_forbidden_address(text: str) -> None:
    egress = Egress(resolver=Names(["93.184.215.14", text]))
    with pytest.raises(UrlRefused) as refused:
        await egress.get("https://files.example.com/a.png", bytes_max=100, timeout_s=5)
    assert refused.value.code == "address_refused"
    await egress.close()


async def test_a_name_is_resolved_once_and_the_connection_goes_there(tripwire: Tripwire) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    egress = Egress(allowed=PARTNER, resolver=names)
    seen: list[bytes] = []
    async with server(answering(b"a picture", headers="content-type: image/png\r\n", seen=seen)) as port:
        answer = await egress.get(f"http://files.example.com:{port}/a.png?size=1", bytes_max=100, timeout_s=5)
    assert (answer.body, answer.content_type, names.asked, tripwire.hits) == (b"a picture", "image/png", 1, 0)
    assert seen[0].startswith(b"GET /a.png?size=1 HTTP/1.1\r\n")
    assert f"host: files.example.com:{port}".encode() in seen[0].lower()
    await egress.close()


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "304 Not Modified"]
)
@pytest.mark.parametrize("method", ["get", "post"])
async def test_redirects_are_not_followed(tripwire: Tripwire, status: str, method: str) -> None:
    egress = Egress(allowed=PARTNER, resolver=Names(["127.0.0.2"]))
    async with server(answering(b"", status, f"location: http://127.0.0.1:{tripwire.port}/\r\n")) as port:
        url = f"http://files.example.com:{port}/"
        asked = {
            "get": egress.get(url, bytes_max=100, timeout_s=5),
            "post": egress.post(url, b"{}", {}, bytes_max=100, timeout_s=5),
        }
        with pytest.raises(EgressFailed) as failed:
            await asked.pop(method)
        for other in asked.values():
            other.close()
    assert (failed.value.code, tripwire.hits) == ("redirected", 0)
    await egress.close()


async def test_proxies_of_the_environment_are_not_used(tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{tripwire.port}")
    egress = Egress(allowed=PARTNER, resolver=Names(["127.0.0.2"]))
    async with server(answering(b"x")) as port:
        assert (await egress.get(f"http://files.example.com:{port}/", bytes_max=100, timeout_s=5)).body == b"x"
    assert tripwire.hits == 0
    await egress.close()


async def test_plain_http_only_where_the_operator_opened_the_network() -> None:
    egress = Egress(allowed=PARTNER, resolver=Names(["93.184.215.14"]))
    with pytest.raises(UrlRefused) as refused:
        await egress.get("http://files.example.com/a.png", bytes_max=100, timeout_s=5)
    assert refused.value.code == "url_scheme"
    await egress.close()


async def test_tls_is_checked_against_the_name_though_the_connection_goes_to_an_address() -> None:
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("files.example.com").configure_cert(ours)
    egress = Egress(allowed=PARTNER, resolver=Names(["127.0.0.2"]), tls=trusted)
    async with server(answering(b"x"), tls=ours) as port:
        assert (await egress.get(f"https://files.example.com:{port}/", bytes_max=100, timeout_s=5)).body == b"x"
        with pytest.raises(EgressFailed) as failed:
            await egress.get(f"https://other.example.com:{port}/", bytes_max=100, timeout_s=5)
    assert failed.value.code == "unreachable"
    await egress.close()


async def test_size_and_time_are_bounded() -> None:
    egress = Egress(allowed=PARTNER, resolver=Names(["127.0.0.2"]))
    bomb = gzip.compress(bytes(1 << 20))
    async with server(answering(bomb, headers="content-encoding: gzip\r\n")) as port:
        answer = await egress.get(f"http://files.example.com:{port}/", bytes_max=len(bomb), timeout_s=5)
        assert answer.body == bomb
        with pytest.raises(EgressFailed) as failed:
            await egress.get(f"http://files.example.com:{port}/", bytes_max=len(bomb) - 1, timeout_s=5)
        assert failed.value.code == "too_large"
        cut = await egress.post(f"http://files.example.com:{port}/", b"{}", {}, bytes_max=10, timeout_s=5)
        assert cut.body == bomb[:10]

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client gives up

    async with server(silent) as port:
        with pytest.raises(EgressFailed) as failed:
            await egress.get(f"http://files.example.com:{port}/", bytes_max=100, timeout_s=0.2)
    assert failed.value.code == "timed_out"
    await egress.close()


@pytest.mark.parametrize(
    "answer,code",
    [
        (answering(b"", "404 Not Found"), "bad_status"),
        (answering(b"", "500 Oops"), "bad_status"),
        (answering(b"", "2oo OK"), "broken_answer"),
    ],
)
async def test_an_answer_that_is_no_file(answer: object, code: str) -> None:
    egress = Egress(allowed=PARTNER, resolver=Names(["127.0.0.2"]))
    async with server(answer) as port:  # pyright: ignore[reportArgumentType] a Talk, as the table says
        with pytest.raises(EgressFailed) as failed:
            await egress.get(f"http://files.example.com:{port}/", bytes_max=100, timeout_s=5)
    assert failed.value.code == code
    await egress.close()


async def test_names_without_an_address_and_hosts_nobody_listens_on() -> None:
    async def unknown(_host: str, _port: int) -> list[Address]:
        raise OSError("no such name")

    with pytest.raises(EgressFailed) as failed:
        await Egress(resolver=unknown).get("https://files.example.com/", bytes_max=1, timeout_s=5)
    assert failed.value.code == "name_unresolved"
    async with server(answering(b"")) as port:
        pass
    with pytest.raises(EgressFailed) as failed:
        await Egress(allowed=PARTNER, resolver=Names(["127.0.0.2"])).get(
            f"http://files.example.com:{port}/", bytes_max=1, timeout_s=5
        )
    assert failed.value.code == "unreachable"


def test_what_is_accepted() -> None:
    egress = Egress()
    for url, host, port, path in (
        ("https://files.example.com", "files.example.com", 443, "/"),
        ("HTTPS://Files.Example.COM:8443/a%20b?x=1&y=2#part", "files.example.com", 8443, "/a%20b?x=1&y=2"),
        ("https://files.example.com./?", "files.example.com", 443, "/?"),
        ("https://bücher.example/a", "xn--bcher-kva.example", 443, "/a"),
        ("https://93.184.215.14/a", "93.184.215.14", 443, "/a"),
        ("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8443/a", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", 8443, "/a"),
    ):
        target = egress.check(url)
        assert (target.scheme, target.host, target.port, target.path) == ("https", host, port, path)


def test_networks_are_given_as_blocks() -> None:
    assert networks(["10.1.0.0/16", "fd00::/8"]) == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    with pytest.raises(ValueError, match="10"):
        networks(["10.1.0.1/16"])
