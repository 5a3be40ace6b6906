"""The registry of statements that do not run as one tenant: those that serve many organizations at once, and the platform's own.

Every other statement runs in a transaction that sees one organization's rows (docs/decisions/0054). `test_registry.py` finds a
statement that stands nowhere, one that stands here and is no more, and one of BATCHED that does not keep organizations apart.
"""

from collections.abc import Iterator, Mapping

BATCHED: Mapping[str, Mapping[str, str]] = {
    "gateway.jobs.sql": {
        "LOCK_TOKENS STORED_ANSWERS REMEMBER INSERT_JOBS CREATED CLAIM_RETRIED": "admission",
        "READ EVENTS": "polls and streams",
        "LEASE BEGIN_ATTEMPTS HEARTBEAT ENDING SUCCEED GIVE_UP": "dispatch and settlement",
    },
    "gateway.quotas.sql": {
        "COUNT DEFINITIONS BEGIN RESERVE": "admission",
        "TRUE_UP": "settlement",
    },
    "gateway.access.sql": {
        "NO_LONGER_VALID": "authentication",
        "NOTE_USES": "written down for many keys together",
    },
    "gateway.requests.sql": {"ADD_CALLS ADD_READS": "written down for many calls together"},
    "gateway.audit.sql": {"LOCK END ADD": "keys that were found, of whomever"},
    "gateway.webhooks.sql": {"RECORD ANSWERED FAILED": "the courier"},
    "billing.pricing.sql": {"IN_FORCE": "admission"},
    "billing.customers.sql": {"CUSTOMERS": "charges and invoices"},
    "billing.plans.sql": {"STANDINGS": "admission"},
    "billing.charges.sql": {
        "ADD_VOLUMES LOCK_VOLUMES COUNT_VOLUMES ADD_SERIES": "settlement",
    },
}
"""Module, statements, when. In the plan of each, every table that leads with an organization or a customer is compared by it."""

HOT: Mapping[str, str] = {
    "gateway.access.sql": "VALID_KEYS NO_LONGER_VALID",
    "gateway.jobs.sql": "LOCK_TOKENS STORED_ANSWERS REMEMBER INSERT_JOBS CREATED CLAIM_RETRIED READ EVENTS",
    "gateway.quotas.sql": "COUNT DEFINITIONS BEGIN RESERVE",
    "billing.pricing.sql": "IN_FORCE CARDS",
    "billing.plans.sql": "STANDINGS",
    "billing.ledger.sql": "LOCK_WALLETS FIND_HOLDS INSERT_HOLDS",
}
"""What the API runs for its load, as a role of its own that may do this and nothing else."""

BY_SECRET: Mapping[str, Mapping[str, str]] = {
    "gateway.access.sql": {
        "VALID_KEYS MANAGER REVOKE_LEAKED": "whose key it is, is the answer: the hash of its secret finds one row",
        "MEMBERSHIPS JOIN_MEMBER": "of a person whose session, invitation or provider has told who they are",
    },
    "gateway.people.sql": {
        "SIGNED_IN INVITATION_WITH PERSON_TO_RESET": "whose it is, is the answer: the hash of its secret finds one row",
        "PERSON LOCKED_PERSON PERSON_OF ADD_PERSON SET_PASSWORD OFFER_RESET SET_PENDING CONFIRM TAKE_STEP FORGET_FACTOR"
        " ADD_RECOVERY_CODES TAKE_RECOVERY_CODE FORGET_RECOVERY_CODES ADD_SESSION SEEN END_SESSION": "a person is no organization's",
        "ACCEPT_INVITATION": "of an invitation that its secret has found",
        "PERSON_WITH_SUBJECT ADD_SUBJECT": "whom an organization's provider names; a person is no organization's",
        "OPEN_PACE PACE NOTE_FAILURES FORGIVE_ALL FORGIVE_ONE": "attempts of whomever",
    },
}
"""What tells which organization somebody is of."""

BY_MONEY: Mapping[str, Mapping[str, str]] = {
    "billing.ledger.sql": {
        "*": "a hold has the id of its job, a wallet's is derived from its customer; each transfer also posts to accounts that are nobody's"
    },
    "billing.charges.sql": {"ADD_USAGE USAGE_OF REFUNDS REVENUE BILLED REFUND_LINES": "by the ids of holds and transfers"},
    "billing.pricing.sql": {"CARDS": "contents of cards, by ids that IN_FORCE has found"},
    "billing.plans.sql": {"OPENED_GRANTS": "by ids derived from a customer"},
}
"""The money plane below customers. Its ids come from a row that (org_id, id) has found in the same transaction."""

PLATFORM: Mapping[str, Mapping[str, str]] = {
    "billing.bank.sql": {"*": "the command line"},
    "billing.kit.migrate": {"*": "the migrator"},
    "billing.kit.pool": {"*": "who acts, not what is done"},
    "billing.ledger.verify": {"*": "proof over all books"},
    "billing.ledger.chain": {"*": "proof over all books"},
    "billing.ledger.trial": {"*": "proof over all books"},
    "billing.shares.sql": {"*": "payees are no customers"},
    "billing.stripe.clearing": {"*": "the platform's account at Stripe"},
    "billing.stripe.reconcile": {"*": "the platform's account at Stripe"},
    "billing.charges.sql": {"ADD_MONTH ALONE ROLL_UP ANOTHER_CLUSTER FORGET_ROLLUP": "the clerk"},
    "billing.customers.sql": {"ADD_CUSTOMER UPDATE_DETAILS IS_TIME_ZONE": "the command line"},
    "billing.invoices.sql": {
        "LOCK_CONTRACTS POSTPONE TAKE_SNAPSHOT SAW USED COUNTED NEXT_NUMBER ADD_INVOICE LOCK_SALES INVOICE_OF_SALE MARK_SALE"
        " CORRECTIONS BILL ADD_LINES LINES CREDIT_LINES JOBS_OF_INVOICE": "the clerk and the command line",
    },
    "billing.plans.sql": {
        "ADD_CATALOGUE NOW LOCK_SUBSCRIPTION SUBSCRIPTION LOCK_DUE ANY_TO_ROLL_OVER ADD_SUBSCRIPTION SAME_SUBSCRIPTION"
        " UPDATE_SUBSCRIPTION ADD_SALE SALE SALE_OF_GRANT SALE_OF_INVOICE GIVEN_BACK LEFT_OF_GRANTS LOCK_EVENTS ADD_EVENT"
        " SET_BUDGET BUDGETS SPENT PACES": "the clerk, the command line and what a payment buys",
        "EVENTS_AFTER": "the clerk derives deliveries from all events",
    },
    "billing.pricing.sql": {
        "LIST_IN_FORCE": "public",
        "LOCK_SUCCESSION BILLED_IN NOW SUCCESSION ADD_CARD": "the command line",
    },
    "billing.reports.sql": {"MARGIN TRUE_UPS": "the command line"},
    "billing.stripe.sql": {
        "NOW PAYER_LOST PAYER_AT_STRIPE PAYER_CHARGES PAUSE ADD_METHODS FORGET_METHODS LOCK_LOW_WALLETS ADD_COLLECTIONS"
        " LOCK_COLLECTIONS COLLECTION_IS LOOK_AGAIN OTHERS_PAST_DUE PAYING_INVOICE LOCK_PAYMENT PAYMENT_OF_INTENT BOOKED_INTENT"
        " PAYMENT_OF_SESSION PAYMENT_OF_CHARGE LEASE_PAYMENTS PAYMENT_KNOWN PAYMENT_SUCCEEDED PAYMENT_FAILED ADD_REFUND REFUND"
        " REFUND_AT_STRIPE REFUND_IS LEASE_REFUNDS GIVEN_BACK DISPUTE SET_DISPUTE LEASE_DISPUTES ADD_EVENT LEASE_EVENTS"
        " EVENTS_DONE EVENTS_FAILED DAYS_TO_RECONCILE SET_RECONCILIATION ADD_TRANSACTION LOCK_TRANSACTION TRANSACTION_BOOKED"
        " PAYOUT_SENT PAYOUT_REVERSED OPEN_INVOICES NEWEST_TRANSACTION NOT_BOOKED": "what Stripe says, of whomever; the clerk and the command line",
    },
    "gateway.access.sql": {"ADD_ORGANIZATION ORGANIZATION ORGANIZATIONS": "the command line"},
    "gateway.audit.sql": {"CHAIN CHAINS": "proof over all trails"},
    "gateway.fleet.editions.sql": {"*": "the fleet is nobody's"},
    "gateway.fleet.promises.sql": {"*": "the fleet is nobody's"},
    "gateway.fleet.registry.sql": {"*": "the fleet is nobody's"},
    "gateway.jobs.late.sql": {"*": "the clerk"},
    "gateway.jobs.sql": {
        "RESCUE EXPIRE EXPIRED_ASSETS FORGET_ASSETS FORGET_PROMPTS FORGET_ANSWERS LIVE": "the clerk",
    },
    "gateway.jobs.verify": {"*": "proof over all jobs"},
    "gateway.jobs.waiting.sql": {"*": "the scheduler's queue"},
    "gateway.people.sql": {"FORGET_SESSIONS FORGET_INVITATIONS FORGET_PACES FORGET_TRIPS": "the clerk"},
    "gateway.quotas.sql": {
        "NOW": "the time",
        "UNTOLD MARK_TOLD FORGET": "the clerk",
        "WRONG_COUNTERS WRONG_SUBJECTS COUNTED_TWICE": "proof over all quotas",
    },
    "gateway.requests.sql": {"FORGET_CALLS FORGET_READS": "the clerk"},
    "gateway.webhooks.sql": {
        "ANOTHER_CLUSTER WRITTEN_NOW POST_JOBS BILLING_READ BILLING_TAKEN POST_BILLING CLAIM_ALONE CLAIM FORGET_DELIVERIES"
        " FORGET_LISTENERS": "the clerk",
    },
}  # fmt: skip
"""The operator's, the clerk's, the scheduler's; no request of an organization runs them, or they say nothing of one."""

ALSO_TENANT: Mapping[str, str] = {
    "billing.customers.sql": "CUSTOMERS",
    "billing.plans.sql": "EVENTS_AFTER",
    "billing.pricing.sql": "IN_FORCE CARDS",
    "billing.shares.sql": "PAYEE_PAGE PAYEES_BY_ID",
    "gateway.audit.sql": "LOCK END ADD",
    "gateway.quotas.sql": "NOW",
    "gateway.webhooks.sql": "RECORD ANSWERED FAILED",
}
"""What stands above and an organization's requests run too."""

EVERY = (BATCHED, BY_SECRET, BY_MONEY, PLATFORM)


def registered(page: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Module and name of each statement of a page; `*` for all of a module."""
    for module, lines in page.items():
        yield from ((module, name) for names in lines for name in names.split())


def stands_in(page: Mapping[str, Mapping[str, str]], module: str, name: str) -> bool:
    return not {(module, name), (module, "*")}.isdisjoint(registered(page))
