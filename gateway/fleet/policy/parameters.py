"""Every number that the scheduling policy was tuned by, on one page and frozen; changing one means measuring again.

Chosen on the simulator's seeds 1 and 2 (`busy`, `overload`, `crowd`); docs/fleet/ reports seeds 201 to 210, which no choice
here has seen. A tuple holds one value for each tier: priority, standard, flex.
"""

import msgspec

from gateway.video import Tier

TIERS: tuple[Tier, ...] = ("priority", "standard", "flex")
PRIORITY, STANDARD, FLEX = range(3)


class Parameters(msgspec.Struct, frozen=True):
    """Times in seconds, shares between 0 and 1."""

    target_s: tuple[float, float, float] = (60.0, 600.0, 21_600.0)
    """The start that a tier promises when it can."""
    quote_max_s: tuple[float, float, float] = (900.0, 7_200.0, 86_400.0)
    """A start that cannot be promised within this is not offered."""
    quote_margin: float = 1.1
    """A start later than the target is quoted this much later than it was computed."""
    fill: float = 0.78
    """The share of what the fleet can start that is promised."""
    forecast_margin: float = 1.15
    forecast_s: float = 300.0
    """How far back the forecast of higher tiers looks."""
    demand_s: float = 3_600.0
    """How far back the demand that prices are made of looks, and how long a period those programs plan."""
    custom_s: float = 1_800.0
    """How far back an organization's usual rate looks."""
    burst: float = 0.05
    """Unstarted work that an organization may have, as a share of the fleet's work within its tier's target, before its fair
    share limits what is promised to it."""
    gate_s: tuple[float, float, float] = (45.0, 300.0, 1_800.0)
    """A job is critical when its promise is nearer than this: it then bears dearer chips, the earliest promise first."""
    regret_max: tuple[float, float, float] = (0.10, 0.05, 0.02)
    """A job that is not critical waits rather than cost this much more than on its best chip."""
    regret_critical: float = 0.3
    """A critical job bears up to this much more as its promise nears, and anything in the last third."""
    regret_step: float = 0.02
    """Regrets that differ by less are equal, and fairness decides."""
    placement_memory: float = 0.03
    """The share by which a new plan moves the wanted placement."""
    swap_gain: float = 120.0
    """A job that is not critical has a model loaded only if this many times the loading time of work waits for it."""
    reserve: float = 0.10
    """The share of a pool that flex jobs leave free, and the most that is kept free for priority jobs."""
    reserve_sigma: float = 2.5
    """Kept free for priority: its arrivals within `reserve_s` beyond the slots that end by then, and this many deviations of
    both."""
    reserve_s: float = 45.0
    shadow_memory: float = 0.05
    """The share by which a new plan moves the shadow prices: a program's duals jump where its demand moves a little."""
    headroom: float = 0.0
    """The share of every pool that prices take to be unavailable."""
    overflow: float = 1.3
    """Work that no chip has room for is priced at this many times its cheapest cost."""
    trial_jobs: int = 20
    """Flex jobs that a chip without trustworthy timings runs before other tiers may use it."""
    prior_jobs: float = 10.0
    """A cell of the timing table needs this many runs to outweigh what is known about its pool, and the pool the catalogue."""
    alpha_min: float = 0.05
    """Timings older than about the reciprocal are forgotten."""
    slow_ratio: float = 1.35
    """A replica this much slower than its pool gets jobs only when nothing else is left."""
    slow_memory_s: float = 900.0
    """A slow replica's reputation halves in this time, and then it is tried again."""
    retries_max: int = 2
    straggle_ratio: float = 3.0
    """An attempt without progress for this many times its longest likely time is stopped and tried elsewhere."""
    straggle_min_s: float = 60.0
    hedge_share: float = 0.0
    """At most this share of the starts are second attempts at a priority job that is overdue; none: docs/decisions/0061."""
    breaker_window: int = 10
    breaker_failures: int = 3
    breaker_pause_s: float = 30.0
    breaker_pause_max_s: float = 600.0
    bucket_s: float = 30.0
    """The grid of promises."""
    horizon_s: float = 90_000.0
    plan_s: float = 60.0
    """How often prices and placement are made anew."""
    surely: float = 3.0
    """A job that is not critical yet counts on warm slots to end in time when so many are expected to for each job that waits."""
    curve_s: float = 5.0
    """How often the demand curve is drawn anew; in between, each promise is taken off it."""
    loads_max: int = 4
    """Models that placement may have loaded at a time in one pool."""


DEFAULT = Parameters()
