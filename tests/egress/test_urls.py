"""Whatever is written as a URL is refused with a sentence or means one thing."""

from ipaddress import ip_address

import httpx
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.egress.addresses import refusal
from gateway.egress.errors import UrlRefused
from gateway.egress.urls import URL_MAX, parse
from tests.egress import corpus

PIECES = st.sampled_from(
    ["https://", "http://", "HTTPS:", "//", "/", "\\", "@", ":", "?", "#", "[", "]", "%", "%2f", "%00", ".", "。", "0x7f", "127.0.0.1",
     "::1", "localhost", "example.com", "xn--", "ß", "\u200d", "\x00", "\t", "\n", " ", "443", "99999", "-", "_", "a" * 64, "é", "①"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join), st.sampled_from(sorted(set(corpus.urls(8080)))))


@given(TEXTS)
@example("https://example.com/" + "a" * URL_MAX)
@example("https://①②⑦.⓪.⓪.①/")
def test_it_is_refused_or_read_as_every_reader_reads_it(text: str) -> None:
    try:
        target = parse(text, schemes=("https", "http"))
    except UrlRefused:
        return
    again = httpx.URL(f"{target.scheme}://{target.authority}{target.path}")
    assert (again.scheme, again.host.strip("[]"), again.port or {"https": 443, "http": 80}[target.scheme]) == (
        target.scheme, target.host, target.port,
    )  # fmt: skip
    assert again.raw_path.decode() == target.path
    assert parse(str(again), schemes=("https", "http")) == target


@given(st.ip_addresses())
def test_an_address_that_is_reached_is_public_in_its_own_family(address: object) -> None:
    found = ip_address(str(address))
    if refusal(found) is None:
        assert not (found.is_private or found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified)
        assert getattr(found, "ipv4_mapped", None) is None and getattr(found, "sixtofour", None) is None
