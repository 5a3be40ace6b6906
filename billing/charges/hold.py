"""Hold: set aside what a job may cost at most, prepaid seconds before money."""

from collections.abc import Sequence

from billing.charges.model import ChargeRequest
from billing.errors import BillingError
from billing.kit.query import Conn
from billing.ledger import hold as ledger
from billing.ledger.model import SECONDS, Held, HoldRequest, Seconds, wallet_id
from billing.pricing.charge import billable, maximum


async def hold(conn: Conn, requests: Sequence[ChargeRequest]) -> list[Held | BillingError]:
    """Decides the requests in order, in the caller's transaction. Returns one outcome each; a replay returns what was held.

    InsufficientFunds, UnknownWallet, BudgetSpent and TransferConflict (an id with other contents) hold nothing.
    """
    return await ledger.hold(conn, [_request(request) for request in requests])


def _request(request: ChargeRequest) -> HoldRequest:
    terms, seconds = request.terms, None
    if terms.seconds_class and terms.unit == "ms":
        wallet = wallet_id(request.customer_id, request.book, SECONDS + terms.seconds_class)
        seconds = Seconds(wallet, billable(terms, request.quantity), terms.rate_max_micro)
    wallet = wallet_id(request.customer_id, request.book, terms.currency)
    return HoldRequest(request.id, wallet, maximum(terms, request.quantity), seconds, request.sponsor)
