"""Passwords as Argon2id hashes, made and compared beside the event loop, a bounded number at a time."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from billing.kit.batch import Overloaded
from gateway.people.model import normal

_AT_ONCE, _WAITING_MAX = 2, 32
"""Each takes 64 MiB and some 50 ms of a core or more: RFC 9106 §4, the second recommended choice."""

Result = TypeVar("Result")


class Passwords:
    """One per process."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "passwords")
        self._under_way = 0

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Raises Overloaded."""
        return await self._beside(lambda: self._hasher.hash(normal(password)))

    async def fits(self, password: str, hashed: str | None) -> bool:
        """None is nobody's password: that is found out in the same time. Raises Overloaded."""

        def compare() -> bool:
            try:
                return self._hasher.verify(hashed or self._nobodys, normal(password)) and hashed is not None
            except VerifyMismatchError:
                return False

        return await self._beside(compare)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_hex())

    async def _beside(self, work: Callable[[], Result]) -> Result:
        if self._under_way >= _AT_ONCE + _WAITING_MAX:
            raise Overloaded("passwords")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1
