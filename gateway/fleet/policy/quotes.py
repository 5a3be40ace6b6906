"""What can be promised to whom, from the demand curve and the organization's own share of it."""

from math import exp, inf

from gateway.fleet.policy.demand import TIER_COUNT
from gateway.fleet.policy.model import Confidence, Quote
from gateway.fleet.policy.parameters import TIERS, Parameters
from gateway.fleet.policy.queue import Organization
from gateway.fleet.policy.state import State

_RETRY_MIN_S = 5.0
LOAD_LATE = 1.3
"""A model may take this much longer to load than the catalogue says."""


def quote(state: State, organization: Organization | None, c: int, seconds: float, tier: int, now: float) -> Quote:
    """The start that can be promised for one more job; `organization` None: one that has asked for nothing yet."""
    p, group = state.parameters, state.plan.group[c]
    runtime_s, runtime_high_s, confidence = runtime(state, c, seconds)
    if group < 0:
        return Quote(TIERS[tier], None, inf, runtime_s, runtime_high_s, confidence, retry_s=p.plan_s)
    earliest_s = state.ledger.earliest(group, tier, now)
    slots_s = slot_s(state, c, tier)
    own_s = own_share_s(state, organization, c, tier, state.plan.omega[c] * seconds, now)
    likely_s = state.ledger.ahead(group, tier) if not state.idle(c) else 0.0
    possible_s = inf if earliest_s is None else max(earliest_s, own_s, slots_s)
    start_s = promise_s(p, tier, possible_s)
    if start_s is not None:
        return Quote(TIERS[tier], start_s, min(likely_s, start_s), runtime_s, runtime_high_s, confidence)
    over_s = min(possible_s * p.quote_margin, p.horizon_s) - p.quote_max_s[tier]
    return Quote(TIERS[tier], None, likely_s, runtime_s, runtime_high_s, confidence, retry_s=max(over_s, _RETRY_MIN_S))


def slot_s(state: State, c: int, tier: int) -> float:
    """When enough slots that this class can use should have come free for all that waits in its tier and above, and for one job
    more.

    The demand curve counts work and is right for many slots; this counts slots and is right for few. Where a model takes longer
    to load than its tier promises, only slots that have it count. What an hour does not bring is left to the curve.
    """
    slots, target_s, m = state.slots, state.parameters.target_s[tier], state.fleet.model_of[c]
    warm_only = LOAD_LATE * state.fleet.models[m].load_s > target_s
    waiting, free, ends = 1.0, 0.0, [0.0] * len(state.ledger.soon[0])
    for other, overlap in enumerate(state.overlap[c]):
        if overlap:
            waiting += overlap * sum(state.queues.count[other * TIER_COUNT : other * TIER_COUNT + tier + 1])
    for a, up in enumerate(slots.up):
        if up and state.fleet.speed[c][a] < inf:
            share = min(slots.holding[a][m] / up, 1.0) if warm_only else 1.0
            free += len(slots.warm[a][m]) if warm_only else slots.free[a]
            if free >= waiting:
                return 0.0
            for place, count in enumerate(state.ledger.soon[a]):
                ends[place] += count * share
    for place, count in enumerate(ends):
        if free + count - count**0.5 >= waiting:
            return place * state.parameters.bucket_s
    return 0.0


def own_share_s(state: State, organization: Organization | None, c: int, tier: int, work: float, now: float) -> float:
    """`share_s` of what is known about an organization."""
    if organization is None:
        return 0.0
    own = sum(organization.asked[: tier + 1]) * exp((organization.asked_at - now) / state.parameters.custom_s)
    reach, fair = state.reach[c], organization.weight / max(state.weight_active, organization.weight)
    others = float(state.usual[c, tier]) - own / state.parameters.custom_s / max(reach, 1e-9)
    return share_s(state.parameters, tier, sum(organization.waiting[: tier + 1]), work, others, fair, reach)


def share_s(parameters: Parameters, tier: int, waiting: float, work: float, others: float, fair: float, reach: float) -> float:
    """When the work that an organization already has waiting could start at its fair share of the slots that the class can use,
    or at what the others usually leave over of them if that is more. `reach`: units a second of all those slots. A burst is free:
    spreading its jobs is no business of the fleet.
    """
    over = waiting - max(parameters.burst * parameters.target_s[tier], 3 * work)
    if over <= 0:
        return 0.0
    return over / (max(parameters.fill * fair, parameters.fill - max(others, 0.0)) * min(max(reach, 1e-9), 1.0))


def promise_s(parameters: Parameters, tier: int, earliest_s: float) -> float | None:
    """What to promise when a job can start that soon: the tier's target, or later with a margin; None beyond the tier's limit."""
    start_s = parameters.target_s[tier] if earliest_s <= parameters.target_s[tier] else earliest_s * parameters.quote_margin
    return start_s if start_s <= parameters.quote_max_s[tier] else None


def note_demand(state: State, organization: Organization, c: int, tier: int, seconds: float, now: float) -> None:
    """What is asked for makes prices and forecasts, whether it is admitted or not."""
    memory_s, index = state.parameters.custom_s, c * TIER_COUNT + tier
    kept = exp((organization.asked_at - now) / memory_s)
    organization.asked = [amount * kept for amount in organization.asked]
    organization.asked[tier] += state.plan.omega[c] * seconds
    organization.asked_at = now
    for rates in (state.asked, state.forecast, state.custom):
        rates.add(index, seconds, now)
    if tier == 0:
        state.arrivals.add(state.fleet.model_of[c], 1.0, now)


def runtime(state: State, c: int, seconds: float) -> tuple[float, float, Confidence]:
    """Expected and cautious run time on the chip that it would usually get, and what they rest on."""
    regrets = state.plan.regret[c]
    a = min(range(len(regrets)), key=regrets.__getitem__)
    if regrets[a] == inf:
        return inf, inf, "guess"
    measured = state.timings.runs(c, a) >= state.parameters.prior_jobs
    confidence: Confidence = "measured" if measured else "catalogue" if state.fleet.trusted[c][a] else "guess"
    return state.timings.expected_s(c, a, seconds), state.timings.late_s(c, a, seconds), confidence
