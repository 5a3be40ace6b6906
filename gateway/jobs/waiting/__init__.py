"""The queue as the leader reads it: whole once, then only what is new."""
