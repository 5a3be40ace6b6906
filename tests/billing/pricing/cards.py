"""A card with every dimension, and books over it."""

from datetime import UTC, datetime
from uuid import UUID

from billing.pricing.model import Book, Dimensions, FpsClass, Hours, ModelRates, Offer, Published, RateCard, Step

NOON = datetime(2026, 11, 25, 4, tzinfo=UTC)  # a Wednesday, twelve o'clock in Shanghai
NIGHT = datetime(2026, 11, 25, 15, tzinfo=UTC)

RICH = ModelRates(
    1_000_000,
    resolution={"720p": 10_000, "1080p": 16_000},
    tier={"standard": 10_000, "flex": 5_000},
    audio=12_500,
    task={"t2v": 10_000, "i2v": 11_000},
    fps=(FpsClass("up to 30 fps", 10_000, 30), FpsClass("over 30 fps", 15_000)),
    accelerator={"h100": 20_000},
    hours=(Hours("off-peak", "22:00", "06:00", 7_000),),
    volume=(Step(10_000, 9_000), Step(20_000, 8_000)),
    min_ms=2_000,
    seconds_class={"720p": "film-720p"},
)
STILL = ModelRates(200_000, {"1080p": 10_000}, {"standard": 10_000}, unit="image")
CARD = RateCard("CNY", {"film": RICH, "still": STILL})
OFFERS = {
    "film": Offer(
        resolutions=("720p", "1080p"), tiers=("standard", "flex"), tasks=("t2v", "i2v"), fps=(24, 60), audio=True,
        accelerators=("h100",),
    ),
    "still": Offer(unit="image", resolutions=("1080p",), tiers=("standard",), tasks=("t2v",), fps=(1,), audio=False),
}  # fmt: skip


def book(
    listed: RateCard | None = CARD, own: RateCard | None = None, *, at: datetime = NOON, time_zone: str = "Asia/Shanghai"
) -> Book:
    return Book(
        "CNY",
        time_zone,
        at,
        None if listed is None else Published(UUID(int=1), listed),
        None if own is None else Published(UUID(int=2), own),
    )


def film(
    *, task: str = "t2v", resolution: str = "720p", fps: int = 24, tier: str = "standard", audio: bool = False,
    accelerator: str | None = None,
) -> Dimensions:  # fmt: skip
    return Dimensions("film", task, resolution, fps, tier, audio, accelerator)
