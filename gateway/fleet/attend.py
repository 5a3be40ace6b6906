"""Attend: keep what the dispatcher knows of the fleet in line with the registry and with the servers, while it runs.

Each replica has one watcher, and with it one connection, from its declaration until the last job on it has ended. Only the leader
loads and unloads models, tries out what is in quarantine, declares what the settings say, and notes what it sees.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from time import monotonic

import msgspec
import structlog

from billing.kit.batch import TRANSIENT
from billing.kit.listen import Wake
from billing.kit.query import Pool
from gateway.fleet import events
from gateway.fleet.discover import Cluster, ClusterUnreadable
from gateway.fleet.errors import AttemptFailed, SwapFailed
from gateway.fleet.model import SAMPLE
from gateway.fleet.registry.change import quarantine, release_probed
from gateway.fleet.registry.declare import declare
from gateway.fleet.registry.model import Sight
from gateway.fleet.registry.read import follow
from gateway.fleet.registry.sight import note_sights
from gateway.fleet.replicas import Fit, Replica, Replicas, Swap
from gateway.fleet.server import TritonServer
from gateway.settings import Settings
from gateway.telemetry import metrics

log = structlog.get_logger(__name__)

_LOOK_S = 2.0
_NOTE_S = 0.5
_NOTE_AGAIN_S = 5.0


class Attendant:
    """`triton_models`: the catalogue's names and what Triton calls them; `fit`: what it says of a replica. `changed` is called
    when there may be work to give, and `tell` with each event.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        triton_models: Mapping[str, str],
        fit: Fit,
        *,
        changed: Callable[[], None],
        tell: Callable[[events.FleetEvent], None],
    ) -> None:
        self._settings, self._pool, self._triton_models, self._changed, self._tell = settings, pool, triton_models, changed, tell
        self.fleet = Replicas(fit, pause_s=settings.breaker_pause_s, tell=self._told)
        self.wake = Wake()
        self.leading = False
        self._reading = asyncio.Lock()
        self._servers: dict[Replica, TritonServer] = {}
        self._quarantines: dict[str, str] = {}
        self._tasks = asyncio.TaskGroup()
        self._cluster = Cluster(settings) if settings.kubernetes_selector else None

    async def run(self) -> None:
        """Returns never."""
        async with self._tasks:
            self._tasks.create_task(self._follow())
            self._tasks.create_task(self._note())
            if self._cluster is not None:
                self._tasks.create_task(self._discover(self._cluster))

    async def take_over(self) -> None:
        """This process leads now: the registry is made to say what its settings say, and read. Raises asyncpg errors."""
        async with self._pool.acquire(timeout=5) as conn:
            changed = await declare(conn, "config", self._settings.replicas, whole=True)
            ours = {row.name for row in await follow(conn) if row.source == "config"}
        if changed:
            log.info("replicas_declared", source="config", replicas=changed)
        if taken := [one.name for one in self._settings.replicas if one.name not in ours]:
            log.error("replicas_refused", replicas=taken, reason="registered by hand or by Kubernetes under the same name")
        self.leading = True
        await self._read()

    def server(self, replica: Replica) -> TritonServer:
        return self._servers[replica]

    # -- the registry ----------------------------------------------------------------------------------------------------
    async def _follow(self) -> None:
        while True:
            seen = self.wake.rung
            try:
                await self._read()
            except TRANSIENT as error:
                log.warning("registry_not_read", error=type(error).__name__)
            await self.wake.wait(seen, 5 * self._settings.poll_s)

    async def _read(self) -> None:
        async with self._reading, self._pool.acquire(timeout=5) as conn:
            for name, reason in list(self._quarantines.items()):
                await quarantine(conn, name, reason)
                self._quarantines.pop(name)
            self.fleet.follow(await follow(conn))
        for replica in self.fleet.by_name.values():
            if replica not in self._servers:
                self._servers[replica] = TritonServer(replica.row.url)
                self._tasks.create_task(self._watch(replica))
        self._changed()

    def _told(self, event: events.FleetEvent) -> None:
        log.info("fleet", happened=type(event).__name__.lower(), **msgspec.structs.asdict(event))
        if isinstance(event, events.Left):
            self.wake.ring()  # another server may have been declared under its name meanwhile
        self._tell(event)
        self._changed()

    async def _discover(self, cluster: Cluster) -> None:
        """What Kubernetes says is declared; while it says nothing, nothing changes."""
        while True:
            if self.leading:
                try:
                    found = await cluster.replicas()
                    async with self._pool.acquire(timeout=5) as conn:
                        changed = await declare(conn, "kubernetes", found, whole=True)
                except (ClusterUnreadable, *TRANSIENT) as error:
                    log.warning("cluster_not_read", error=str(error) or type(error).__name__)
                else:
                    if changed:
                        log.info("replicas_declared", source="kubernetes", replicas=changed)
            await asyncio.sleep(self._settings.kubernetes_poll_s)

    # -- the servers -----------------------------------------------------------------------------------------------------
    async def _watch(self, replica: Replica) -> None:
        server, tried_at = self._servers[replica], monotonic()
        try:
            while self.fleet.by_name.get(replica.name) is replica:
                look = await server.look()
                ready = [model for model in replica.models if self._triton_models[model] in look.ready]
                self.fleet.saw(replica, ready, look.trouble)
                due = monotonic() - tried_at >= self._settings.quarantine_probe_s
                if self.leading and due and replica.row.quarantined_by == "dispatcher" and not replica.trouble:
                    await self._try_out(replica, server)
                    tried_at = monotonic()
                await asyncio.sleep(_LOOK_S / 10 if replica.trouble or replica.standing == "new" else _LOOK_S)
        finally:
            del self._servers[replica]
            await server.close()

    async def _try_out(self, replica: Replica, server: TritonServer) -> None:
        """A replica that the dispatcher put in quarantine is released once it has made a small video and stopped all else."""
        model = next(iter(sorted(replica.loaded)), "")
        if replica.busy or not model:
            return
        name = self._triton_models[model]
        try:
            stream = server.generate(name, SAMPLE, stall_s=self._settings.stall_s, deadline_s=self._settings.attempt_deadline_s)
            async with aclosing(stream) as said:
                async for _ in said:
                    pass
        except AttemptFailed as failed:
            log.warning("quarantine_kept", replica=replica.name, code=failed.code, reason=failed.message)
            return
        if await server.stopped(name, within_s=self._settings.cancel_confirm_s):
            try:
                async with self._pool.acquire(timeout=5) as conn:
                    released = await release_probed(conn, replica.name, replica.row.version)
            except TRANSIENT as error:
                log.warning("quarantine_kept", replica=replica.name, reason=type(error).__name__)
            else:
                log.info("quarantine_probed", replica=replica.name, released=released)

    async def confirm(self, replica: Replica, model: str) -> None:
        """Returns once the work that was cancelled has stopped; a device that works on is put in quarantine."""
        limit_s = self._settings.cancel_confirm_s
        if await self._servers[replica].stopped(self._triton_models[model], within_s=limit_s):
            return
        self.misbehaved(replica, f"a cancelled job of {model} did not stop within {limit_s:g} s")

    def misbehaved(self, replica: Replica, reason: str) -> None:
        """No more work for it until it is released; written down as soon as the database takes it."""
        log.error("replica_quarantined", replica=replica.name, reason=reason)
        self.fleet.quarantine(replica, reason)
        self._quarantines[replica.name] = reason
        self.wake.ring()

    # -- placement -------------------------------------------------------------------------------------------------------
    def swap(self, name: str, load: str, unload: Collection[str]) -> None:
        """Begins a swap, which runs in the background. Raises LookupError where it cannot be."""
        self._tasks.create_task(self._swap(self.fleet.begin(name, load, unload, monotonic())))

    async def _swap(self, swap: Swap) -> None:
        replica, began, failure = self.fleet.by_name[swap.name], monotonic(), ""
        server, limit_s = self._servers[replica], self._settings.model_load_s
        try:
            for victim in swap.unload:
                await server.unload(self._triton_models[victim], timeout_s=limit_s)
                self.fleet.unloaded(replica, victim)
            await server.load(self._triton_models[swap.load], timeout_s=limit_s)
        except SwapFailed as failed:
            failure = str(failed)
        took_s = monotonic() - began
        metrics.swaps("failed" if failure else "done").inc()
        metrics.swap_seconds(swap.load).observe(took_s)
        log.info("swap", replica=swap.name, load=swap.load, unload=swap.unload, took_ms=round(took_s * 1000), failure=failure)
        self.fleet.swapped(replica, swap.load, monotonic(), failure)

    # -- for people ------------------------------------------------------------------------------------------------------
    async def _note(self) -> None:
        noted: list[Sight] = []
        noted_at = 0.0
        while True:
            await asyncio.sleep(_NOTE_S)
            sights = [replica.condition(monotonic()) for replica in self.fleet.by_name.values()]
            if not self.leading or (sights == noted and monotonic() - noted_at < _NOTE_AGAIN_S):
                continue
            try:
                async with self._pool.acquire(timeout=5) as conn:
                    await note_sights(conn, sights)
                noted, noted_at = sights, monotonic()
            except TRANSIENT as error:
                log.warning("sights_not_noted", error=type(error).__name__)
