"""Quotas: what an organization allows its projects, keys, models and end users."""
