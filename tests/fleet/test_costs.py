"""What a request's compute may cost at most, by the packaged catalogue and by one of the test's own."""

from gateway.fleet.chips import load_chips
from gateway.fleet.costs import ComputeCosts


def test_the_dearest_chip_counts_and_a_part_is_a_whole() -> None:
    costs = ComputeCosts({("film", "720p"): [(10.0, 2.0, 3_600_000), (0.0, 100.0, 36_000)]})
    assert costs.most_micro_usd("film", "720p", 5_000) == 20 * 1000
    assert costs.most_micro_usd("film", "720p", 60_000) == 130 * 1000
    assert costs.most_micro_usd("film", "1080p", 5_000) == 0


def test_every_offered_model_has_a_cost() -> None:
    chips = load_chips("")
    costs = ComputeCosts.of(chips)
    for model in chips.models:
        if model.offered:
            assert costs.most_micro_usd(model.name, "720p", 5_000) > 0
