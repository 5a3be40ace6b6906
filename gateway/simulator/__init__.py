"""A fleet on paper: the production scheduler driven through seeded traces; see README.md."""
