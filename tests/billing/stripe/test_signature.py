"""Only what Stripe signed, as it was sent, and now: everything else is one refusal and no other exception."""

import contextlib
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import WebhookRefused
from billing.stripe.signature import TOLERANCE, check_time, read_event
from tests.stripe.server.webhooks import FORGERIES, signature

SECRET = "whsec_test"
NOW = 1_767_225_600
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "charge.succeeded",
    "created": NOW,
    "data": {"object": {"id": "ch_1", "object": "charge"}},
}
BODY = json.dumps(EVENT, indent=2).encode()
HEADER = signature(BODY, SECRET, NOW)
Forged = tuple[bytes, str]


def signed(body: bytes, at: int = NOW) -> Forged:
    return body, signature(body, SECRET, at)


def event(**changed: object) -> bytes:
    return json.dumps({**EVENT, **changed}).encode()


def inner(**changed: object) -> bytes:
    return event(data={"object": {"id": "ch_1", "object": "charge", **changed}})


CORPUS: dict[str, Callable[[], Forged]] = {
    # re-encoded: the same words, other bytes
    "compact": lambda: (json.dumps(EVENT, separators=(",", ":")).encode(), HEADER),
    "sorted": lambda: (json.dumps(EVENT, sort_keys=True, indent=2).encode(), HEADER),
    "one more space": lambda: (BODY + b" ", HEADER),
    "one more newline": lambda: (BODY + b"\n", HEADER),
    "windows newlines": lambda: (BODY.replace(b"\n", b"\r\n"), HEADER),
    "a byte order mark": lambda: (b"\xef\xbb\xbf" + BODY, HEADER),
    "utf-16": lambda: (BODY.decode().encode("utf-16"), HEADER),
    "latin-1": lambda: (BODY.replace(b"charge", "ch\xe4rge".encode("latin-1")), HEADER),
    "gzip": lambda: (gzip.compress(BODY), HEADER),
    "escaped": lambda: (BODY.replace(b"evt_1", b"evt\\u005f1"), HEADER),
    "a key twice": lambda: (BODY.replace(b'"id": "evt_1"', b'"id": "evt_1", "id": "evt_2"'), HEADER),
    # truncated
    "empty": lambda: (b"", HEADER),
    "half": lambda: (BODY[: len(BODY) // 2], HEADER),
    "all but the last byte": lambda: (BODY[:-1], HEADER),
    "half a header": lambda: (BODY, HEADER[: len(HEADER) // 2]),
    "no header": lambda: (BODY, ""),
    # headers
    "upper case": lambda: (BODY, HEADER.upper()),
    "an upper case digest": lambda: (BODY, HEADER[:13] + HEADER[13:].upper()),
    "spaces": lambda: (BODY, HEADER.replace(",", ", ")),
    "two timestamps": lambda: (BODY, f"t={NOW}," + HEADER),
    "no timestamp": lambda: (BODY, HEADER.partition(",")[2]),
    "a fraction": lambda: (BODY, HEADER.replace(f"t={NOW}", f"t={NOW}.0")),
    "a sign": lambda: (BODY, HEADER.replace(f"t={NOW}", f"t=+{NOW}")),
    "below zero": lambda: (BODY, HEADER.replace(f"t={NOW}", f"t=-{NOW}")),
    "an underscore": lambda: (BODY, HEADER.replace(f"t={NOW}", "t=1_767_225_600")),
    "other digits": lambda: (BODY, HEADER.replace(f"t={NOW}", "t=١٧٦٧٢٢٥٦٠٠")),
    "a long number": lambda: (BODY, HEADER.replace(f"t={NOW}", "t=" + "9" * 400)),
    "a word": lambda: (BODY, HEADER.replace(f"t={NOW}", "t=now")),
    "only v0": lambda: (BODY, HEADER.replace("v1", "v0")),
    "v1 without a value": lambda: (BODY, f"t={NOW},v1="),
    "v1 of another length": lambda: (BODY, HEADER + "0"),
    "v1 that is no hex": lambda: (BODY, f"t={NOW},v1=" + "g" * 64),
    "v1 in other letters": lambda: (BODY, f"t={NOW},v1=" + "é" * 64),
    "a thousand signatures": lambda: (BODY, f"t={NOW}," + ",".join(["v1=" + "0" * 64] * 1000)),
    "NUL": lambda: (BODY, HEADER + "\0"),
    "another secret": lambda: (BODY, signature(BODY, SECRET + "x", NOW)),
    "an empty secret": lambda: (BODY, signature(BODY, "", NOW)),
    "another time": lambda: (BODY, HEADER.replace(str(NOW), str(NOW + 1))),
    "another event": lambda: (event(id="evt_2"), HEADER),
    # rightly signed, and still no event
    "not JSON": lambda: signed(b"not json"),
    "not UTF-8": lambda: signed(b"\xff\xfe" + BODY),
    "a list": lambda: signed(b"[]"),
    "null": lambda: signed(b"null"),
    "a number": lambda: signed(b"1"),
    "half, signed": lambda: signed(BODY[:-2]),
    "a lone surrogate": lambda: signed(BODY.replace(b"evt_1", b"\\ud800")),
    "NUL in the id": lambda: signed(BODY.replace(b"evt_1", b"evt_\\u0000")),
    "a very deep list": lambda: signed(BODY.replace(b'"evt_1"', b"[" * 100_000 + b"]" * 100_000)),
    "no id": lambda: signed(event(id=None)),
    "an id that is a number": lambda: signed(event(id=1)),
    "an id with a newline": lambda: signed(event(id="evt_1\n")),
    "an id that is a path": lambda: signed(event(id="../evt")),
    "a long id": lambda: signed(event(id="e" * 10_000)),
    "an empty type": lambda: signed(event(type="")),
    "a type with a quote": lambda: signed(event(type="a'; --")),
    "no time": lambda: signed(event(created=None)),
    "a time that is text": lambda: signed(event(created="now")),
    "a time below zero": lambda: signed(event(created=-1)),
    "a time after all time": lambda: signed(event(created=10**18)),
    "a fraction of a second": lambda: signed(event(created=1.5)),
    "no data": lambda: signed(event(data=None)),
    "data that is a list": lambda: signed(event(data=[])),
    "no object": lambda: signed(event(data={})),
    "an object without a kind": lambda: signed(inner(object=None)),
    "an object whose id is a path": lambda: signed(inner(id="ch_1/../../customers")),
    "an object whose id is a query": lambda: signed(inner(id="ch_1?expand=x")),
    "too long": lambda: signed(BODY + b" " * (1 << 20)),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_malformed_is_refused(name: str) -> None:
    body, header = CORPUS[name]()
    with pytest.raises(WebhookRefused):
        read_event(body, header, SECRET)


@pytest.mark.parametrize("how", FORGERIES)
def test_what_is_forged_is_refused(how: str) -> None:
    body, headers = FORGERIES[how](BODY, SECRET, NOW)
    with pytest.raises(WebhookRefused):
        check_time(read_event(body, headers.get("stripe-signature", ""), SECRET), datetime.fromtimestamp(NOW, UTC))


def test_what_is_signed_is_read() -> None:
    read = read_event(BODY, HEADER, SECRET)
    assert (read.event.id, read.event.data.object.id, read.body) == ("evt_1", "ch_1", BODY)
    # While a secret is rolled over, Stripe signs with both.
    assert read_event(BODY, f"{HEADER},v1={'0' * 64},v0=x", SECRET).event.id == "evt_1"


@pytest.mark.parametrize("past", [TOLERANCE, -TOLERANCE])
def test_clocks_may_differ_a_little_in_either_direction(past: timedelta) -> None:
    read = read_event(BODY, HEADER, SECRET)
    at = datetime.fromtimestamp(NOW, UTC) + past
    check_time(read, at)
    with pytest.raises(WebhookRefused):
        check_time(read, at + timedelta(seconds=1 if past > timedelta() else -1))


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(WebhookRefused):
        read_event(BODY, signature(BODY, "", NOW), "")


@given(body=st.binary(max_size=300), header=st.text(max_size=200))
def test_any_bytes_and_any_header_are_refused_and_nothing_else(body: bytes, header: str) -> None:
    with pytest.raises(WebhookRefused):
        read_event(body, header, SECRET)


@given(at=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_one_wrong_bit_is_noticed(at: int, bit: int) -> None:
    wrong = bytearray(BODY)
    wrong[at] ^= 1 << bit
    with pytest.raises(WebhookRefused):
        read_event(bytes(wrong), HEADER, SECRET)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inside: st.lists(inside) | st.dictionaries(st.sampled_from(["id", "type", "created", "data", "object"]), inside),
        max_leaves=12,
    )
)
def test_any_document_that_is_rightly_signed_is_an_event_or_refused(document: object) -> None:
    body = json.dumps(document).encode()
    with contextlib.suppress(WebhookRefused):
        read_event(body, signature(body, SECRET, NOW), SECRET)
