"""What people come in by, made once per process."""

import dataclasses
from collections.abc import Generator
from contextlib import contextmanager

from gateway.egress.guard import Egress
from gateway.people.issuers import Issuers
from gateway.people.passwords import Passwords
from gateway.people.seal import Seal


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """One API process."""

    passwords: Passwords
    seal: Seal
    issuers: Issuers


@contextmanager
def open_door(sign_in_secret: str, egress: Egress) -> Generator[Door | None]:
    """None where nobody signs in."""
    if not sign_in_secret:
        yield None
        return
    passwords = Passwords()
    try:
        yield Door(passwords, Seal(sign_in_secret), Issuers(egress))
    finally:
        passwords.close()
