"""The job: its states, its log, its lease, its end."""
