r"""What a URL means, read strictly. Pure.

Two readers of one URL are how guards are passed (`http://evil.example\@127.0.0.1/`), so this one accepts only what every
reader understands alike, and the request is built from its parts, never from the text.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import idna
import msgspec

from gateway.egress.errors import UrlRefused

URL_MAX = 2048
_SHAPE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?:#.*)?", re.DOTALL)
_UNSAFE = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"https": 443, "http": 80}
_PRIVILEGED = 1024


class Target(msgspec.Struct, frozen=True):
    """One place to ask: `host` is a lower-case DNS name or an address in its usual text; `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def literal(self) -> IPv4Address | IPv6Address | None:
        """The address, where the host is one."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if self.host.rpartition(".")[2].isdigit() else None

    @property
    def authority(self) -> str:
        """As it stands in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str, *, schemes: Sequence[str] = ("https",)) -> Target:
    """Raises UrlRefused naming the rule."""
    shape = _SHAPE.fullmatch(url)
    if len(url) > URL_MAX or shape is None:
        raise UrlRefused(
            "url_malformed", f"send an absolute URL of at most {URL_MAX} characters, such as https://example.com/a.png"
        )
    scheme = shape["scheme"].lower()
    if scheme not in schemes:
        raise UrlRefused("url_scheme", f"{scheme}:// is not accepted; use {' or '.join(f'{one}://' for one in schemes)}")
    authority, rest = shape["authority"], shape["rest"]
    if "@" in authority:
        raise UrlRefused("url_userinfo", "a URL may not carry a user name or password; leave out everything before @")
    if _UNSAFE.search(rest):
        raise UrlRefused("url_malformed", "percent-encode everything but the printable ASCII characters that RFC 3986 allows")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise UrlRefused("url_host", "write the host as a name or an address, with an optional port: example.com:8443")
    port = int(parts["port"] or _PORTS[scheme])
    if port not in _PORTS.values() and not _PRIVILEGED <= port <= 65535:
        raise UrlRefused("url_port", f"port {port} is not accepted; use 80, 443, or one from {_PRIVILEGED} up")
    return Target(scheme, _host(parts["host"]), port, rest if rest.startswith("/") else f"/{rest}")


def _host(text: str) -> str:
    """A name as DNS has it, or an address in the one form that no reader takes for another."""
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError as error:
            raise UrlRefused("url_host", f"{text} is not an IPv6 address") from error
    try:
        name = idna.encode(text, uts46=True, std3_rules=False).decode().lower() if not text.isascii() else text.lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise UrlRefused("url_host", "the host is not a name that DNS can hold") from error
    labels = name.removesuffix(".").split(".")
    if _NUMERIC.fullmatch(labels[-1]):  # what a resolver would take for an address: 127.1, 0x7f000001, 2130706433
        try:
            return str(IPv4Address(name))
        except ValueError as error:
            raise UrlRefused("url_host", "write an IPv4 address as four decimal numbers without leading zeros") from error
    if len(name) > 253 or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):
        raise UrlRefused("url_host", "the host must be a full name such as files.example.com")
    return ".".join(labels)
