"""Contracts: what is used on account, closed by the month."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from billing.plans.model import ContractPlan
from tests.billing.simulator.oracle.books import Refused
from tests.billing.simulator.oracle.calendars import half_up
from tests.billing.simulator.oracle.jobs import Line, OnAccount, Outcome
from tests.billing.simulator.oracle.plans import MINOR, Agreement, Plans


@dataclass
class Contracts(Plans):
    """`credited`: what was given back, by invoice and line. `documents`: by customer and beginning of the period,
    their lines of usage. `noted`: what credit notes have taken off an invoice, with tax.
    """

    credited: dict[UUID, Counter[int]] = field(default_factory=dict)
    documents: dict[tuple[UUID, datetime], list[Line]] = field(default_factory=dict)
    noted: Counter[UUID] = field(default_factory=Counter)

    def close_due(self) -> list[Outcome]:
        """What each invoice must say: the customer, net, tax and total in minor units."""
        due = [
            one
            for one in self.agreements.values()
            if isinstance(one.plan, ContractPlan) and one.state == "active" and one.due <= self.now
        ]
        made = [self._close(one) for one in due]
        return sorted(told for told in made if told is not None)

    def _close(self, one: Agreement) -> Outcome | None:
        account, period = self.credit(one.customer), one.period
        assert account is not None
        assert period is not None
        lines = [line for line in self.on_account if line.account is account and not line.invoiced and line.ordered < period[1]]
        usage = sum(line.amount for line in lines)
        owed = self._owed(one, usage)
        self.documents[one.customer, period[0]] = self._bill(one, lines)
        for line in lines:
            line.invoiced = True
        one.counted.append((period[0], usage + owed))
        told = self._charge(one, account, usage, owed) if usage or owed else None
        if one.ends is not None and one.ends <= period[1]:
            self.limit(one.customer, (id(one), "end"), 0)
            if account.held == 0 and account.posted == 0:
                self._end(one, one.ends)
                return told
        self._go_on(one, one.period_at(period[1]))
        return told

    def _bill(self, one: Agreement, moved: list[OnAccount]) -> list[Line]:
        """The lines of usage in their order: the latest period first, then by model and price."""
        of_job: dict[UUID, list[OnAccount]] = {}
        for part in moved:
            of_job.setdefault(part.job, []).append(part)
        kinds: dict[tuple[Any, ...], list[UUID]] = {}
        starts = self._starts(one)
        for job, parts in of_job.items():
            row = self.usage[job][0]
            count, price = (row["images"], row["gross"]) if row["images"] else (row["billed"], row["gross"] * 1000)
            bucket = sum(at <= parts[0].ordered for at in starts)
            unit = "image" if row["images"] else "ms"
            kinds.setdefault((-bucket, row["model"], unit, -(-price // count) if count else 0), []).append(job)
        lines: list[Line] = []
        for _, jobs in sorted(kinds.items()):
            line, quantity = Line(), Fraction(0)
            for job in jobs:
                row, amounts = self.usage[job][0], [part.amount for part in of_job[job]]
                charged = sum(amount for amount in amounts if amount > 0)
                line.exact += sum(amounts)
                line.charged += charged
                line.refunded += charged - sum(amounts) if charged else 0
                whole = row["granted"] + row["net"]
                quantity += Fraction((row["images"] or row["billed"] - row["seconds"]) * sum(amounts), whole) if whole else 0
            if not (line.exact or int(quantity)):
                continue
            lines.append(line)
            for job in jobs:
                if any(part.amount > 0 for part in of_job[job]):
                    self.holds[job].line = len(lines), line
        return lines

    def _starts(self, one: Agreement) -> list[datetime]:
        """When the contract's periods up to the one that is closed began."""
        assert one.period is not None
        starts = [one.period[0]]
        while starts[0] > one.starts:
            starts.insert(0, max(one.period_at(starts[0] - timedelta(microseconds=1))[0], one.starts))
        return starts

    def _charge(self, one: Agreement, account: Any, usage: int, owed: int) -> Outcome:
        price, inside = half_up(Fraction(usage + owed, MINOR)), self.taxes[account.asset][1]
        net, tax = self.taxed(account.asset, price)
        total = (net + tax) * MINOR
        self.move(account.asset, "asset:receivable", account, usage)
        self.move(account.asset, "asset:receivable", "revenue:usage", owed - (tax * MINOR if inside else 0))
        self.move(account.asset, "asset:receivable", "liability:tax", tax * MINOR)
        self.move(account.asset, "asset:receivable", "expense:rounding", price * MINOR - usage - owed)
        account.floor += total
        return str(one.customer), abs(net), abs(tax), abs(net + tax)

    def _owed(self, one: Agreement, usage: int) -> int:
        """The rest of the period's minimum, and at the end of a term that of the commitment."""
        assert one.period is not None
        begun, over = one.period
        whole = one.period_at(begun)
        minimum = one.plan.minimum_micro
        if begun != whole[0]:  # the first period was cut short; a half goes to the time in it
            length, second = whole[1] - whole[0], timedelta(seconds=1)
            exact = Fraction(minimum // MINOR * ((over - begun) // second), length // second)
            minimum = half_up(exact) * MINOR
        if one.ends is not None and one.ends <= begun:
            minimum = 0
        owed = max(minimum - max(usage, 0), 0)
        first, nth = self._term(one)
        if one.plan.commitment_micro and (nth % one.plan.term == 0 or one.ends == over):
            counted = sum(amount for at, amount in one.counted if at >= first) + usage + owed
            owed += max(one.plan.commitment_micro - counted, 0)
        return owed

    def _term(self, one: Agreement) -> tuple[Any, int]:
        """When the term of the period began, and which period of the contract it is."""
        assert one.period is not None
        first, nth, at = one.starts, 1, one.period_at(one.starts)
        while at[1] < one.period[1]:
            at, nth = one.period_at(at[1]), nth + 1
            if (nth - 1) % one.plan.term == 0:
                first = at[0]
        return first, nth

    def credit_note(
        self, customer: UUID, source: tuple[UUID, str], line: tuple[int, int], amount: int, of: UUID | datetime | None
    ) -> Outcome:
        """Gives back so much of a line (its number, its amount) of an invoice; the tax of all notes together is right.

        `of`: the seconds whose sale it invoices, of which some may have come back, or the beginning of its period.
        """
        if ("credit_note", source) in self.posted:
            return self.posted["credit_note", source]
        account = self.credit(customer)
        assert account is not None
        sold = next((one for one in self.sales.values() if not one.back and one.grant.id == of), None)
        usage = self.documents.get((customer, of), [])[line[0] - 1 : line[0]] if isinstance(of, datetime) else []
        given, inside = self.credited.setdefault(source[0], Counter()), self.taxes[account.asset][1]
        if sold is not None:
            given = Counter({1: sum(sold.given) if inside else sold.given[0]})
        if not 0 < amount <= line[1] - given[line[0]]:
            raise Refused("credit_refused")
        for one in usage:
            one.rounded = max(line[1] * MINOR - one.exact, 0)
            if amount * MINOR > one.left:
                raise Refused("credit_refused")
            one.credited += amount * MINOR
        before = sum(given.values())
        taxed_before = sold.given[1] if sold is not None else self.taxed(account.asset, before)[1]
        tax = max(self.taxed(account.asset, before + amount)[1] - taxed_before, 0)
        net = amount - tax if inside else amount
        given[line[0]] += amount
        if sold is not None:
            sold.gives(net, tax)
        self.move(account.asset, "contra:refunds", "asset:receivable", net * MINOR)
        self.move(account.asset, "liability:tax", "asset:receivable", tax * MINOR)
        account.floor -= (net + tax) * MINOR
        self.noted[source[0]] += net + tax
        self.posted["credit_note", source] = told = (str(customer), net, tax, net + tax)
        return told
