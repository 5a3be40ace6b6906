"""The published demand curve: other processes quote as the leader would, and no more than a bounded part too much."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fleet.policy.curve import DemandCurve, Quoter
from gateway.fleet.policy.parameters import DEFAULT
from tests.fleet.policy.fleets import SMALL, cheap, job, scheduler

ASK = ("o", SMALL, "480p", 5.0)


def test_a_published_curve_survives_the_wire_and_quotes_like_the_leader() -> None:
    one = scheduler(*cheap(20, SMALL))
    for number in range(300):
        quote = one.quote(f"o{number % 40}", SMALL, "480p", 5.0, "standard", 0.0)
        if quote.start_s is not None:
            one.submit(job(number, organization=f"o{number % 40}", within=quote.start_s))
    encoded = msgspec.msgpack.encode(one.publish(7, 0.0))
    quoter = Quoter(msgspec.msgpack.decode(encoded, type=DemandCurve), 1.0, DEFAULT)
    for tier in ("priority", "standard", "flex"):
        mine, leaders = quoter.quote(*ASK, tier, 0.0), one.quote(*ASK, tier, 0.0)
        assert mine.start_s is not None
        assert leaders.start_s is not None
        assert leaders.start_s <= mine.start_s <= 1.2 * leaders.start_s  # the short copy has fewer points, and rounds up
        assert mine.confidence == leaders.confidence
    assert len(encoded) < 64_000


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 8), st.lists(st.sampled_from(["priority", "standard", "flex"]), max_size=250))
def test_between_two_publications_no_more_is_promised_than_there_is_room_for_and_a_job_in_each_process(
    processes: int, asked: list[Any]
) -> None:
    one = scheduler(*cheap(4, SMALL))
    curve = one.publish(1, 0.0)
    quoters = [Quoter(curve, 1 / processes, DEFAULT) for _ in range(processes)]
    for number, tier in enumerate(asked):
        quoter = quoters[number % processes]
        quote = quoter.quote(f"o{number}", SMALL, "480p", 5.0, tier, 0.0)
        if quote.start_s is not None:
            quoter.promised(f"o{number}", SMALL, "480p", 5.0, tier, quote.start_s)
            one.submit(job(number, organization=f"o{number}", tier=tier, within=quote.start_s))
    work = one.state.plan.omega[one.state.fleet.class_index[SMALL, "480p"]] * 5.0
    # `room` was drawn without these jobs, and each promise was taken off it.
    assert one.state.ledger.room[0, 0].min() >= -processes * work - 1e-6


def test_an_organization_far_ahead_is_promised_its_share_and_another_the_target() -> None:
    one = scheduler(*cheap(20, SMALL))
    for number in range(200):
        one.asked("many", SMALL, "480p", 5.0, "standard", 0.0)
        one.asked(f"o{number % 50}", SMALL, "480p", 5.0, "standard", 0.0)
    for number in range(100):
        quote = one.quote("many", SMALL, "480p", 5.0, "standard", 0.0)
        if quote.start_s is not None:
            one.submit(job(number, organization="many", within=quote.start_s))
    one.tick(60.0)
    quoter = Quoter(one.publish(1, 60.0), 1.0, DEFAULT)
    for quotes in (one, quoter):
        mine, theirs = (
            quotes.quote("many", SMALL, "480p", 5.0, "standard", 60.0),
            quotes.quote("few", SMALL, "480p", 5.0, "standard", 60.0),
        )
        assert mine.start_s is None or mine.start_s > 600
        assert theirs.start_s == 600


def test_without_a_chip_nothing_is_promised() -> None:
    one = scheduler(*cheap(1, SMALL))
    one.replica_down("cheap-0", 1.0)
    one.tick(1.0)
    assert one.quote(*ASK, "standard", 1.0).start_s is None
    assert Quoter(one.publish(1, 1.0), 1.0, DEFAULT).quote(*ASK, "standard", 1.0).start_s is None
