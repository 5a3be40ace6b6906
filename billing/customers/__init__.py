"""Customers: whom amounts are owed by, in which currency and on which clock."""
