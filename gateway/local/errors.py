"""Why this machine cannot run a part of Tallylight."""


class LocalUnavailable(Exception):
    """Something on this machine is in the way; the sentence says what, and what to do about it."""
