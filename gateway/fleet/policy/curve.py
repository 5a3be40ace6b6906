"""The demand curve as other processes see it: small, a moment old, and each of them may use a bounded part of it.

The leader publishes a `DemandCurve` a few times a second. Every API process makes a `Quoter` of it with its share (1 /
processes); what it promises it takes off its own copy. So between two publications no more is promised than the curve had room
for, but for one job in each process: a start is promised where there is room for a start, however long the job.
"""

from collections.abc import Hashable
from math import inf

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.model import Quote
from gateway.fleet.policy.outlook import Outlook, outlooks, place_of
from gateway.fleet.policy.parameters import FLEX, PRIORITY, STANDARD, TIERS, Parameters
from gateway.fleet.policy.quotes import promise_s, runtime, share_s, slot_s
from gateway.fleet.policy.state import State
from gateway.video import Tier

_POINTS = 96


class ClassCurve(Struct, frozen=True):
    """Of one model and resolution: its group (-1: no chip is up), the work of a second of video, and run times of a second."""

    group: int
    omega: float
    runtime_s: float
    runtime_high_s: float
    confidence: str
    reach: float
    usual: list[float]
    slots_s: tuple[float, float, float]
    """By tier, when enough slots should have come free for one job more (quotes.slot_s)."""


class Heavy(Struct, frozen=True):
    """An organization with more than a burst waiting: units that wait and units a second lately, by tier and those above; its
    share.
    """

    waiting: tuple[float, float, float]
    usual: tuple[float, float, float]
    fair: float


class DemandCurve(Struct, frozen=True):
    """`room[group][tier]` at each time of `due_at`; `outlooks`: who waits in each group; `usual` of a class is the share of its
    slots that each tier and those above usually hold; `fair`: the share of an organization of weight 1. Times are on the
    scheduler's clock. A few tens of kilobytes as JSON, less as MessagePack.
    """

    epoch: int
    at: float
    due_at: list[float]
    room: list[list[list[float]]]
    fair: float
    classes: dict[str, ClassCurve]
    heavy: dict[str, Heavy]
    outlooks: list[Outlook] = []


def publish(state: State, epoch: int, now: float) -> DemandCurve:
    """The curve as of the last drawing, with what has been promised since taken off."""
    p, points = state.parameters, state.ledger.points(_POINTS)
    heavy: dict[str, Heavy] = {}
    for one in state.by_index:
        first, second, third = one.waiting
        waiting = (first, first + second, first + second + third)
        if any(amount > p.burst * target / 2 for amount, target in zip(waiting, p.target_s, strict=True)):
            usual = (np.cumsum(one.asked) * np.exp((one.asked_at - now) / p.custom_s) / p.custom_s).tolist()
            heavy[one.name] = Heavy(waiting, tuple(usual), one.weight / max(state.weight_active, one.weight))
    classes: dict[str, ClassCurve] = {}
    for (model, resolution), c in state.fleet.class_index.items():
        mean_s, late_s, confidence = runtime(state, c, 1.0)
        slots = (slot_s(state, c, PRIORITY), slot_s(state, c, STANDARD), slot_s(state, c, FLEX))
        classes[f"{model} {resolution}"] = ClassCurve(
            state.plan.group[c], state.plan.omega[c], mean_s, late_s, confidence, state.reach[c], state.usual[c].tolist(), slots
        )
    return DemandCurve(
        epoch=epoch,
        at=now,
        due_at=[now + offset for offset in state.ledger.offsets(now)[points].tolist()],
        room=state.ledger.room[:, :, points].tolist(),
        fair=1.0 / max(state.weight_active, 1.0),
        classes=classes,
        heavy=heavy,
        outlooks=outlooks(state, points, now),
    )


def place(curve: DemandCurve, job: Hashable, model: str, resolution: str, tier: Tier, due: float) -> int | None:
    """How many jobs should start before this one, which waits; None where nobody can say: no chip that runs it is up."""
    one = curve.classes.get(f"{model} {resolution}")
    if one is None or one.group < 0 or one.group >= len(curve.outlooks):
        return None
    return place_of(curve.outlooks[one.group], job, TIERS.index(tier), due, curve.due_at)


class Quoter:
    """Quotes against one published curve within a share of it; a new curve needs a new one."""

    def __init__(self, curve: DemandCurve, share: float, parameters: Parameters) -> None:
        self._curve, self._parameters = curve, parameters
        self._due_at = np.array(curve.due_at)
        self._room = np.array(curve.room).reshape(len(curve.room), len(TIERS), len(curve.due_at))
        np.multiply(self._room, share, out=self._room, where=self._room > 0)
        self._own: dict[str, list[float]] = {}

    def quote(self, organization: str, model: str, resolution: str, seconds: float, tier: Tier, now: float) -> Quote:
        """As `Scheduler.quote`, from a moment ago. Raises KeyError for a model and resolution that the curve does not have."""
        one, t, p = self._curve.classes[f"{model} {resolution}"], TIERS.index(tier), self._parameters
        earliest_s, own_s = inf, 0.0
        if one.group >= 0:
            place = int(np.searchsorted(self._room[one.group, t], 0.0, side="right"))
            if place < len(self._due_at):
                earliest_s = max(float(self._due_at[place]) - now, 0.0)
            own_s = self._share_s(organization, one, t, seconds)
        possible_s = max(earliest_s, own_s, one.slots_s[t] + self._curve.at - now)
        start_s = promise_s(p, t, possible_s)
        confidence = "measured" if one.confidence == "measured" else "catalogue" if one.confidence == "catalogue" else "guess"
        retry_s = 0.0 if start_s is not None else max(min(possible_s, p.horizon_s) - p.quote_max_s[t], p.plan_s)
        likely_s = min(possible_s, p.horizon_s)
        return Quote(tier, start_s, likely_s, one.runtime_s * seconds, one.runtime_high_s * seconds, confidence, retry_s)

    def promised(self, organization: str, model: str, resolution: str, seconds: float, tier: Tier, due: float) -> None:
        """The admission transaction has written a promise: there is less room now."""
        one, t = self._curve.classes[f"{model} {resolution}"], TIERS.index(tier)
        work = one.omega * seconds
        self._own.setdefault(organization, [0.0] * len(TIERS))[t] += work
        if one.group >= 0:
            place = max(int(np.searchsorted(self._due_at, due, side="right")) - 1, 0)
            rows = self._room[one.group, t:]
            rows[:, place:] -= work
            np.minimum(rows[:, :place], rows[:, place, None], out=rows[:, :place])

    def _share_s(self, organization: str, one: ClassCurve, t: int, seconds: float) -> float:
        known, mine = self._curve.heavy.get(organization), sum(self._own.get(organization, ())[: t + 1])
        waiting, usual, fair = (known.waiting[t], known.usual[t], known.fair) if known else (0.0, 0.0, self._curve.fair)
        others = one.usual[t] - usual / max(one.reach, 1e-9)
        return share_s(self._parameters, t, waiting + mine, one.omega * seconds, others, fair, one.reach)
