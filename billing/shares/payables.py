"""What is owed to payees while it is moved: given and taken, each with why, and written at once."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

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
    """The payables of one currency. Nothing is written before `write`."""

    def __init__(self, currency: str) -> None:
        self._currency = currency
        self._postings: list[Posting] = []
        self._shares: list[tuple[object, ...]] = []

    def move(self, payee: UUID, amount_micro: int, why: Because) -> None:
        """Gives what is above zero and takes what is below, also where it was paid out already."""
        if amount_micro == 0:
            return
        share = Posting(
            kind=why.kind if amount_micro > 0 else f"{why.kind}_back",
            source=f"{why.source}/{payee}",
            subject_id=why.subject_id,
            book="live",
            asset=self._currency,
            amounts={"amount": abs(amount_micro)},
            accounts={"payee": account_of(payee, self._currency)},
            dimensions=why.dimensions,
            facts={"basis": why.basis},
        )
        self.post(share)
        self._shares.append((share.id, payee, why.income_id, why.pool_id, why.revision, why.basis, amount_micro))

    def post(self, posting: Posting) -> None:
        """One that moves no payable, to be written with the others, in order."""
        self._postings.append(posting)

    async def write(self, conn: Conn) -> None:
        """Raises UnknownAccount for a payee that is not paid in this currency."""
        await post_all(conn, self._postings)
        if self._shares:
            await sql.ADD_SHARES.run(conn, *[list(column) for column in zip(*self._shares, strict=True)])


def account_of(payee: UUID, currency: str) -> UUID:
    return payable_account_id(wallet_id(payee, "live", currency))
