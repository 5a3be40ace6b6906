"""One module per resource. Importing this package fills the table of routes, so `call` is taken from here."""

from tests.stripe.server.resources import (
    balance,
    charges,
    customers,
    disputes,
    events,
    payment_intents,
    payment_methods,
    refunds,
    webhook_endpoints,
)
from tests.stripe.server.routes import call

__all__ = [
    "balance",
    "call",
    "charges",
    "customers",
    "disputes",
    "events",
    "payment_intents",
    "payment_methods",
    "refunds",
    "webhook_endpoints",
]
