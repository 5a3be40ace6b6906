"""A price file is measured by what the models offer; what is wrong with it is named."""

from pathlib import Path

import msgspec
import pytest

from gateway.fleet.catalogue import PACKAGED, CatalogueError, load_models
from gateway.fleet.offers import load_plans, load_prices, offers, read_prices
from gateway.video import ModelLimits, Role, resolution_classes, task_of, tasks

LIST = (PACKAGED / "prices.toml").read_text()
TESTCARD = load_models("").by_name()["testcard"]


def test_the_packaged_list_has_no_holes() -> None:
    assert [card.currency for card in load_prices("")] == ["CNY", "USD"]
    offer = offers(load_models(""))["testcard"]
    assert (offer.resolutions, offer.tasks) == (("480p", "720p", "1080p"), ("t2v", "i2v", "flf2v", "ref2v"))


@pytest.mark.parametrize(
    "before,after,named",
    [
        (", flex = 5_000", "", "CNY: testcard: tier has no entry for flex"),
        ("1080p = 16_000 }", "1440p = 16_000 }", "CNY: testcard: resolution has no entry for 1080p"),
        ("audio = 12_500\n", "", "CNY: testcard: audio has no factor"),
        ('{ name = "over 30 fps", factor = 12_500 }', "", "CNY: testcard: fps has no class for 60"),
        ("price_micro = 1_000_000", "price_micro = 1.0", "testcard: Expected `int`, got `float` - at `$.price_micro`"),
        ("480p = 7_500", "480p = -1", "Expected `int` >= 0"),
        ('"CNY"', '"EUR"', "EUR: currency 'EUR' is unknown; there are: CNY, USD"),
        ('"USD"', '"CNY"', "CNY: two cards in one file"),
        ("testcard]", "testcart]", "CNY: testcart: there is no such model"),
        ("testcard]", "testcart]", "CNY: testcard: the card has no price for this model"),
        ("audio", "audoi", "unknown field `audoi`"),
        ("audio", "[", "Invalid"),
    ],
)
def test_what_is_wrong_with_a_list(tmp_path: Path, before: str, after: str, named: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(LIST.replace(before, after))
    with pytest.raises(CatalogueError) as refused:
        read_prices(path, "", whole=True)
    assert str(path) in str(refused.value) and named in str(refused.value)


@pytest.mark.parametrize("name", ["studio", "free", "pack-1000"])
def test_seconds_that_no_price_uses_are_not_offered(tmp_path: Path, name: str) -> None:
    for file in ("models.toml", "prices.toml"):
        (tmp_path / file).write_text((PACKAGED / file).read_text())
    first, *rest = (PACKAGED / "plans.toml").read_text().split(f'name = "{name}"\n')
    changed = [part.replace('seconds_class = "standard"', 'seconds_class = "standrad"', 1) for part in rest]
    (tmp_path / "plans.toml").write_text(f'name = "{name}"\n'.join([first, *changed]))
    with pytest.raises(CatalogueError, match=f"plans.toml: {name}: no price uses seconds of the class standrad"):
        load_plans(str(tmp_path))


@pytest.mark.parametrize(
    "edges,pixels_max,classes",
    [
        ((64, 1920), 2_088_960, ("480p", "720p", "1080p")),
        ((64, 832), 480 * 832, ("480p",)),
        ((720, 1280), 1280 * 720, ("720p",)),
        ((64, 700), 2_088_960, ("480p", "720p")),
    ],
)
def test_resolution_classes_a_model_can_reach(edges: tuple[int, int], pixels_max: int, classes: tuple[str, ...]) -> None:
    least, most = edges
    limits = msgspec.structs.replace(TESTCARD, edge_min=least, edge_max=most, pixels_max=pixels_max)
    assert resolution_classes(limits) == classes


@pytest.mark.parametrize(
    "roles,named",
    [
        ((), ("t2v",)),
        (("first_frame",), ("t2v", "i2v")),
        (("last_frame",), ("t2v", "i2v")),
        (("first_frame", "last_frame"), ("t2v", "i2v", "flf2v")),
        (("reference",), ("t2v", "ref2v")),
    ],
)
def test_tasks_a_model_can_do(roles: tuple[Role, ...], named: tuple[str, ...]) -> None:
    limits: ModelLimits = msgspec.structs.replace(TESTCARD, roles=roles)
    assert tasks(limits) == named


@pytest.mark.parametrize(
    "roles,task", [((), "t2v"), (("first_frame", "reference"), "ref2v"), (("last_frame", "first_frame"), "flf2v")]
)
def test_references_decide_before_frames(roles: tuple[Role, ...], task: str) -> None:
    assert task_of(roles) == task
