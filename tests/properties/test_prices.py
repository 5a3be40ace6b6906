"""What holds for every card, every moment and every quantity."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.kit.money import format_micro
from billing.pricing.charge import charge, maximum
from billing.pricing.check import problems
from billing.pricing.explain import explain, explain_maximum
from billing.pricing.hours import band_at
from billing.pricing.model import FACTOR_ONE, WEEK, Hours, ModelRates, RateCard, Step, Terms, decode_terms, encode_terms

factors = st.integers(0, 50_000)
quantities = st.integers(0, 10**8)
ladders = st.lists(st.tuples(st.integers(1, 10**8), factors), max_size=4, unique_by=lambda step: step[0]).map(
    lambda steps: tuple(Step(*step) for step in sorted(steps))
)
terms_made = st.builds(
    Terms,
    rate_card_id=st.just(UUID(int=1)),
    currency=st.sampled_from(["CNY", "USD"]),
    unit=st.just("ms"),
    price_micro=st.integers(0, 10**9),
    factors=st.lists(st.tuples(st.sampled_from(["1080p", "flex", "audio"]), factors), max_size=4).map(tuple),
    min_ms=st.integers(0, 10**4),
    steps=ladders,
) | st.builds(
    Terms,
    rate_card_id=st.just(UUID(int=1)),
    currency=st.just("USD"),
    unit=st.just("image"),
    price_micro=st.integers(0, 10**9),
    factors=st.lists(st.tuples(st.just("flex"), factors), max_size=2).map(tuple),
    steps=ladders,
)


def exact(terms: Terms, quantity: int, position: int, covered: int = 0) -> Fraction:
    """The charge before its rounding, unit by unit of price: an independent, obvious way to the same number."""
    rate = Fraction(terms.price_micro, 1000 if terms.unit == "ms" else 1)
    for _, factor in terms.factors:
        rate *= Fraction(factor, FACTOR_ONE)
    billed = max(max(quantity, terms.min_ms) - covered, 0) if quantity else 0
    marks = sorted({position, position + billed, *(s.above for s in terms.steps if position < s.above < position + billed)})
    total = Fraction(0)
    for start, end in pairwise(marks):
        reached = [s.factor for s in terms.steps if s.above <= start]
        total += (end - start) * rate * Fraction(reached[-1] if reached else FACTOR_ONE, FACTOR_ONE)
    return total


@given(terms_made, quantities, quantities, quantities)
def test_a_charge_is_the_exact_price_rounded_down_once(terms: Terms, quantity: int, position: int, covered: int) -> None:
    assert charge(terms, quantity, position, covered) == exact(terms, quantity, position, covered).__floor__()


@given(terms_made, quantities, quantities, quantities)
def test_a_charge_never_falls_when_the_quantity_grows(terms: Terms, first: int, second: int, position: int) -> None:
    shorter, longer = sorted((first, second))
    assert 0 <= charge(terms, shorter, position) <= charge(terms, longer, position)


@given(terms_made, quantities, quantities, quantities, quantities)
def test_what_is_held_covers_every_charge(terms: Terms, most: int, less: int, position: int, covered: int) -> None:
    held = maximum(terms, most)
    assert charge(terms, min(less, most), position, covered) <= charge(terms, min(less, most), position) <= held
    uncovered_ms = max(max(most, terms.min_ms) - covered, 0) if most else 0
    assert charge(terms, most, position, covered) <= uncovered_ms * terms.rate_max_micro // terms.unit_size


@given(terms_made, quantities, quantities, quantities)
def test_graduated_positions_add_up_to_within_the_rounding(terms: Terms, first: int, second: int, position: int) -> None:
    whole = msgspec.structs.replace(terms, min_ms=0)
    together = charge(whole, first + second, position)
    apart = charge(whole, first, position) + charge(whole, second, position + first)
    assert 0 <= together - apart <= 1


@given(terms_made, quantities, quantities, quantities)
def test_the_last_figure_of_an_explanation_is_the_amount(terms: Terms, quantity: int, position: int, covered: int) -> None:
    said = explain(terms, quantity, position, covered)
    assert said.rpartition(" = ")[2] == format_micro(charge(terms, quantity, position, covered), terms.currency)
    most = explain_maximum(terms, quantity)
    assert most.rpartition(" = ")[2] == format_micro(maximum(terms, quantity), terms.currency)


@given(terms_made)
def test_terms_survive_freezing(terms: Terms) -> None:
    assert decode_terms(encode_terms(terms)) == terms


@given(terms_made, st.floats() | st.booleans() | st.none() | st.text(max_size=3))
def test_only_whole_numbers_are_quantities(terms: Terms, wrong: int) -> None:
    for call in (lambda: charge(terms, wrong), lambda: maximum(terms, wrong), lambda: explain(terms, wrong)):
        with pytest.raises(TypeError, match="whole number"):
            call()
    for call in (lambda: charge(terms, 1, wrong), lambda: charge(terms, 1, 0, wrong)):
        with pytest.raises(TypeError, match="whole number"):
            call()


bands = st.builds(
    Hours,
    name=st.just("band"),
    start=st.integers(0, 1439).map(lambda m: f"{m // 60:02d}:{m % 60:02d}"),
    end=st.integers(1, 1440).map(lambda m: f"{m // 60:02d}:{m % 60:02d}"),
    factor=st.just(5_000),
    days=st.lists(st.sampled_from(WEEK), min_size=1, unique=True).map(tuple),
).filter(lambda band: band.start != band.end)


@given(bands, st.integers(0, 7 * 1440 - 1))
def test_a_band_is_half_open_and_belongs_to_the_day_it_began_on(band: Hours, minute: int) -> None:
    local = datetime(2026, 11, 2, tzinfo=UTC) + timedelta(minutes=minute)  # a Monday
    clock, today, yesterday = f"{local:%H:%M}", WEEK[local.weekday()], WEEK[local.weekday() - 1]
    if band.start < band.end:
        inside = today in band.days and band.start <= clock < band.end
    else:
        inside = (today in band.days and clock >= band.start) or (yesterday in band.days and clock < band.end)
    assert (band_at([band], local) is band) == inside


def minutes(band: Hours) -> set[int]:
    """The minutes of the week in it, counted one by one."""
    start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in (band.start, band.end))
    length = (end - start) % 1440 or 1440
    return {(WEEK.index(day) * 1440 + start + minute) % (7 * 1440) for day in band.days for minute in range(length)}


@given(bands, bands)
def test_bands_overlap_exactly_if_they_share_a_minute(first: Hours, second: Hours) -> None:
    rates = ModelRates(1, {"720p": 1}, {"standard": 1}, hours=(first, second))
    overlapping = any("overlaps" in problem for problem in problems(RateCard("CNY", {"m": rates})))
    assert overlapping == bool(minutes(first) & minutes(second))
