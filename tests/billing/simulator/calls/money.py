"""Money and grants, in and out; prices."""

from datetime import timedelta
from uuid import UUID

from billing.kit.ids import derived_id
from billing.ledger.grants import Issue, issue
from billing.ledger.model import credit_account_id, paid_account_id, wallet_id
from billing.ledger.post import Posting, post_all
from billing.ledger.reverse import reverse
from billing.ledger.wallets import set_credit_limit, top_up
from billing.pricing.book import publish
from billing.pricing.model import RateCard
from tests.billing.simulator.calls.dice import Dice, none, nothing
from tests.billing.simulator.offers import CURRENCIES, some_card
from tests.billing.simulator.oracle.bank import Oracle
from tests.billing.simulator.oracle.books import Grant, Refused
from tests.billing.simulator.world import Call, World


class MoneyCalls(Dice):
    def __init__(self, world: World, customers: tuple[UUID, ...]) -> None:
        super().__init__(world, customers)
        self.top_ups: list[tuple[UUID, str]] = []

    async def tops_up(self) -> Call:
        customer, amount = self.customer(), self.choose.choice([1, 3_000_000, 20_000_000, 55_555_555])
        source = self.source()
        if self.top_ups and self.choose.random() < 0.1:
            customer, source = self.choose.choice(self.top_ups)  # perhaps with another amount
        self.top_ups.append((customer, source))
        asset = self.asset(customer)
        return Call(
            "top_up", (customer,),
            lambda conn: top_up(conn, source=source, customer_id=customer, asset=asset, amount_micro=amount),
            lambda oracle: oracle.top_up(customer, source, amount),
        )  # fmt: skip

    async def grants(self) -> Call:
        """Promotional money, a voucher, credit for a broken promise, free seconds, seconds that were paid in cash."""
        choose, customer, source = self.choose, self.customer(), self.source()
        currency = self.asset(customer)
        event = choose.choice(["promo", "promo", "sla", "voucher", "allowance", "pack"])
        opens = {"sla": "promo", "voucher": "paid"}.get(event, event)
        in_seconds, sold = event in ("allowance", "pack"), event == "pack"
        start = self.world.at + timedelta(hours=choose.choice([-1, 1, 30])) if choose.random() < 0.2 else None
        end = self.world.at + timedelta(hours=choose.choice([2, 20, 90, 400])) if choose.random() < 0.8 else None
        end = None if start and end and end <= start else end
        amount = choose.choice([1, 777, 5_000]) if in_seconds else choose.choice([1, 1_000_000, 7_654_321])
        basis, tax = (choose.choice([0, 1, 999_999, 7_000_000]), choose.choice([0, 5])) if sold else (0, 0)
        asset = "SEC:hd" if in_seconds else currency
        wanted = Issue(
            kind=event, source=source, customer_id=customer, asset=asset, amount=amount, priority=choose.choice([0, 0, -1, 5]),
            starts_at=start, expires_at=end, currency=currency if sold else "", basis_micro=basis, tax_micro=tax,
        )  # fmt: skip

        def expect(oracle: Oracle) -> list[None]:
            new = Grant(customer, asset, opens, oracle.now, wanted.priority, start, end, amount, basis, currency if sold else "")
            oracle.issue(event, source, new, tax=tax)
            return [None]

        return Call("issue", (customer,), lambda conn: issue(conn, [wanted]), expect)

    async def publishes(self) -> Call:
        """A card that takes effect at once, for all or for one customer."""
        customer = self.customer() if self.choose.random() < 0.5 else None
        currency = self.asset(customer) if customer else self.choose.choice(CURRENCIES)
        card = some_card(self.choose, currency)
        if customer and self.choose.random() < 0.7:
            card = RateCard(currency, {name: card.models[name] for name in list(card.models)[: self.choose.randrange(3)]})
        return self.publishing(card, customer)

    def publishing(self, card: RateCard, customer: UUID | None = None) -> Call:
        def expect(oracle: Oracle) -> None:
            before = [one for one in self.cards if one[:2] == (customer, card.currency)][-1:]
            if before and before[0][2] == card:
                return
            if before and before[0][3] == oracle.now:
                raise Refused("rate_card_invalid")
            self.cards.append((customer, card.currency, card, oracle.now))

        return Call("publish", (), lambda conn: publish(conn, card, customer_id=customer), expect)

    async def pays(self) -> Call | None:
        customer, source = self.customer(), self.source()
        kind = self.choose.choice(["payment", "payment_from_wallet"])
        amount = self.choose.choice([10_000, 5_000_000, 31_000_000])
        asset = self.asset(customer)
        wallet = wallet_id(customer, "live", asset)
        accounts = {"credit": credit_account_id(wallet)}
        accounts |= {"wallet": paid_account_id(wallet)} if kind == "payment_from_wallet" else {}
        posting = Posting(
            kind=kind, source=source, subject_id=customer, book="live", asset=asset, amounts={"amount": amount}, accounts=accounts,
            dimensions={"customer": str(customer)},
        )  # fmt: skip
        return Call(
            kind, (customer,), lambda conn: nothing(post_all(conn, [posting])),
            lambda oracle: oracle.receive(kind, customer, source, amount),
        )  # fmt: skip

    async def cash(self) -> Call:
        customer, source, amount = self.customer(), self.source(), self.choose.choice([1, 2_000_000])
        then = self.choose.choice(["paid", "failed"])
        asset = self.asset(customer)
        paid = paid_account_id(wallet_id(customer, "live", asset))
        postings = [
            Posting(
                kind=kind, source=source, subject_id=customer, book="live", asset=asset, amounts={"amount": amount},
                accounts={} if kind == "cash_refund_paid" else {"wallet": paid},
            )
            for kind in ("cash_refund", f"cash_refund_{then}")
        ]  # fmt: skip
        return Call(
            "cash_refund", (customer,), lambda conn: nothing(post_all(conn, postings)),
            lambda oracle: oracle.cash_refund(customer, source, amount, then=then),
        )  # fmt: skip

    async def reverses(self) -> Call | None:
        if not self.top_ups:
            return None
        customer, source = self.choose.choice(self.top_ups[-20:])
        return Call(
            "reverse", (customer,), lambda conn: reverse(conn, derived_id("top_up", source), "wrong"),
            lambda oracle: oracle.reverse_top_up(customer, source),
        )  # fmt: skip

    async def limits(self) -> Call:
        customer, source, limit = self.customer(), self.source(), self.choose.choice([0, 10_000_000, 40_000_000, 90_000_000])
        asset = self.asset(customer)
        return Call(
            "limit", (customer,),
            lambda conn: nothing(
                set_credit_limit(conn, source=source, customer_id=customer, book="live", asset=asset, limit_micro=limit)
            ),
            lambda oracle: none(oracle.limit(customer, source, limit)),
        )  # fmt: skip
