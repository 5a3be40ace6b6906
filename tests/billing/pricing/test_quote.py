"""Each dimension finds its factor, each charge its explanation."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from billing.errors import PriceMissing
from billing.pricing.charge import charge, maximum
from billing.pricing.explain import explain, explain_maximum
from billing.pricing.model import Dimensions, Hours, ModelRates, RateCard, Step, Terms
from billing.pricing.quote import quote, terms
from tests.billing.pricing.cards import NIGHT, RICH, book, film


@pytest.mark.parametrize(
    "wanted,factors",
    [
        ({}, ()),
        ({"resolution": "1080p"}, (("1080p", 16_000),)),
        ({"tier": "flex"}, (("flex", 5_000),)),
        ({"audio": True}, (("audio", 12_500),)),
        ({"task": "i2v"}, (("i2v", 11_000),)),
        ({"fps": 30}, ()),
        ({"fps": 31}, (("over 30 fps", 15_000),)),
        ({"accelerator": "h100"}, (("h100", 20_000),)),
    ],
)
def test_a_dimension_brings_its_factor(wanted: dict[str, Any], factors: tuple[tuple[str, int], ...]) -> None:
    assert terms(book(), film(**wanted)).factors == factors


@pytest.mark.parametrize(
    "wanted,named",
    [
        ({"resolution": "4k"}, "film with resolution 4k"),
        ({"tier": "priority"}, "film with tier priority"),
        ({"task": "ref2v"}, "film with task ref2v"),
        ({"accelerator": "910b"}, "film with accelerator 910b"),
    ],
)
def test_what_has_no_price_is_named(wanted: dict[str, Any], named: str) -> None:
    with pytest.raises(PriceMissing, match=named):
        terms(book(), film(**wanted))


def test_sound_and_frame_rates_that_are_not_sold() -> None:
    bare = RateCard("CNY", {"film": ModelRates(1, {"720p": 10_000}, {"standard": 10_000}, fps=RICH.fps[:1])})
    assert terms(book(bare), film()).price_micro == 1
    for wanted, named in ((film(audio=True), "film with audio"), (film(fps=60), "film with 60 fps")):
        with pytest.raises(PriceMissing, match=named):
            terms(book(bare), wanted)


def test_a_customer_without_a_card_in_its_currency_is_refused() -> None:
    with pytest.raises(PriceMissing, match="film in CNY"):
        terms(book(None), film())


def test_own_prices_come_first_and_the_list_fills_their_gaps() -> None:
    own = RateCard("CNY", {"film": ModelRates(500_000, {"720p": 10_000}, {"standard": 10_000})})
    mine = terms(book(own=own), film())
    assert (mine.rate_card_id, mine.price_micro, mine.min_ms) == (UUID(int=2), 500_000, 0)
    other = terms(book(own=own), Dimensions("still", "t2v", "1080p", 1, "standard", unit="image"))
    assert (other.rate_card_id, other.price_micro) == (UUID(int=1), 200_000)
    with pytest.raises(PriceMissing):  # a model's own prices replace all of the list's
        terms(book(own=own), film(tier="flex"))


def test_a_model_that_neither_card_names_has_no_price() -> None:
    own = RateCard("CNY", {"film": RICH})
    with pytest.raises(PriceMissing, match="ghost in CNY"):
        terms(book(own=own), Dimensions("ghost", "t2v", "720p", 24, "standard"))
    assert book(own=own).rates("ghost") is None


def test_images_are_priced_by_the_image() -> None:
    found = quote(book(), Dimensions("still", "t2v", "1080p", 1, "standard", unit="image"), 3)
    assert (found.terms.unit, found.terms.min_ms, found.terms.seconds_class, found.terms.volume_key) == ("image", 0, "", "")
    assert found.amount_micro == charge(found.terms, 3) == 600_000
    assert found.explanation == "3 images × ¥0.20 = ¥0.60"


def test_milliseconds_are_never_counted_as_images_nor_images_as_milliseconds() -> None:
    with pytest.raises(PriceMissing, match="still by the second"):
        terms(book(), Dimensions("still", "t2v", "1080p", 1, "standard"))
    with pytest.raises(PriceMissing, match="film by the image"):
        terms(book(), msgspec.structs.replace(film(), unit="image"))


def test_terms_carry_what_a_later_charge_needs() -> None:
    found = terms(book(), film())
    assert (found.currency, found.unit, found.min_ms, found.steps) == ("CNY", "ms", 2_000, RICH.volume)
    assert (found.volume_key, found.seconds_class) == ("2026-11/film", "film-720p")
    assert terms(book(), film(resolution="1080p")).seconds_class == ""


@pytest.mark.parametrize(
    "at,time_zone,month",
    [
        ("2026-11-30T15:59:59+00:00", "Asia/Shanghai", "2026-11"),
        ("2026-11-30T16:00:00+00:00", "Asia/Shanghai", "2026-12"),
        ("2026-12-01T04:59:59+00:00", "America/New_York", "2026-11"),
        ("2026-07-01T03:59:59+00:00", "America/New_York", "2026-06"),  # an hour earlier in summer
        ("2026-07-01T04:00:00+00:00", "America/New_York", "2026-07"),
        ("2026-07-31T18:15:00+00:00", "Asia/Kathmandu", "2026-08"),
    ],
)
def test_volume_is_counted_by_the_month_of_the_customers_clock(at: str, time_zone: str, month: str) -> None:
    moment = datetime.fromisoformat(at)
    assert terms(book(at=moment, time_zone=time_zone), film()).volume_key == f"{month}/film"


@pytest.mark.parametrize(
    "at,time_zone,cheap",
    [
        ("2026-11-25T13:59:59+00:00", "Asia/Shanghai", False),
        ("2026-11-25T14:00:00+00:00", "Asia/Shanghai", True),  # 22:00 is in
        ("2026-11-25T21:59:59+00:00", "Asia/Shanghai", True),
        ("2026-11-25T22:00:00+00:00", "Asia/Shanghai", False),  # 06:00 is out
        ("2026-03-29T20:30:00+00:00", "Europe/Berlin", True),  # 22:30 in summer time, from this day on
        ("2026-03-28T20:30:00+00:00", "Europe/Berlin", False),  # 21:30 the day before
        ("2026-10-25T04:30:00+00:00", "Europe/Berlin", True),  # 05:30, after the hour that came twice
        ("2026-10-24T04:30:00+00:00", "Europe/Berlin", False),  # 06:30
        ("2026-11-25T04:29:00+00:00", "Asia/Kolkata", False),
        ("2026-11-25T16:30:00+00:00", "Asia/Kolkata", True),
    ],
)
def test_hours_are_those_of_the_customers_clock(at: str, time_zone: str, cheap: bool) -> None:
    found = terms(book(at=datetime.fromisoformat(at), time_zone=time_zone), film())
    assert found.factors == ((("off-peak", 7_000),) if cheap else ())


@pytest.mark.parametrize(
    "day,hour,cheap",
    [(6, 21, False), (6, 22, True), (7, 5, True), (7, 6, False), (7, 22, False), (8, 5, False)],
)  # fmt: skip
def test_a_band_past_midnight_belongs_to_the_day_it_began_on(day: int, hour: int, cheap: bool) -> None:
    friday = Hours("friday night", "22:00", "06:00", 7_000, ("fri",))
    card = RateCard("CNY", {"film": ModelRates(1, {"720p": 10_000}, {"standard": 10_000}, hours=(friday,))})
    at = datetime(2026, 11, day, hour, tzinfo=UTC)  # the 6th is a Friday
    assert bool(terms(book(card, at=at, time_zone="UTC"), film()).factors) == cheap


@pytest.mark.parametrize("clock,cheap", [("12:29", False), ("12:30", True), ("13:44", True), ("13:45", False)])
def test_a_band_may_begin_and_end_at_any_minute(clock: str, cheap: bool) -> None:
    lunch = Hours("lunch", "12:30", "13:45", 7_000)
    card = RateCard("CNY", {"film": ModelRates(1, {"720p": 10_000}, {"standard": 10_000}, hours=(lunch,))})
    at = datetime.fromisoformat(f"2026-11-06T{clock}:59+00:00")
    assert bool(terms(book(card, at=at, time_zone="UTC"), film()).factors) == cheap


def made(**changes: Any) -> Terms:
    plain = Terms(rate_card_id=UUID(int=1), currency="CNY", price_micro=1_000_000)
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    "changes,quantity,position,covered,said",
    [
        ({}, 8_000, 0, 0, "8.000 s × ¥1.00 = ¥8.00"),
        ({"factors": (("1080p", 16_000), ("flex", 5_000))}, 8_000, 0, 0, "8.000 s × ¥1.00 × 1080p 1.6 × flex 0.5 = ¥6.40"),
        ({"min_ms": 5_000}, 3_000, 0, 0, "5.000 s (minimum 5.000 s for 3.000 s) × ¥1.00 = ¥5.00"),
        ({"min_ms": 5_000}, 0, 0, 0, "0.000 s × ¥1.00 = ¥0.00"),
        ({}, 8_000, 0, 3_000, "5.000 s (3.000 s prepaid) × ¥1.00 = ¥5.00"),
        ({"min_ms": 5_000}, 3_000, 0, 4_000, "1.000 s (minimum 5.000 s for 3.000 s, 4.000 s prepaid) × ¥1.00 = ¥1.00"),
        ({}, 8_000, 0, 9_000, "0.000 s (8.000 s prepaid) × ¥1.00 = ¥0.00"),
        ({"steps": RICH.volume}, 8_000, 0, 0, "8.000 s × ¥1.00 = ¥8.00"),
        ({"steps": RICH.volume}, 8_000, 10_000, 0, "8.000 s × ¥1.00 × volume 0.9 = ¥7.20"),
        ({"steps": RICH.volume}, 8_000, 8_000, 0, "(2.000 s + 6.000 s × volume 0.9) × ¥1.00 = ¥7.40"),
        ({"steps": RICH.volume, "factors": (("flex", 5_000),)}, 16_000, 8_000, 0,
         "(2.000 s + 10.000 s × volume 0.9 + 4.000 s × volume 0.8) × ¥1.00 × flex 0.5 = ¥7.10"),
        ({"unit": "image", "currency": "USD"}, 1, 0, 0, "1 image × $1.00 = $1.00"),
        ({"unit": "image", "currency": "USD", "factors": (("flex", 3_333),)}, 3, 0, 0, "3 images × $1.00 × flex 0.3333 = $0.9999"),
        ({"price_micro": 1}, 1_500, 0, 0, "1.500 s × ¥0.000001 = ¥0.000001"),
    ],
)  # fmt: skip
def test_explanations(changes: dict[str, Any], quantity: int, position: int, covered: int, said: str) -> None:
    assert explain(made(**changes), quantity, position, covered) == said


def test_an_estimate_promises_no_step_and_fears_every_dearer_one() -> None:
    cheaper, dearer = made(steps=RICH.volume), made(steps=(Step(10_000, 20_000),))
    assert (maximum(cheaper, 8_000), maximum(dearer, 8_000)) == (8_000_000, 16_000_000)
    assert explain_maximum(dearer, 8_000) == "8.000 s × ¥1.00 × volume 2 = ¥16.00"
    assert explain_maximum(made(min_ms=5_000), 3_000) == "5.000 s (minimum 5.000 s for 3.000 s) × ¥1.00 = ¥5.00"


def test_a_quote_holds_the_maximum_and_says_so() -> None:
    found = quote(book(at=NIGHT), film(resolution="1080p", tier="flex", audio=True), 8_000)
    assert found.amount_micro == charge(found.terms, 8_000) == 5_600_000
    assert found.explanation == "8.000 s × ¥1.00 × 1080p 1.6 × audio 1.25 × flex 0.5 × off-peak 0.7 = ¥5.60"
    assert (found.terms.rate_micro, found.terms.rate_max_micro) == (700_000, 700_000)


def test_nothing_is_rounded_before_the_end() -> None:
    uneven = made(price_micro=100_001, factors=(("a", 3_333), ("b", 3_333), ("c", 3_333)))
    assert charge(uneven, 10_000_000) == 100_001 * 3_333**3 * 10_000 // 10_000**3 == 37_026_297
    assert (uneven.rate_micro, uneven.rate_max_micro) == (3_702, 3_703)


def test_negative_quantities_are_refused() -> None:
    for call in (lambda: charge(made(), -1), lambda: charge(made(), 1, -1), lambda: charge(made(), 1, 0, -1)):
        with pytest.raises(ValueError, match="not negative"):
            call()


@pytest.mark.parametrize("wrong", [1.0, 0.5, True, "8", None])
def test_a_quantity_that_is_no_whole_number_is_named(wrong: Any) -> None:
    for call in (lambda: charge(made(), wrong), lambda: charge(made(), 1, wrong), lambda: charge(made(), 1, 0, wrong)):
        with pytest.raises(TypeError, match=f"a whole number of milliseconds or images, not {wrong!r}"):
            call()


def test_a_step_begins_behind_its_bound() -> None:
    halved = made(steps=(Step(1_000, 5_000),))
    assert [charge(halved, quantity) for quantity in (1_000, 1_001, 1_002)] == [1_000_000, 1_000_500, 1_001_000]
    assert [charge(halved, 1, position) for position in (999, 1_000)] == [1_000, 500]
    assert explain(halved, 1_000) == "1.000 s × ¥1.00 = ¥1.00"


@pytest.mark.parametrize(
    "want,paid_by",
    [
        (film(), "film-720p"),
        (film(tier="flex"), "film-720p"),
        (film(resolution="1080p"), ""),  # no class is named for it
        (film(audio=True), ""),
        (film(fps=60), ""),
        (film(task="i2v"), ""),
        (film(accelerator="h100"), ""),
    ],
)
def test_prepaid_seconds_pay_for_plain_seconds_and_not_for_a_surcharge(want: Dimensions, paid_by: str) -> None:
    assert terms(book(), want).seconds_class == paid_by
