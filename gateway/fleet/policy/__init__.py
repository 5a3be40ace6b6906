"""Which job runs where and when, and what may be promised about it; see README.md."""
