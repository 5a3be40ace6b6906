"""Sessions of one person under any sequence of events, against what a page would expect of them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from billing.kit.pool import prepare
from billing.kit.query import Conn
from gateway.access.members import change_role, join_member, read_member
from gateway.access.organizations import open_organization
from gateway.access.scopes import Role
from gateway.people.forget import forget_sign_ins
from gateway.people.model import HALF_S, IDLE_S, LIFETIME_S, SEEN_EVERY_S, Place, Stage
from gateway.people.persons import make_person
from gateway.people.sessions import begin_session, end_session, end_sessions, find_session, list_sessions

PLACE = Place("127.0.0.1", "a browser")


class Expected:
    """What the model knows of a session: seconds at which it began and was last known to be used."""

    def __init__(self, token: str, now: int, lifetime_s: int) -> None:
        self.token, self.ends, self.seen, self.ended = token, now + lifetime_s, now, False

    def valid(self, now: int) -> bool:
        return not self.ended and now < self.ends and now < self.seen + IDLE_S


class Lives(RuleBasedStateMachine):
    """`run` answers on the test's own loop; the clock is the database's, and stands unless it is moved."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    conn: Conn

    @initialize()
    def come_in(self) -> None:
        self.now, self.sessions, self.role = 0, list[Expected](), "viewer"
        self.person_id, self.org_id, self.member_id = self.run(self._come_in())
        self.sign_in("full")

    async def _come_in(self) -> tuple[UUID, UUID, UUID]:
        await self.conn.execute("UPDATE public.clock SET at = '2026-01-01T00:00:00Z'")
        org = await open_organization(self.conn, f"org-{id(self)}-{await self.conn.fetchval('SELECT gen_random_uuid()')}", "CNY")
        person = await make_person(self.conn, f"a{org.id.hex}@example.com", None)
        member = await join_member(self.conn, org.id, person.email, "viewer", person.id)
        return person.id, org.id, member.id

    @rule(stage=st.sampled_from(("password", "full")))
    def sign_in(self, stage: Stage) -> None:
        token = self.run(begin_session(self.conn, self.person_id, stage, PLACE))
        assert token not in {one.token for one in self.sessions}
        self.sessions.append(Expected(token, self.now, LIFETIME_S if stage == "full" else HALF_S))

    @rule(seconds=st.sampled_from((SEEN_EVERY_S + 1, HALF_S - 1, HALF_S, IDLE_S - 1, IDLE_S, LIFETIME_S)), ask=st.booleans())
    def wait(self, seconds: int, *, ask: bool) -> None:
        self.now += seconds
        self.run(self.conn.execute("UPDATE public.clock SET at = at + make_interval(secs => $1)", seconds))
        if ask:
            self.ask()

    @rule()
    def stay(self) -> None:
        """A day with somebody at the page."""
        for _ in range(LIFETIME_S // (IDLE_S - 1)):
            self.wait(IDLE_S - 1, ask=True)

    @rule()
    def ask(self) -> None:
        for one in self.sessions:
            found = self.run(find_session(self.conn, one.token))
            assert (found is not None) == one.valid(self.now)
            if found is not None and self.now - one.seen > SEEN_EVERY_S:
                one.seen = self.now

    @rule()
    def sign_out(self) -> None:
        for one in self.sessions[-1:]:
            found = self.run(find_session(self.conn, one.token))
            if found is not None:
                self.run(end_session(self.conn, self.person_id, found.id))
                one.ended = True

    @rule()
    def end_all(self) -> None:
        self.run(end_sessions(self.conn, self.person_id, org_id=self.org_id))
        self._all_ended()

    @rule(role=st.sampled_from(("viewer", "viewer", "admin")))
    def become(self, role: Role) -> None:
        self.run(self._become(role))
        if role != self.role:
            self._all_ended()
        self.role = role

    async def _become(self, role: Role) -> None:
        await change_role(self.conn, self.org_id, await read_member(self.conn, self.org_id, self.member_id), role)

    @rule()
    def forget(self) -> None:
        self.run(forget_sign_ins(self.conn))

    @rule()
    def list(self) -> None:
        listed = self.run(list_sessions(self.conn, self.person_id))
        assert len(listed) == sum(one.valid(self.now) for one in self.sessions)

    def _all_ended(self) -> None:
        for one in self.sessions:
            one.ended = True


async def test_a_session_is_valid_exactly_while_it_should_be(dsn: str) -> None:
    loop = asyncio.get_running_loop()
    conn: Conn = await asyncpg.connect(dsn)
    await prepare(conn)
    await conn.execute(
        "CREATE TABLE public.clock AS SELECT now() AS at;"
        "CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM public.clock'"
    )

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    lives = type("LivesHere", (Lives,), {"run": staticmethod(run), "conn": conn})
    budget = settings(
        max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=(HealthCheck.too_slow,), phases=(Phase.generate,),
        derandomize=True, database=None,
    )  # fmt: skip
    await asyncio.to_thread(run_state_machine_as_test, lives, settings=budget)
    await conn.close()
