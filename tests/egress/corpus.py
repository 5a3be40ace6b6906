"""URLs that lead, in some reader's eyes, to a place that must never be reached."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

FORBIDDEN_V4 = (
    "0.0.0.0", "10.0.0.1", "10.255.255.254", "100.64.0.1", "127.0.0.1", "127.1.2.3", "168.63.129.16", "169.254.169.254",  # noqa: S104 – refused, not bound to
    "172.16.0.1", "172.31.255.254", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
)  # fmt: skip
FORBIDDEN_V6 = (
    "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1", "2001:10::1", "3fff::1",
    "64:ff9b::1", "100::1", "5f00::1",
)  # fmt: skip


def urls(port: int) -> Iterator[str]:
    """Every form of every forbidden address, with and without decoration; `port` is where a tripwire listens."""
    for host in hosts():
        for scheme in ("https", "http", "HTTPS"):
            yield f"{scheme}://{host}:{port}/"
        yield f"https://{host}/latest/meta-data/"
    for host in ("127.0.0.1", "[::1]"):
        yield from decorated(f"{host}:{port}")
    yield from other_schemes(port)


def hosts() -> Iterator[str]:
    for text in FORBIDDEN_V4:
        address = IPv4Address(text)
        yield from ipv4_forms(address)
        yield from (f"[{carrier}]" for carrier in carriers(address))
    for text in FORBIDDEN_V6:
        yield f"[{text}]"
        yield f"[{IPv6Address(text).exploded}]"
        yield f"[{text}%25eth0]"
        yield f"[{text}%eth0]"
    yield from ("localhost", "LOCALHOST", "localhost.", "ip6-localhost", "metadata", "intranet", "0", "0x0", "00", "")


def ipv4_forms(address: IPv4Address) -> Iterator[str]:
    """What inet_aton and lenient readers take for this address."""
    a, b, c, d = address.packed
    number = int(address)
    yield from (str(address), f"{address}.", str(number), hex(number), f"0{number:o}", f"0X{number:X}")
    yield from (f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}", f"0x{a:x}.{number & 0xFFFFFF}", f"0{a:o}.{b}.{c}.{d}")
    yield from (f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:03d}.{b:03d}.{c:03d}.{d:03d}")
    yield from (f"{a}.{b}.{c}.0x{d:x}", f"{a}.{b}.0{c:o}.{d}", f"0000{a:o}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d}.0")
    yield "".join(chr(0x2460 + int(digit) - 1) if digit in "123456789" else digit for digit in str(address))
    yield "".join(chr(0xFF10 + int(digit)) if digit.isdigit() else "。" for digit in str(address))
    yield "".join(chr(0x1D7CE + int(digit)) if digit.isdigit() else digit for digit in str(address))
    yield "".join(f"%{ord(char):02x}" for char in str(address))


def carriers(address: IPv4Address) -> Iterator[str]:
    """IPv6 addresses that bring a packet to this IPv4 address: mapped, compatible, NAT64, 6to4, Teredo, ISATAP."""
    high, low = int(address) >> 16, int(address) & 0xFFFF
    yield from (f"::ffff:{address}", f"::ffff:{high:x}:{low:x}", f"::{address}", f"64:ff9b::{address}", f"64:ff9b:1::{address}")
    yield from (f"2002:{high:x}:{low:x}::", f"2002:{high:x}:{low:x}::1", f"2001:0:{high:x}:{low:x}::1", f"::ffff:0:{address}")
    yield from (f"fe80::5efe:{address}", f"2001:4860:4860::5efe:{high:x}:{low:x}", f"2001:4860:4860::200:5efe:{high:x}:{low:x}")


def decorated(authority: str) -> Iterator[str]:
    """The same place behind what different readers take for its name."""
    front = ("user@", "user:secret@", "files.example.com@", "files.example.com:443@", "%75ser@", "a@b@")
    yield from (f"https://{one}{authority}/" for one in front)
    yield from (
        f"https://files.example.com{joint}{authority}/" for joint in ("\\@", "#@", "?@", "/\\@", "%00@", "\t@", "\r\n", " ", ";")
    )
    yield from (f"https:{slashes}{authority}/" for slashes in ("", "/", "///", "\\\\", "/\\", "\\/"))
    yield from (f"{space}https://{authority}/" for space in (" ", "\t", "\n", "\x00", "\ufeff"))
    yield from (
        f"https://{authority}{tail}" for tail in ("\\", "/\x00", "/a b", "/\r\nHost: files.example.com", "/ä", "/<", "/`", "/^")
    )
    yield from (
        f"https://{authority.rpartition(':')[0]}:{port}/"
        for port in ("0", "22", "25", "1023", "65536", "99999", "-1", "８０", "80a")
    )


def other_schemes(port: int) -> Iterator[str]:
    for scheme in ("file", "ftp", "gopher", "dict", "ldap", "data", "javascript", "ws", "wss", "unix", "s3", "jar", "netdoc"):
        yield f"{scheme}://127.0.0.1:{port}/etc/passwd"
        yield f"{scheme}:///etc/passwd"
    yield from (
        "",
        "/",
        "//",
        "://",
        "https://",
        "https:///",
        "127.0.0.1",
        "//127.0.0.1/",
        "https",
        f"https://files.example.com/{'a' * 2048}",
    )
