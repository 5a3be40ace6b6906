"""Invoices: what is owed, as a document that never changes."""
