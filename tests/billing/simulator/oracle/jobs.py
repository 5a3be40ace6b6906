"""Jobs: what is held, charged, given back and recorded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any
from uuid import UUID

from billing.charges.model import Attempt, Refund
from tests.billing.simulator.oracle import prices
from tests.billing.simulator.oracle.books import EARNED, NEVER, REFUNDED, SECONDS, Books, Grant, Refused
from tests.billing.simulator.oracle.prices import Price

Outcome = tuple[Any, ...]
FIGURES = ("gross", "granted", "net", "prepaid", "seconds", "requested", "delivered", "billed", "images", "cost")


@dataclass(frozen=True)
class Order:
    """A job as it was admitted. `sponsor`: whose budget must cover how much of its compute."""

    id: UUID
    customer: UUID
    price: Price
    quantity: int
    sponsor: tuple[UUID, int] | None
    model: str


@dataclass
class Draw:
    grant: Grant
    amount: int
    captured: int = 0
    refunded: int = 0


@dataclass
class Line:
    """A line of a document: what its jobs were charged on account, what rounding added, and what of it came back."""

    charged: int = 0
    exact: int = 0
    rounded: int = 0
    refunded: int = 0
    credited: int = 0

    @property
    def left(self) -> int:
        return self.charged + self.rounded - self.refunded - self.credited


@dataclass
class Hold:
    order: Order
    asked: tuple[Any, ...]
    draws: list[Draw]
    at: datetime
    starts: datetime | None
    state: str = "held"
    delivered: int = 0
    line: tuple[int, Line] | None = None
    """Which line of a document charges it."""

    def sum(self, kinds: Sequence[str], of: str = "amount") -> int:
        return sum(getattr(draw, of) for draw in self.draws if draw.grant.kind in kinds)


MONEY = ("promo", "paid", "credit")
NO_END = 2**63


@dataclass
class OnAccount:
    """What a job moved on an account that is owed; `invoiced` by a close."""

    account: Grant
    job: UUID
    ordered: datetime
    amount: int
    invoiced: bool = False


@dataclass
class Jobs(Books):
    holds: dict[UUID, Hold] = field(default_factory=dict)
    volumes: Counter[tuple[UUID, str]] = field(default_factory=Counter)
    usage: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    given: dict[tuple[UUID, str], tuple[int, Outcome]] = field(default_factory=dict)
    on_account: list[OnAccount] = field(default_factory=list)
    accrued: Counter[tuple[str, date]] = field(default_factory=Counter)
    """By pool and month (UTC): what attempts cost."""

    # -- hold ----------------------------------------------------------------------------------------------------------
    def hold(self, order: Order) -> Outcome:
        price, kept = order.price, self.holds.get(order.id)
        asset = "SEC:" + price.seconds_class if price.seconds_class and price.is_video else ""
        rate = prices.most_per_second(price)
        seconds = (asset, prices.billable(price, order.quantity), rate) if asset else None
        asked = (order.customer, price.currency, prices.most(price, order.quantity), seconds, order.sponsor)
        if kept is not None:
            return self._held(kept) if kept.asked == asked else ("refused", "transfer_conflict")
        try:
            draws, starts = self._draws(order, asked[2], seconds)
        except Refused as refused:
            return "refused", refused.code
        for draw in draws:
            draw.grant.held += draw.amount
        kept = self.holds[order.id] = Hold(order, asked, draws, self.now, starts)
        return self._held(kept)

    def batch(self, orders: Sequence[Order]) -> list[Outcome]:
        """Holds asked for together. An id that comes twice is decided once: what else is held between the two changes nothing."""
        refused: dict[UUID, Outcome] = {}
        outcomes: list[Outcome] = []
        for order in orders:
            outcome = refused.get(order.id) or self.hold(order)
            if order.id not in self.holds:
                refused[order.id] = outcome
            outcomes.append(outcome)
        return outcomes

    def _held(self, kept: Hold) -> Outcome:
        return "held", kept.sum(MONEY), kept.sum(SECONDS), kept.starts

    def _draws(self, order: Order, needed: int, seconds: tuple[str, int, int] | None) -> tuple[list[Draw], datetime | None]:
        draws: list[Draw] = []
        if seconds is not None:
            draws, missing = self._take(self.purse(order.customer, seconds[0]), seconds[1])
            needed = missing * seconds[2] // 1000 if draws else needed
        if needed or not draws:
            purse = self.purse(order.customer, order.price.currency)
            if not purse:
                raise Refused("unknown_wallet")
            part, missing = self._take(purse, needed)
            if missing:
                raise Refused("insufficient_funds")
            draws += part or [Draw(purse[0], 0)]
        starts = None
        if order.sponsor is not None and any(draw.grant.kind == "allowance" for draw in draws):
            holder, amount = order.sponsor
            budget = next((one for one in self.purse(holder, "USD") if one.kind == "budget" and one.free >= amount), None)
            if budget is None:
                raise Refused("budget_spent")
            draws.append(Draw(budget, amount))
            starts = budget.starts if budget.starts is not None and budget.starts > self.now else None
        return draws, starts

    def _take(self, purse: list[Grant], amount: int) -> tuple[list[Draw], int]:
        draws: list[Draw] = []
        for grant in purse:
            part = min(amount, grant.free)
            if part > 0 and (grant.starts is None or grant.starts <= self.now):
                draws.append(Draw(grant, part))
                amount -= part
        return draws, amount

    # -- settle --------------------------------------------------------------------------------------------------------
    def settle(self, order: Order, delivered: int, attempts: Sequence[Attempt]) -> Outcome:
        kept, price = self.holds.get(order.id), order.price
        if kept is None or kept.state == "released":
            return "refused", "hold_not_open"
        quantity = min(delivered, order.quantity)
        if kept.state == "captured":
            same = kept.delivered == delivered if price.is_video else min(kept.delivered, kept.order.quantity) == quantity
            same = same and (not price.is_video or kept.order.quantity == order.quantity)
            row = self.usage[order.id][0]
            settled = ("settled", row["granted"] + row["net"], row["seconds"], row["granted"])
            return settled if same else ("refused", "transfer_conflict")
        key = (order.customer, price.volume_key)
        position = self.volumes[key] if price.volume_key else 0
        seconds = min(kept.sum(SECONDS), prices.billable(price, quantity))
        money = prices.cost(price, quantity, position, seconds)
        assert money <= kept.sum(MONEY), "what is held covers every charge"
        prepaid = self._capture(kept, seconds, money, sum(one.cost_micro for one in attempts))
        kept.delivered = delivered
        if price.volume_key:
            self.volumes[key] += max(prices.billable(price, quantity) - seconds, 0)
        granted, video = kept.sum(["promo"], "captured"), price.is_video
        self._record(
            order, "charge", "succeeded", gross=prices.cost(price, quantity, position), granted=granted, net=money - granted,
            prepaid=prepaid, seconds=seconds, requested=order.quantity * video, delivered=delivered * video,
            billed=prices.billable(price, quantity) * video, images=quantity * (not video), cost=self._accrue(attempts),
        )  # fmt: skip
        return "settled", money, seconds, granted

    def _capture(self, kept: Hold, seconds: int, money: int, cost: int) -> int:
        """Charges the draws in their order. Returns the price of prepaid seconds that was earned by it."""
        kept.state, prepaid = "captured", 0
        left = {"seconds": seconds, "money": money, "budget": min(cost, kept.sum(["budget"]))}
        for draw in kept.draws:
            part = "seconds" if draw.grant.kind in SECONDS else "money" if draw.grant.kind in MONEY else "budget"
            draw.captured = min(draw.amount, left[part])
            left[part] -= draw.captured
            draw.grant.held -= draw.amount
            prepaid += self.use(draw.grant, draw.captured) if draw.captured else 0
            if draw.grant.kind == "credit" and draw.captured:
                self.on_account.append(OnAccount(draw.grant, kept.order.id, kept.at, draw.captured))
        assert not any(left.values())
        return prepaid

    def _accrue(self, attempts: Sequence[Attempt]) -> int:
        for one in attempts:
            self.move("USD", "expense:cogs", "liability:gpu_accrued", one.cost_micro)
            self.accrued[one.pool, self.now.date().replace(day=1)] += one.cost_micro
        return sum(one.cost_micro for one in attempts)

    def _record(self, order: Order, kind: str, outcome: str, **figures: int) -> None:
        row = {"kind": kind, "outcome": outcome, "customer": order.customer, "model": order.model, "at": self.now}
        self.usage.setdefault(order.id, []).append({**row, **dict.fromkeys(FIGURES, 0), **figures})

    # -- release -------------------------------------------------------------------------------------------------------
    def release(self, order: Order, attempts: Sequence[Attempt], outcome: str) -> Outcome:
        kept = self.holds.get(order.id)
        if kept is None or kept.state == "captured":
            return "refused", "hold_not_open"
        if kept.state == "held":
            kept.state = "released"
            for draw in kept.draws:
                draw.grant.held -= draw.amount
            cost = self._accrue(attempts)
            if attempts:
                self._record(order, "charge", outcome, requested=order.quantity * order.price.is_video, cost=cost)
        return ("released",)

    # -- refund --------------------------------------------------------------------------------------------------------
    def refund(self, one: Refund) -> Outcome:
        before = self.given.get((one.id, one.reason))
        if before is not None:
            return before[1] if one.amount_micro in (None, before[0]) else ("refused", "transfer_conflict")
        kept, rows = self.holds.get(one.id), self.usage.get(one.id, [])
        if kept is None or kept.state != "captured":
            return "refused", "refund_exceeds_capture"
        left = {name: sum(row[name] for row in rows) for name in ("gross", "requested", "delivered", "billed", "images")}
        credited = (
            max(kept.sum(["credit"], "captured") - kept.sum(["credit"], "refunded") - kept.line[1].left, 0) if kept.line else 0
        )
        money = kept.sum(MONEY, "captured") - kept.sum(MONEY, "refunded") - credited
        seconds = kept.sum(SECONDS, "captured") - kept.sum(SECONDS, "refunded")
        if one.amount_micro is not None:
            if not 0 < one.amount_micro <= money:
                return "refused", "refund_exceeds_capture"
            money, seconds, left = one.amount_micro, 0, {"gross": one.amount_micro}
        elif not (money or seconds or (any(left.values()) and not credited)):
            return "refused", "refund_exceeds_capture"
        promo, prepaid = self._give_back(kept, seconds, money)
        self._record(
            kept.order, "refund", "succeeded", granted=-promo, net=promo - money, prepaid=prepaid, seconds=-seconds,
            **{name: -figure for name, figure in left.items()},
        )  # fmt: skip
        outcome = ("refunded", money, seconds, promo)
        self.given[one.id, one.reason] = money, outcome
        return outcome

    def _give_back(self, kept: Hold, seconds: int, money: int) -> tuple[int, int]:
        """The last that was drawn is given back first; where a grant has expired, to a new one for thirty days."""
        left, promo, prepaid = {"seconds": seconds, "money": money}, 0, 0
        for draw in reversed(kept.draws):
            grant = draw.grant
            if grant.kind == "budget":
                continue
            part = "seconds" if grant.kind in SECONDS else "money"
            line = kept.line[1] if kept.line and grant.kind == "credit" else None
            share = min(draw.captured - draw.refunded, left[part], line.left if line else NO_END)
            if not share:
                continue
            left[part] -= share
            draw.refunded += share
            promo += share if grant.kind == "promo" else 0
            if (grant.expires or NEVER) > self.now:
                prepaid += self.use(grant, -share)
            else:
                prepaid += self._grace(grant, share)
            if line:
                line.refunded += share
            if grant.kind == "credit":
                self.on_account.append(OnAccount(grant, kept.order.id, kept.at, -share))
        assert not any(left.values())
        return promo, prepaid

    def _grace(self, old: Grant, share: int) -> int:
        basis = floor(Fraction(old.basis * share, old.issued)) if old.issued else 0
        new = Grant(
            old.customer, old.asset, old.kind, self.now, old.priority, None, self.now + timedelta(days=30), share, basis,
            old.currency,
        )  # fmt: skip
        self.grants.append(new)
        self.move(new.asset, REFUNDED[new.kind], new, share)
        if new.kind in EARNED:
            self.move(new.currency, EARNED[new.kind], "liability:deferred", basis)
        return -basis
