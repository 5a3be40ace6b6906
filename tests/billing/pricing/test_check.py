"""A card with a hole or an overlap is refused with a sentence that names it."""

import re
import tomllib
from typing import Any

import msgspec
import pytest

from billing.errors import RateCardInvalid
from billing.pricing.check import check, problems, read_card
from billing.pricing.model import FpsClass, Hours, ModelRates, Offer, RateCard, Step
from gateway.fleet.catalogue import load_models
from gateway.fleet.offers import offers
from tests.billing.pricing.cards import CARD, OFFERS, RICH, STILL
from tests.tidy.checks import ROOT


def changed(**changes: Any) -> RateCard:
    return RateCard("CNY", {"film": msgspec.structs.replace(RICH, **changes), "still": STILL})


def test_a_card_that_covers_what_is_offered() -> None:
    assert problems(CARD, OFFERS) == []
    assert check(CARD, OFFERS) is CARD


@pytest.mark.parametrize(
    "card,named",
    [
        (changed(resolution={"720p": 1}, seconds_class={}), "film: resolution has no entry for 1080p"),
        (changed(tier={"standard": 1}), "film: tier has no entry for flex"),
        (changed(task={"t2v": 1}), "film: task has no entry for i2v"),
        (changed(accelerator={}), "film: accelerator has no entry for h100"),
        (changed(audio=None), "film: audio has no factor, but the model makes sound"),
        (changed(fps=RICH.fps[:1]), "film: fps has no class for 60"),
        (changed(resolution=RICH.resolution | {"4k": 1}), "film: resolution 4k is not offered; there are: 720p, 1080p"),
        (changed(tier=RICH.tier | {"turbo": 1}), "film: tier turbo is not offered; there are: standard, flex"),
        (changed(task=RICH.task | {"v2v": 1}), "film: task v2v is not offered; there are: t2v, i2v"),
        (changed(unit="image", min_ms=0, seconds_class={}), "film: unit is image, but the model is sold by ms"),
        (RateCard("CNY", {"film": RICH}), "still: the card has no price for this model"),
        (RateCard("CNY", CARD.models | {"ghost": RICH}), "ghost: there is no such model"),
    ],
)
def test_holes(card: RateCard, named: str) -> None:
    assert problems(card, OFFERS) == [named]
    with pytest.raises(RateCardInvalid, match=re.escape(named)):
        check(card, OFFERS)


def test_an_override_may_name_only_some_models() -> None:
    assert problems(RateCard("CNY", {"film": RICH}), OFFERS, whole=False) == []
    assert problems(RateCard("CNY", {}), OFFERS, whole=False) == []
    assert problems(RateCard("CNY", {"ghost": RICH}), OFFERS, whole=False) == ["ghost: there is no such model"]
    own = RateCard("CNY", {"film": RICH})
    assert check(own, OFFERS, whole=False) is own


def test_frame_rates_up_to_the_last_class_are_priced_and_a_model_may_have_none() -> None:
    assert problems(changed(fps=(FpsClass("up to 60 fps", 1, 60),)), OFFERS) == []
    still = msgspec.structs.replace(STILL, fps=RICH.fps[:1])
    offer = msgspec.structs.replace(OFFERS["still"], fps=())
    assert problems(RateCard("CNY", {"still": still}), {"still": offer}) == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(RateCardInvalid) as refused:
        check(RateCard("CNY", {"film": msgspec.structs.replace(RICH, audio=None), "ghost": STILL}), OFFERS)
    assert refused.value.detail == (
        "ghost: there is no such model; still: the card has no price for this model; "
        "film: audio has no factor, but the model makes sound"
    )


def test_what_a_model_does_not_offer_is_named() -> None:
    still = msgspec.structs.replace(STILL, accelerator={"h100": 1})
    assert problems(RateCard("CNY", {"film": RICH, "still": still}), OFFERS) == [
        "still: accelerator h100 is not offered; there are: none"
    ]


def test_a_card_that_leaves_tasks_and_frame_rates_out_prices_them_all_alike() -> None:
    plain = ModelRates(1, {"720p": 1}, {"standard": 1})
    offer = Offer(resolutions=("720p",), tiers=("standard",), tasks=("t2v", "i2v"), fps=(24, 60), audio=False)
    assert problems(RateCard("USD", {"m": plain}), {"m": offer}) == []


NIGHT = Hours("night", "22:00", "06:00", 1)


@pytest.mark.parametrize(
    "card,named",
    [
        (RateCard("EUR", {}), "currency 'EUR' is unknown; there are: CNY, USD"),
        (changed(resolution={}, seconds_class={}), "film: resolution needs at least one entry"),
        (changed(tier={}), "film: tier needs at least one entry"),
        (changed(hours=(NIGHT, Hours("early", "05:59", "08:00", 1))), "film: hours: 'night' overlaps 'early'"),
        (changed(hours=(NIGHT, Hours("sunday", "00:00", "24:00", 1, ("sun",)))), "film: hours: 'night' overlaps 'sunday'"),
        (changed(hours=(Hours("late", "23:00", "00:01", 1, ("sun",)), Hours("dawn", "00:00", "00:01", 1, ("mon",)))), "film: hours: 'dawn' overlaps 'late'"),
        (changed(hours=(Hours("x", "06:00", "06:00", 1),)), "film: hours: 'x' holds no time; give it days, and an end that is not its start (24:00 ends a day)"),
        (changed(hours=(Hours("x", "06:00", "07:00", 1, ()),)), "film: hours: 'x' holds no time; give it days, and an end that is not its start (24:00 ends a day)"),
        (changed(fps=(FpsClass("all", 1), FpsClass("low", 1, 30))), "film: fps: 'low' overlaps 'all'; order the classes by up_to, the one without it last"),
        (changed(fps=(FpsClass("a", 1, 30), FpsClass("b", 1, 30))), "film: fps: 'b' overlaps 'a'; order the classes by up_to, the one without it last"),
        (changed(volume=(Step(20, 1), Step(20, 2))), "film: volume: a step above 20 must come before one above 20"),
        (changed(seconds_class={"4k": "x"}), "film: seconds_class names 4k, which resolution does not"),
        (RateCard("CNY", {"still": msgspec.structs.replace(STILL, min_ms=1)}), "still: min_ms and seconds_class are for models sold by the second"),
        (changed(price_micro=10**12, tier={"standard": 1_000_000}, resolution={"720p": 1_000_000}), "film: its dearest combination costs more than 1000000000000000 micro-units"),
    ],
)  # fmt: skip
def test_what_contradicts_itself(card: RateCard, named: str) -> None:
    assert named in problems(card)


def test_bands_that_touch_do_not_overlap() -> None:
    touching = (NIGHT, Hours("morning", "06:00", "12:00", 1), Hours("rest", "12:00", "22:00", 1))
    assert problems(changed(hours=touching), OFFERS) == []


@pytest.mark.parametrize(
    "line,said",
    [
        ("price_micro = 1.5", "film: Expected `int`, got `float` - at `$.price_micro`"),
        ("price_micro = 1.0", "Expected `int`, got `float`"),
        ("price_micro = nan", "Expected `int`, got `float`"),
        ("price_micro = true", "Expected `int`, got `bool`"),
        ("price_micro = -1", ">= 0"),
        ("price_micro = 1\nresolution = { 720p = 1.6 }", "film: Expected `int`, got `float` - at `$.resolution[...]`"),
        ("price_micro = 1\nresolution = { 720p = -1 }", ">= 0"),
        ("price_micro = 1\nmin_ms = 0.5", "min_ms"),
        ("price_micro = 1\ncolour = 1", "unknown field `colour`"),
        ("price_micro = 1\nunit = 'minute'", "unit"),
        ("price_micro = 1\nhours = [{ name = 'x', start = '25:00', end = '06:00', factor = 1 }]", "start"),
        ("price_micro = 1\nhours = [{ name = 'x', start = '22:00', end = '6:00', factor = 1 }]", "end"),
        ("price_micro = 1\nhours = [{ name = 'x', start = '22:00', end = '06:00', factor = 1, days = ['noday'] }]", "days"),
        ("price_micro = 1\nvolume = [{ above = 0, factor = 1 }]", "above"),
        ("price_micro = 1\nseconds_class = { 720p = 'No Class' }", "seconds_class"),
    ],
)
def test_numbers_and_names_are_read_strictly(line: str, said: str) -> None:
    rest = "".join(
        f"\n{name} = {{ {entry} }}"
        for name, entry in (("resolution", "720p = 1"), ("tier", "standard = 1"))
        if f"{name} =" not in line
    )
    with pytest.raises(RateCardInvalid) as refused:
        read_card(tomllib.loads(f"currency = 'CNY'\n[models.film]\n{line}{rest}"))
    assert said in refused.value.detail


@pytest.mark.parametrize("raw,said", [
    ({"currency": 1, "models": {}}, "Expected `str`, got `int` - at `$.currency`"),
    ({"currency": "CNY"}, "missing required field `models`"),
    ({"currency": "CNY", "models": {}, "vat": 1}, "unknown field `vat`"),
    ({"currency": "CNY", "models": 1}, "Expected `object`, got `int` - at `$.models`"),
    ([], "Expected `object`, got `array`"),
])  # fmt: skip
def test_what_is_wrong_with_a_card_and_no_model_is_named_too(raw: object, said: str) -> None:
    with pytest.raises(RateCardInvalid) as refused:
        read_card(raw)
    assert said in refused.value.detail


@pytest.mark.parametrize("wrong", [1.0, 0.5, float("nan"), True, -1, 10**13])
def test_a_card_made_in_code_is_read_as_strictly(wrong: Any) -> None:
    for card in (changed(price_micro=wrong), changed(resolution={"720p": wrong, "1080p": 1}), changed(min_ms=wrong)):
        assert len(problems(card)) == 1


def test_the_example_of_the_readme_is_a_whole_list() -> None:
    text = (ROOT / "billing" / "pricing" / "README.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (raw,) = tomllib.loads(example)["cards"]
    card = check(read_card(raw), offers(load_models("")))
    named = {field for field in ModelRates.__struct_fields__ if getattr(card.models["testcard"], field)}
    assert named == set(ModelRates.__struct_fields__) - {"accelerator"}


def test_the_dearest_price_there_may_be() -> None:
    most = ModelRates(10**12, {"720p": 1_000_000}, {"standard": 100_000})
    assert problems(RateCard("CNY", {"film": most})) == []
    assert problems(RateCard("CNY", {"film": msgspec.structs.replace(most, tier={"standard": 100_001})})) != []
