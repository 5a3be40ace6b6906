"""Hold: set aside what a job may cost at most, prepaid seconds before money."""

from collections.abc import Sequence
from functools import lru_cache

from billing.charges.model import ChargeRequest
from billing.errors import BillingError
from billing.kit.query import Conn
from billing.ledger import hold as ledger
from billing.ledger.model import SECONDS, Held, HoldRequest, Seconds, wallet_id
from billing.pricing.charge import billable, maximum
from billing.pricing.model import Terms


async def hold(conn: Conn, requests: Sequence[ChargeRequest]) -> list[Held | BillingError]:
    """Decides the requests in order, in the caller's transaction. Returns one outcome each; a replay returns what was held.

    InsufficientFunds, UnknownWallet, BudgetSpent and TransferConflict (an id with other contents) hold nothing.
    """
    return await ledger.hold(conn, [_request(request) for request in requests])


def _request(request: ChargeRequest) -> HoldRequest:
    terms, seconds = request.terms, None
    amount_micro, duration_ms, rate_micro_per_s = _most(terms, request.quantity)
    if terms.seconds_class and terms.unit == "ms":
        wallet = wallet_id(request.customer_id, request.book, SECONDS + terms.seconds_class)
        seconds = Seconds(wallet, duration_ms, rate_micro_per_s)
    wallet = wallet_id(request.customer_id, request.book, terms.currency)
    return HoldRequest(request.id, wallet, amount_micro, seconds, request.sponsor)


@lru_cache(maxsize=4096, typed=True)
def _most(terms: Terms, quantity: int) -> tuple[int, int, int]:
    """The money, the prepaid quantity and the money for one second of it: most requests ask for the same few things."""
    return maximum(terms, quantity), billable(terms, quantity), terms.rate_max_micro
