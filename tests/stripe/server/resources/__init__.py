"""One module per resource; importing this package fills the table of routes."""

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

__all__ = [
    "balance",
    "charges",
    "customers",
    "disputes",
    "events",
    "payment_intents",
    "payment_methods",
    "refunds",
    "webhook_endpoints",
]
