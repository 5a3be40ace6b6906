"""The customers' accounts and ours, as plain numbers. Nothing here knows how the product stores or locks them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from math import floor
from typing import Any
from uuid import UUID

NEVER = datetime.max.replace(tzinfo=UTC)
SECONDS = ("pack", "subscription", "allowance")
EARNED = {"pack": "revenue:usage", "subscription": "revenue:subscription"}
USED = {
    "paid": "revenue:usage", "credit": "revenue:usage", "promo": "memo:promo_issued", "budget": "memo:budget_issued",
    "pack": "units:used", "subscription": "units:used", "allowance": "units:used",
}  # fmt: skip
REFUNDED = {**USED, "paid": "contra:refunds", "credit": "contra:refunds"}
LEFT_OVER = {
    "paid": "revenue:breakage", "promo": "memo:promo_issued", "budget": "memo:budget_issued", "pack": "units:expired",
    "subscription": "units:expired", "allowance": "units:expired",
}  # fmt: skip
BREAKAGE = {"pack": "revenue:breakage", "subscription": "revenue:subscription"}


class Refused(Exception):
    """What is asked for is refused; nothing may have been changed. `code` as in billing/errors.py."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(eq=False)
class Grant:
    """An account of a customer. `id` is learnt from the database: it says which of two that are alike is drawn on first."""

    customer: UUID
    asset: str
    kind: str
    created: datetime
    priority: int = 0
    starts: datetime | None = None
    expires: datetime | None = None
    issued: int | None = None
    basis: int = 0
    currency: str = ""
    posted: int = 0
    held: int = 0
    floor: int = 0
    id: UUID | None = None
    sale: UUID | None = None

    @property
    def free(self) -> int:
        return self.posted - self.held - self.floor

    def is_like(self) -> tuple[Any, ...]:
        return (
            self.customer, self.asset, self.kind, self.priority, self.starts, self.expires, self.issued, self.basis,
            self.posted, self.held, self.floor,
        )  # fmt: skip

    def earned(self, posted: int) -> int:
        """What of the price is earned when so much is left."""
        return floor(Fraction(self.basis * (self.issued - posted), self.issued)) if self.issued else 0

    def order(self) -> tuple[Any, ...]:
        """Priority, earliest expiry, promotional before paid before credit, oldest."""
        rank = {"paid": 1, "credit": 2}.get(self.kind, 0)
        return self.priority, self.expires or NEVER, rank, self.created, self.id


@dataclass
class Books:
    now: datetime
    currency: dict[UUID, str] = field(default_factory=dict)
    zone: dict[UUID, str] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    ours: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(asset, name): credit positive."""
    posted: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """What was posted once, and with which contents."""

    def open_customer(self, customer: UUID, currency: str, zone: str) -> None:
        if customer not in self.currency:
            self.currency[customer], self.zone[customer] = currency, zone
            self.grants.append(Grant(customer, currency, "paid", self.now))

    def of(self, customer: UUID, asset: str, kind: str = "") -> list[Grant]:
        return [one for one in self.grants if (one.customer, one.asset) == (customer, asset) and kind in ("", one.kind)]

    def paid(self, customer: UUID) -> Grant:
        return next(one for one in self.of(customer, self.currency[customer], "paid") if one.issued is None)

    def credit(self, customer: UUID) -> Grant | None:
        return next(iter(self.of(customer, self.currency[customer], "credit")), None)

    def purse(self, customer: UUID, asset: str) -> list[Grant]:
        """What has not expired, in draw order."""
        return sorted((one for one in self.of(customer, asset) if (one.expires or NEVER) > self.now), key=Grant.order)

    def is_replay(self, kind: str, source: object, contents: object) -> bool:
        """Same id and same contents. Raises Refused for others."""
        if (kind, source) in self.posted:
            if self.posted[kind, source] != contents:
                raise Refused("transfer_conflict")
            return True
        return False

    def once(
        self, kind: str, source: object, contents: object, write: Callable[[], None], needs: tuple[Grant, int] | None = None
    ) -> None:
        if self.is_replay(kind, source, contents):
            return
        if needs is not None and needs[0].free < needs[1]:
            raise Refused("insufficient_funds")
        write()
        self.posted[kind, source] = contents

    def move(self, asset: str, debit: "str | Grant", credit: "str | Grant", amount: int) -> None:
        for side, signed in ((debit, -amount), (credit, amount)):
            if isinstance(side, Grant):
                side.posted += signed
            else:
                self.ours[asset, side] += signed

    def use(self, grant: Grant, amount: int, *, to: str = "", earned: str = "") -> int:
        """Draws `amount`, or gives it back where it is negative. Returns the deferred price that was earned by it."""
        price = grant.earned(grant.posted - amount) - grant.earned(grant.posted)
        self.move(grant.asset, grant, to or (USED if amount > 0 else REFUNDED)[grant.kind], amount)
        if grant.kind in EARNED:
            self.move(grant.currency, "liability:deferred", earned or EARNED[grant.kind], price)
        return price

    # -- money and seconds in and out ----------------------------------------------------------------------------------
    def top_up(self, customer: UUID, source: str, amount: int) -> None:
        paid = self.paid(customer)
        self.once("top_up", source, (customer, amount), lambda: self.move(paid.asset, "asset:clearing", paid, amount))

    def issue(self, kind: str, source: str, new: Grant, *, tax: int = 0, payer: Grant | None = None) -> None:
        """`new` has its terms and nothing posted; seconds that are sold are paid by `payer`, by cash without one."""
        terms = (new.priority, new.starts, new.expires, new.issued, new.basis, tax)
        total = new.basis + tax

        def write() -> None:
            assert new.issued is not None
            new.created = self.now
            self.grants.append(new)
            origin = {
                "promo": "memo:promo_issued",
                "sla": "contra:sla",
                "voucher": "asset:clearing",
                "budget": "memo:budget_issued",
            }
            self.move(new.asset, origin.get(kind, "units:issued"), new, new.issued)
            if new.kind in EARNED:
                side = payer if payer is not None and payer.kind == "paid" else "asset:receivable" if payer else "asset:clearing"
                self.move(new.currency, side, "liability:deferred", new.basis)
                self.move(new.currency, side, "liability:tax", tax)
                if payer is not None and payer.kind == "credit":
                    payer.floor += total

        self.once(kind, (new.customer, new.asset, source), terms, write, (payer, total) if payer else None)

    def cash_refund(self, customer: UUID, source: str, amount: int, *, then: str) -> None:
        """`then`: whether the payment was given back ("paid") or came home ("failed")."""
        paid, transit = self.paid(customer), "liability:refund_transit"
        if self.is_replay("cash_refund", source, (customer, amount)):
            return
        if paid.free < amount:
            raise Refused("insufficient_funds")
        self.move(paid.asset, paid, transit, amount)
        self.move(paid.asset, transit, "asset:clearing" if then == "paid" else paid, amount)
        self.posted["cash_refund", source] = (customer, amount)

    def reverse_top_up(self, customer: UUID, source: str) -> None:
        if ("top_up", source) not in self.posted:
            raise Refused("not_reversible")
        amount, paid = self.posted["top_up", source][1], self.paid(customer)
        self.once("reversal", source, None, lambda: self.move(paid.asset, paid, "asset:clearing", amount), (paid, amount))

    def expire(self) -> int:
        """What is left in grants whose time is over and what no hold keeps."""
        over = [one for one in self.grants if (one.expires or NEVER) <= self.now and one.posted > one.held]
        for one in over:
            self.use(one, one.posted - one.held, to=LEFT_OVER[one.kind], earned=BREAKAGE.get(one.kind, ""))
        return len(over)

    # -- postpaid ------------------------------------------------------------------------------------------------------
    def limit(self, customer: UUID, source: object, limit: int) -> Grant:
        """Lets a customer owe so much."""
        account = self.credit(customer)
        if account is None:
            account = Grant(customer, self.currency[customer], "credit", self.now)
            self.grants.append(account)
        limits: list[int] = self.posted.setdefault(("limits", customer), [0])
        before = limits[-1]

        def write() -> None:
            account.floor -= limit - before
            limits.append(limit)

        self.once("credit_limit", (customer, source), limit, write)
        return account

    def receive(self, kind: str, customer: UUID, source: str, amount: int) -> None:
        """A payment of what is owed."""
        account = self.credit(customer)
        if account is None:
            raise Refused("unknown_account")
        payer = self.paid(customer) if kind == "payment_from_wallet" else None

        def write() -> None:
            self.move(account.asset, payer or "asset:clearing", "asset:receivable", amount)
            account.floor -= amount

        self.once(kind, source, (customer, amount), write, (payer, amount) if payer else None)
