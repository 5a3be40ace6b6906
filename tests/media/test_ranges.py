import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.ranges import (
    ByteRange,
    RangeOutcome,
    entity_tag,
    is_not_modified,
    parse_range,
    range_still_applies,
    unsatisfied_content_range,
)

WHOLE, UNSATISFIABLE = RangeOutcome.WHOLE, RangeOutcome.UNSATISFIABLE


@pytest.mark.parametrize(
    "header, expected",
    [
        (None, WHOLE),
        ("", WHOLE),
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-99", ByteRange(0, 100)),
        ("bytes=0-9999", ByteRange(0, 100)),
        ("bytes=90-", ByteRange(90, 100)),
        ("bytes=-10", ByteRange(90, 100)),
        ("bytes=-1000", ByteRange(0, 100)),
        ("BYTES = 5-6", ByteRange(5, 7)),
        ("bytes=,5-6,", ByteRange(5, 7)),
        ("bytes=100-", UNSATISFIABLE),
        ("bytes=100-200", UNSATISFIABLE),
        ("bytes=-0", UNSATISFIABLE),
        ("bytes=9-5", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=0-1,5-6", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=0-1x", WHOLE),
        ("bytes=+0-1", WHOLE),
        ("bytes=٠-١", WHOLE),
        ("bytes 0-1", WHOLE),
        ("seconds=0-1", WHOLE),
        ("bytes=" + "9" * 5000 + "-", WHOLE),
    ],
)
def test_headers(header: str | None, expected: object) -> None:
    assert parse_range(header, 100) == expected


@given(size=st.integers(0, 500), first=st.integers(0, 600), last=st.integers(0, 600))
def test_a_closed_range_gives_exactly_the_bytes_that_both_sides_have(size: int, first: int, last: int) -> None:
    wanted = set(range(first, last + 1)) & set(range(size))
    match parse_range(f"bytes={first}-{last}", size):
        case ByteRange(start, end):
            assert set(range(start, end)) == wanted != set()
        case RangeOutcome.UNSATISFIABLE:
            assert first <= last
            assert not wanted
        case RangeOutcome.WHOLE:
            assert last < first


@given(size=st.integers(0, 500), length=st.integers(0, 600))
def test_a_suffix_gives_the_last_bytes(size: int, length: int) -> None:
    content = bytes(index % 251 for index in range(size))
    match parse_range(f"bytes=-{length}", size):
        case ByteRange(start, end):
            assert content[start:end] == content[-length:] != b""
        case outcome:
            assert outcome is UNSATISFIABLE
            assert not size or not length


@given(header=st.text(max_size=40), size=st.integers(0, 1000))
def test_no_header_breaks_it(header: str, size: int) -> None:
    for text in (header, "bytes=" + header):
        match parse_range(text, size):
            case ByteRange(start, end):
                assert 0 <= start < end <= size
            case RangeOutcome():
                pass


def test_content_range() -> None:
    assert ByteRange(0, 10).content_range(100) == "bytes 0-9/100"
    assert unsatisfied_content_range(100) == "bytes */100"


def test_entity_tags() -> None:
    etag = entity_tag("ab" * 32)
    assert etag == f'"{"ab" * 32}"'
    assert range_still_applies(None, etag)
    assert range_still_applies(etag, etag)
    assert not range_still_applies("W/" + etag, etag)
    assert not range_still_applies('"other"', etag)
    assert not range_still_applies("Wed, 21 Oct 2026 07:28:00 GMT", etag)
    assert is_not_modified(etag, etag)
    assert is_not_modified("W/" + etag, etag)
    assert is_not_modified(f'"a", {etag}', etag)
    assert is_not_modified("*", etag)
    assert not is_not_modified(None, etag)
    assert not is_not_modified('"a", "b"', etag)
    assert not is_not_modified(etag.strip('"'), etag)
