"""Stripe: money in, money back, and the proof that its account and our ledger agree."""
