"""Which replicas there are and what operators want of them; see README.md."""
