"""What is owed to payees while it is moved: locked, given to, taken from, and written at once."""

from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec

from billing.errors import UnknownPayee
from billing.kit.query import Conn
from billing.ledger.model import payable_account_id, wallet_id
from billing.ledger.post import Posting, post_all
from billing.shares import sql


class Because(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is given or taken: the rule (its opposite is called `<kind>_back`), its source, and the basis in words."""

    kind: str
    source: str
    subject_id: UUID
    basis: str
    dimensions: Mapping[str, str] = {}
    income_id: UUID | None = None
    pool_id: UUID | None = None
    revision: int | None = None


class Payables:
    """The payables of one currency. Made by `lock`, in the caller's transaction; nothing is written before `write`."""

    def __init__(self, currency: str, owed: Iterable[sql.Owed]) -> None:
        self._currency = currency
        self._owed = {one.payee_id: [one.posted, one.owes_micro] for one in owed}
        self._postings: list[Posting] = []
        self._shares: list[tuple[object, ...]] = []

    @classmethod
    async def lock(cls, conn: Conn, currency: str, payees: Iterable[UUID]) -> "Payables":
        """Raises UnknownPayee for one that is not paid in this currency."""
        wanted = sorted(set(payees))
        await sql.LOCK_OWED.all(conn, wanted)
        owed = await sql.OWED.all(conn, wanted, [account_of(one, currency) for one in wanted])
        if missing := set(wanted) - {one.payee_id for one in owed}:
            raise UnknownPayee(f"{missing.pop()} is not paid in {currency}")
        return cls(currency, owed)

    def owed_micro(self, payee: UUID) -> int:
        return self._owed[payee][0]

    def move(self, payee: UUID, amount_micro: int, why: Because) -> None:
        """Gives what is above zero, takes what is below: first what is owed, then what the payee has had already."""
        if amount_micro == 0:
            return
        owed = self._owed[payee]
        if amount_micro > 0:
            share = self._posting(why.kind, payee, why, {"amount": amount_micro})
            owed[0] += amount_micro
            self._recover(payee, why)
        else:
            covered = min(owed[0], -amount_micro)
            amounts = {"amount": -amount_micro, "covered": covered, "owed": -amount_micro - covered}
            share = self._posting(f"{why.kind}_back", payee, why, amounts)
            owed[0] -= covered
            owed[1] += amounts["owed"]
        self._shares.append((share.id, payee, why.income_id, why.pool_id, why.revision, why.basis, amount_micro))

    def post(self, posting: Posting) -> None:
        """One that moves no payable, to be written with the others, in order."""
        self._postings.append(posting)

    async def write(self, conn: Conn) -> None:
        if self._postings:
            await post_all(conn, self._postings)
        if self._shares:
            await sql.ADD_SHARES.run(conn, *[list(column) for column in zip(*self._shares, strict=True)])
        await sql.SET_OWES.run(conn, list(self._owed), [owes for _, owes in self._owed.values()])

    def _recover(self, payee: UUID, why: Because) -> None:
        """What the payee had to give back before comes off what it is owed now."""
        owed = self._owed[payee]
        recovered = min(owed)
        if recovered > 0:
            self._posting("recovered", payee, why, {"amount": recovered})
            owed[0] -= recovered
            owed[1] -= recovered

    def _posting(self, kind: str, payee: UUID, why: Because, amounts: dict[str, int]) -> Posting:
        posting = Posting(
            kind=kind,
            source=f"{why.source}/{payee}",
            subject_id=why.subject_id,
            book="live",
            asset=self._currency,
            amounts=amounts,
            accounts={"payee": account_of(payee, self._currency)},
            dimensions={"payee_id": str(payee), **why.dimensions},
            facts={"basis": why.basis},
        )
        self._postings.append(posting)
        return posting


def account_of(payee: UUID, currency: str) -> UUID:
    return payable_account_id(wallet_id(payee, "live", currency))
