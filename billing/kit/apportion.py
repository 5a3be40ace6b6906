"""Split whole amounts so that the parts sum to the whole; pure."""

from collections.abc import Sequence


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in parts by `weights`, by largest remainder: each part is its exact share rounded down or up.

    Equal remainders go to the earlier part. Raises ValueError unless the weights are ≥ 0 and one is more.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError(f"weights must be 0 or more, and one of them more: {list(weights)}")
    parts = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    largest = sorted(range(len(parts)), key=lambda nth: -remainders[nth])
    for nth in largest[: total - sum(parts)]:
        parts[nth] += 1
    return parts


def nearest(amounts: Sequence[int], unit: int) -> tuple[list[int], int]:
    """`amounts` in whole `unit`s, and their total: the sum rounded half away from zero, so that lines sum to the total.

    Each line is rounded down or up: those with the largest remainders up. Only a sum that rounds away from all its lines
    (one line, exactly half a unit) gives a line one unit more.
    """
    exact = sum(amounts)
    total = (abs(exact) * 2 + unit) // (2 * unit) * (1 if exact >= 0 else -1)
    floors = [amount // unit for amount in amounts]
    largest = sorted(range(len(amounts)), key=lambda nth: -(amounts[nth] % unit))
    for nth in largest[: total - sum(floors)]:
        floors[nth] += 1
    return floors, total
