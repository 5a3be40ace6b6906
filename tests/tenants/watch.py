"""Which statements the pools of a process run, and as whom: told by asyncpg of every one."""

from collections import defaultdict
from functools import partial

import asyncpg
import pytest
from asyncpg.connection import LoggedQuery

from billing.kit import pool
from billing.kit.query import Record

TENANT = "tallylight_tenant"


class Watch:
    """`acted`: the roles that ran each statement. `count` counts messages that wait for the server's answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.acted: dict[str, set[str]] = defaultdict(set)
        self.count = 0
        self._roles: dict[int, str] = {}
        prepare = pool.prepare

        async def watched(conn: "asyncpg.Connection[Record]") -> None:
            await prepare(conn)
            conn.add_query_logger(partial(self._note, id(conn)))

        monkeypatch.setattr(pool, "prepare", watched)

    def _note(self, conn: int, ran: LoggedQuery) -> None:
        self.count += 1
        if ran.query.startswith(("BEGIN", "COMMIT", "ROLLBACK")):
            self._roles[conn] = pool.APP_ROLE
        elif ran.query == pool.ACT_FOR.sql:
            self._roles[conn] = TENANT
        elif ran.query == pool.ACT_AS.sql:
            self._roles[conn] = str(ran.args[0])
        else:
            self.acted[ran.query].add(self._roles.get(conn, pool.APP_ROLE))
