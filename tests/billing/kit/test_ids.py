"""Ids: in the order of time, or the one that something may ever have."""

import time
from uuid import UUID, uuid4

from billing.kit.ids import derived_after, derived_id, new_id


def test_a_new_id_says_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id() for _ in range(100)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == 100
    for one in made:
        assert before <= one.int >> 80 <= after
        assert (one.version, one.variant) == (7, "specified in RFC 4122")


def test_a_derived_id_never_changes() -> None:
    """Stored rows have these ids: another way to derive them would book everything a second time."""
    source = UUID("0190a0b0-c0d0-7000-8000-000000000001")
    assert derived_id("top_up", "payment-1") == UUID("8daec818-40cc-55e4-a4ff-d8573216d147")
    assert derived_id("account", source, "paid") == UUID("146dac71-93fc-5368-881f-3bc4dec2c83a")
    assert derived_after("capture", source) == UUID("0190a0b0-c0d0-872d-b776-8afb5b5071cc")


def test_kind_source_and_step_tell_derived_ids_apart() -> None:
    one, other = uuid4(), uuid4()
    made = [derived_id(kind, source, step) for kind in "ab" for source in (one, other, "one") for step in ("", "x")]
    assert len(set(made)) == len(made)
    assert len({derived_after(kind, source) for kind in "ab" for source in (one, other)}) == 4


def test_an_id_derived_after_another_stands_beside_it() -> None:
    source = new_id()
    made = [derived_after(f"kind {n}", source) for n in range(64)]
    assert {one.int >> 80 for one in made} == {source.int >> 80}
    assert {(one.version, one.variant) for one in made} == {(8, "specified in RFC 4122")}
    assert {one.int & 1 for one in made} == {0, 1}
