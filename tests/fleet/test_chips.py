"""The catalogue of accelerators and speeds: what is shipped, and every mistake named with its file and entry."""

import shutil
from pathlib import Path

import pytest

from gateway.fleet.catalogue import PACKAGED, CatalogueError, load_models
from gateway.fleet.chips import fleet_of, load_chips

PRICED = ("h100", "a100", "rtx4090")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("models.toml", "accelerators.toml", "speeds.toml"):
        shutil.copy(PACKAGED / name, tmp_path / name)
    return tmp_path


def test_what_is_shipped_is_sound_and_sourced() -> None:
    chips = load_chips("")
    assert all(one.source for one in chips.speeds)
    assert all(one.provenance == "estimated" for one in chips.speeds if one.resolution == "1080p")
    assert {one.name for one in chips.accelerators if not one.calibrated} >= {"ascend910b", "mi300x", "mlu370x8"}
    assert all(one.price_source and one.price_date for one in chips.accelerators if one.price_micro_usd_per_hour)
    assert max(model.seconds_max for model in chips.models) == 120


def test_only_what_is_offered_can_be_asked_for() -> None:
    assert set(load_models("").by_name()) == {"testcard"}


def test_an_untimed_chip_starts_from_a_guess_that_nobody_trusts() -> None:
    fleet = fleet_of(load_chips(""), {"h100": 2_700_000, "ascend910b": 1_000_000})
    c, a = fleet.class_index["hunyuanvideo", "720p"], fleet.pool_index["ascend910b"]
    assert fleet.speed[c][a] > 334
    assert not fleet.trusted[c][a]
    too_large = fleet.class_index["wan2.2-t2v-a14b", "720p"]
    assert fleet.speed[too_large][a] == float("inf")


CASES = [
    ("accelerators.toml", "memory_gib = 80\nprice_micro_usd_per_hour = 2_700_000", "memory_gib = 80\nprice_micro_usd_per_hour = -1", "accelerators h100: a price must be positive"),
    ("accelerators.toml", "price_micro_usd_per_hour = 2_700_000", "price_micro_usd_per_hour = 2.7", "accelerators h100: Expected `int | null`, got `float`"),
    ("accelerators.toml", "price_micro_usd_per_hour = 2_700_000", "price_micro_usd_per_hour = 9_700_000", "accelerators h100: price_micro_usd_per_hour must lie between"),
    ("accelerators.toml", 'name = "h200"', 'name = "h100"', "accelerators h100: is listed twice"),
    ("accelerators.toml", 'name = "h200"', 'name = "h200"\ncolour = "red"', "accelerators h200: Object contains unknown field `colour`"),
    ("accelerators.toml", "memory_gib = 141", "memory_gib = 0", "accelerators h200: memory_gib must be positive"),
    ("accelerators.toml", 'price_source = "mercatus-ai.com (search excerpt)"\n', "", "accelerators h200: a price needs price_source and price_date"),
    ("speeds.toml", "seconds_per_second = 65.0", "seconds_per_second = 0.0", "speeds wan2.2-t2v-a14b × h100 × 480p: seconds_per_second must be positive"),
    ("speeds.toml", "seconds_per_second = 65.0", "seconds_per_second = nan", "speeds wan2.2-t2v-a14b × h100 × 480p: seconds_per_second must be positive"),
    ("speeds.toml", 'model = "wan2.2-t2v-a14b"\naccelerator = "h100"\nresolution = "480p"', 'model = "wan9"\naccelerator = "h100"\nresolution = "480p"', "speeds wan9 × h100 × 480p: models.toml has no model wan9"),
    ("speeds.toml", 'model = "wan2.2-t2v-a14b"\naccelerator = "h100"\nresolution = "480p"', 'model = "wan2.2-t2v-a14b"\naccelerator = "h9"\nresolution = "480p"', "speeds wan2.2-t2v-a14b × h9 × 480p: accelerators.toml has no accelerator h9"),
    ("speeds.toml", 'accelerator = "h100"\nresolution = "480p"\nseconds_per_second = 65.0', 'accelerator = "rtx4090"\nresolution = "480p"\nseconds_per_second = 65.0', "the model needs 80 GiB and the accelerator has 24"),
    ("speeds.toml", 'resolution = "1080p"', 'resolution = "8k"', "speeds wan2.2-t2v-a14b × h100 × 8k: Invalid enum value '8k'"),
    ("models.toml", "memory_gib = 72", "memory_gib = 720", "models wan2.1-t2v-14b: needs 720 GiB, and no accelerator has more than 192"),
    ("models.toml", 'name = "hunyuanvideo"', 'name = "hunyuanvideo-2"', "speeds hunyuanvideo × h100 × 720p: models.toml has no model hunyuanvideo"),
    ("models.toml", "memory_gib = 1\n", "memory_gib = 1.5\n", "models testcard: Expected `int`, got `float`"),
    ("models.toml", "seconds_max = 120.0", "seconds_max = 180.0", "models testcard: seconds_min, seconds_default and seconds_max must rise"),
    ("models.toml", 'default_model = "testcard"', 'default_model = "hunyuanvideo"', "default_model 'hunyuanvideo' must be one of the models that are offered"),
]  # fmt: skip


@pytest.mark.parametrize("name,found,put,sentence", CASES)
def test_a_mistake_is_named(folder: Path, name: str, found: str, put: str, sentence: str) -> None:
    text = (folder / name).read_text()
    assert found in text
    (folder / name).write_text(text.replace(found, put, 1))
    with pytest.raises(CatalogueError) as raised:
        load_chips(str(folder))
    assert sentence in str(raised.value)
    assert ".toml: " in str(raised.value)


def test_a_fine_tune_has_the_speeds_of_its_base_and_a_circle_is_refused(folder: Path) -> None:
    text = (folder / "models.toml").read_text()
    like = text + text[text.rindex("[[models]]") :].replace("ltx-video-2b", "tuned") + 'like = "ltx-video-2b"\n'
    (folder / "models.toml").write_text(like)
    mine = [one for one in load_chips(str(folder)).speeds if one.model == "tuned"]
    assert {one.provenance for one in mine} == {"estimated"}
    assert mine[0].source.startswith("like ltx-video-2b: ")
    (folder / "models.toml").write_text(like.replace('name = "ltx-video-2b"', 'name = "ltx-video-2b"\nlike = "tuned"'))
    with pytest.raises(
        CatalogueError, match=r"goes in a circle: .*tuned → ltx-video-2b|goes in a circle: .*ltx-video-2b → tuned"
    ):
        load_chips(str(folder))


def test_a_model_without_any_speed_is_refused(folder: Path) -> None:
    text = (folder / "models.toml").read_text()
    (folder / "models.toml").write_text(text + text[text.rindex("[[models]]") :].replace("ltx-video-2b", "new"))
    with pytest.raises(CatalogueError, match=r"speeds.toml: the model new has no speed on any accelerator"):
        load_chips(str(folder))


def test_a_missing_file_and_bad_toml(folder: Path) -> None:
    (folder / "speeds.toml").write_text("[[speeds]\n")
    with pytest.raises(CatalogueError, match=r"speeds\.toml: "):
        load_chips(str(folder))
    (folder / "speeds.toml").unlink()
    with pytest.raises(CatalogueError, match=r"speeds\.toml"):
        load_chips(str(folder))
