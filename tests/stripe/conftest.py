"""The fixtures of tests/stripe/fixtures.py."""

from tests.stripe.fixtures import control, stripe_client, stripe_server

__all__ = ["control", "stripe_client", "stripe_server"]
