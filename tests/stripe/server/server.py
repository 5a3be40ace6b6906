"""The server: one world, its API, its pages, its webhooks and its control plane behind one port."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager

from tests.stripe.server import control, pages
from tests.stripe.server.api import Api
from tests.stripe.server.http import Answer, HttpServer, Request
from tests.stripe.server.settings import Settings
from tests.stripe.server.webhooks import Post
from tests.stripe.server.world import TIMERS, World, fresh

TICK_S = 1.0


class Server:
    """Made by `serving`. The clock stands still until it is advanced, or follows the machine's where `ticking`."""

    def __init__(self, settings: Settings, *, now: int | None = None, seed: str = "", ticking: bool = False) -> None:
        self.world = World(fresh(settings, now=now, seed=seed, ticking=ticking))
        self.api = Api(self.world)
        self.post = Post(self.world)
        self._http = HttpServer(self._handle)
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return self.world.base_url

    async def start(self, host: str, port: int) -> None:
        await self._http.start(host, port)
        self.world.base_url = f"http://{host}:{self._http.port}"
        self._spawn(self._tick())

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()
        await self.post.close()

    async def advance(self, until: int) -> None:
        """Moves the clock, and does everything that comes due on the way at its own time."""
        state = self.world.state
        while True:
            due = [timer.at for timer in state.timers]
            if self.world.settings.webhooks == "auto":
                due += [delivery.due_at for delivery in self.post.waiting()]
            if not due or min(due) > until:
                break
            state.now = max(state.now, min(due))
            self._run_timers()
            await self.deliver_due()
        if state.ticking:
            state.shift += max(0, until - state.now)
        state.now = max(state.now, until)

    async def deliver_due(self) -> None:
        if self.world.settings.webhooks == "auto":
            async with self._sending:
                await self.post.deliver_due()

    def _run_timers(self) -> None:
        state = self.world.state
        while due := [timer for timer in state.timers if timer.at <= state.now]:
            first = min(due, key=lambda timer: timer.at)
            state.timers.remove(first)
            with self.world.acting_as(first.account):
                TIMERS[first.verb](self.world, first.id)

    async def _handle(self, request: Request) -> Answer:
        self._catch_up()
        if request.path.startswith("/_control/"):
            return await control.answer(self, request)
        answer = await self.api.answer(request) if request.path.startswith("/v1/") else pages.answer(self.world, request)
        self._spawn(self.deliver_due())
        return answer

    def _catch_up(self) -> None:
        state = self.world.state
        if state.ticking:
            state.now = max(state.now, int(time.time()) + state.shift)
        self._run_timers()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._catch_up()
            if self.world.state.ticking:
                await self.deliver_due()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def serving(
    settings: Settings | None = None, *, now: int | None = None, seed: str = "", ticking: bool = False, port: int = 0
) -> AsyncGenerator[Server]:
    server = Server(settings or Settings(), now=now, seed=seed, ticking=ticking)
    await server.start("127.0.0.1", port)
    try:
        yield server
    finally:
        await server.close()
