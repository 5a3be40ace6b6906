"""Ask an address that a customer named, without ever reaching our own network.

The name is resolved once, every address it has must be allowed, and the connection goes to one of exactly these addresses:
what the name means a moment later makes no difference. Redirects are not followed, no proxy or netrc of the environment is
used, and time and size have bounds. Host header and TLS certificate are those of the name.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address

import httpx
import msgspec

from gateway.egress.addresses import Address, Network, opened, refusal
from gateway.egress.errors import EgressFailed, UrlRefused
from gateway.egress.urls import Target, parse

_CONNECT_S = 5.0
_ADDRESSES_MAX = 16

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


class Answer(msgspec.Struct, frozen=True):
    """What came back, whole."""

    status: int
    content_type: str
    body: bytes


class _Ask(msgspec.Struct, frozen=True):
    method: str
    headers: Mapping[str, str]
    body: bytes = b""
    bytes_max: int = 0
    cut: bool = False


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a name, as the system's resolver knows them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(info[4][0]).partition("%")[0]) for info in found]


class Egress:
    """Requests to the outside. `allowed` are networks an operator opens on purpose, and only there `http` is accepted too."""

    def __init__(
        self, *, allowed: Sequence[Network] = (), resolver: Resolve = resolve, tls: ssl.SSLContext | bool = True
    ) -> None:
        self._allowed, self._resolve = tuple(allowed), resolver
        # One connection per request: a kept one would outlive the check of its address. Callers bound how many there are.
        self._client = httpx.AsyncClient(
            trust_env=False,
            verify=tls,
            follow_redirects=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    def check(self, url: str) -> Target:
        """What can be said about a URL without asking anyone, for refusing it when it is first named. Raises UrlRefused."""
        target = parse(url, schemes=("https", "http") if self._allowed else ("https",))
        if target.literal is not None:
            self._permit(target, [target.literal])
        return target

    async def get(self, url: str, *, bytes_max: int, timeout_s: float) -> Answer:
        """The body of a 200. Raises UrlRefused, EgressFailed."""
        answer = await self._ask(url, _Ask("GET", {"accept": "*/*"}, bytes_max=bytes_max), timeout_s)
        if answer.status != 200:
            raise EgressFailed("bad_status", f"the server answered {answer.status}; it must answer 200")
        return answer

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, bytes_max: int, timeout_s: float) -> Answer:
        """Any answer but a redirect; its body is cut at `bytes_max`. Raises UrlRefused, EgressFailed."""
        return await self._ask(url, _Ask("POST", headers, body, bytes_max=bytes_max, cut=True), timeout_s)

    async def _ask(self, url: str, ask: _Ask, timeout_s: float) -> Answer:
        target = self.check(url)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(target, await self._address(target), ask)
        except TimeoutError as error:
            raise EgressFailed("timed_out", f"no complete answer within {timeout_s:g} s") from error

    async def _address(self, target: Target) -> Address:
        """The address to connect to, out of those that were all found acceptable."""
        if target.literal is not None:
            return target.literal
        try:
            found = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError, ValueError) as error:
            raise EgressFailed("name_unresolved", f"{target.host} has no address") from error
        if not 0 < len(found) <= _ADDRESSES_MAX:
            raise EgressFailed("name_unresolved", f"{target.host} has {len(found)} addresses; 1 to {_ADDRESSES_MAX} are accepted")
        self._permit(target, found)
        return found[0]

    def _permit(self, target: Target, addresses: Sequence[Address]) -> None:
        """Raises UrlRefused unless each address may be reached; without TLS only what the operator opened."""
        for address in addresses:
            why = refusal(address, self._allowed)
            if why is not None:
                raise UrlRefused("address_refused", f"{target.host} is at an address that is never reached from here ({why})")
            if target.scheme == "http" and not opened(address, self._allowed):
                raise UrlRefused("url_scheme", "http:// is not accepted; use https://")

    async def _send(self, target: Target, address: Address, ask: _Ask) -> Answer:
        host = f"[{address}]" if address.version == 6 else str(address)
        request = self._client.build_request(
            ask.method,
            httpx.URL(scheme=target.scheme, host=host, port=target.port, raw_path=target.path.encode()),
            content=ask.body or None,
            headers={"user-agent": "tallylight", **ask.headers, "host": target.authority, "accept-encoding": "identity"},
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            extensions={"sni_hostname": target.host},
        )
        try:
            answer = await self._client.send(request, stream=True)
            try:
                if 300 <= answer.status_code < 400:
                    raise EgressFailed("redirected", f"the server answered {answer.status_code}; redirects are not followed")
                content = await _read(answer, ask)
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            code = "unreachable" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else "broken_answer"
            raise EgressFailed(code, f"{target.host} did not answer properly ({type(error).__name__})") from error
        return Answer(answer.status_code, answer.headers.get("content-type", ""), content)


async def _read(answer: httpx.Response, ask: _Ask) -> bytes:
    """As sent: nothing is decompressed, so a small answer stays small. Raises EgressFailed."""
    received = bytearray()
    async for chunk in answer.aiter_raw():
        received += chunk
        if len(received) > ask.bytes_max:
            if ask.cut:
                break
            raise EgressFailed("too_large", f"the answer has more than {ask.bytes_max} bytes")
    return bytes(received[: ask.bytes_max])
