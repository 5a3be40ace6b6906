"""Revocation: how long a revoked key still works on three replicas, told by the listener and with the listener cut; and what
authentication costs where the key is known.

Each replica is a process with the product's Authenticator and Listener. It asks for every key a hundred times a second at most, and
notes when it last got an answer; the parent revokes one key after the other and notes when the commit was acknowledged. Both read
the machine's monotonic clock.
"""

import asyncio
import sys
from contextlib import suppress
from statistics import median
from time import monotonic, perf_counter, process_time
from urllib.parse import urlsplit

import msgspec

from billing.kit.listen import Listener
from billing.kit.pool import open_pool
from gateway.access.authenticate import Authenticator
from gateway.access.keys import issue_key
from gateway.access.model import new_token
from gateway.access.organizations import open_organization
from gateway.access.revoke import revoke_key
from gateway.access.uses import KeyUses
from gateway.errors import Unauthenticated
from gateway.settings import Settings
from gateway.telemetry import logs
from tests.bench.figures import figure
from tests.bench.processes import database, free_port

REPLICAS = 3
KEYS = 700
BYSTANDERS = 200
"""Keys that stay, so that a replica has other work."""
PAUSE_S = 0.01
REFUSALS = 1000
CALLS = 200_000


class Reply(msgspec.Struct, frozen=True):
    """When each key was last taken, by the machine's monotonic clock."""

    last: list[float]


def run(runs: int, seconds: float, only: str) -> None:
    with database() as (dsn, _):
        if only in ("", "cached"):
            asyncio.run(_cached(dsn, runs))
        if only in ("", "unknown"):
            asyncio.run(_unknown(dsn, runs))
        for cut in (False, True):
            if only in ("", "cut" if cut else "told"):
                late_ms = sorted(asyncio.run(_revoke_all(dsn, cut=cut)))
                name = "cut" if cut else "told"
                for share, label in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")):
                    value = late_ms[min(int(len(late_ms) * share), len(late_ms) - 1)]
                    goal = {"p99.9": None if cut else 100.0, "max": 1000.0}.get(label)
                    figure("revocation", f"{name}.{label}", "ms", [value], most=goal)


async def _cached(dsn: str, runs: int) -> None:
    async with await open_pool(dsn, name="bench") as pool:
        async with pool.acquire() as conn:
            opened = await open_organization(conn, "cached", "CNY")
            _, token = await issue_key(conn, opened.id, name="k", livemode=True)
        known = Authenticator(pool, KeyUses(pool), ttl_s=3600)
        costs_us: list[float] = []
        for _ in range(runs):
            before = process_time()
            for _ in range(CALLS):
                await known.caller(token)
            costs_us.append((process_time() - before) * 1e6 / CALLS)
        figure("revocation", "authenticate.cached", "µs CPU", costs_us, most=25)


async def _unknown(dsn: str, runs: int) -> None:
    """How long a refusal takes for keys that are revoked, against keys that never were; in turn, so that both meet the same load."""
    async with await open_pool(dsn, name="bench") as pool:
        async with pool.acquire() as conn:
            opened = await open_organization(conn, "unknown", "CNY")
            made = [await issue_key(conn, opened.id, name=str(n), livemode=True) for n in range(REFUSALS)]
            for key_id, _ in made:
                await revoke_key(conn, opened.id, key_id)
        known = Authenticator(pool, KeyUses(pool), ttl_s=0.5)
        medians: tuple[list[float], list[float]] = ([], [])
        for _ in range(runs):
            took: tuple[list[float], list[float]] = ([], [])
            for turn, (_, token) in enumerate(made):
                pairs = list(zip(took, (token, new_token()), strict=True))
                for times, asked in pairs if turn % 2 else reversed(pairs):
                    before = perf_counter()
                    with suppress(Unauthenticated):
                        await known.caller(asked)
                    times.append((perf_counter() - before) * 1e6)
            for kept, times in zip(medians, took, strict=True):
                kept.append(median(times))
        figure("revocation", "refusal.revoked", "µs", medians[0], yardsticks=medians[1])


async def _revoke_all(dsn: str, *, cut: bool) -> list[float]:
    """Milliseconds for which each key still worked on each replica."""
    async with await open_pool(dsn, name="bench") as pool:
        async with pool.acquire() as conn:
            opened = await open_organization(conn, f"revoked {cut}", "CNY")
            made = [await issue_key(conn, opened.id, name=str(n), livemode=True) for n in range(KEYS + BYSTANDERS)]
        ask = msgspec.json.encode([token for _, token in made])
        argv = (sys.executable, "-m", "tests.bench.revocation", dsn, "cut" if cut else "told")
        pipe = asyncio.subprocess.PIPE
        replicas = [await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=1 << 24) for _ in range(REPLICAS)]
        for replica in replicas:
            assert replica.stdin is not None and replica.stdout is not None
            replica.stdin.write(ask + b"\n")
            await replica.stdout.readline()  # every key was taken once
        ended_at: list[float] = []
        async with pool.acquire() as conn:
            for key_id, _ in made[:KEYS]:
                await revoke_key(conn, opened.id, key_id)
                ended_at.append(monotonic())
                await asyncio.sleep(0.004)
        late_ms: list[float] = []
        for replica in replicas:
            assert replica.stdout is not None
            reply = msgspec.json.decode(await replica.stdout.readline(), type=Reply)
            await replica.wait()
            late_ms += [max(last - end, 0.0) * 1000 for last, end in zip(reply.last, ended_at, strict=True)]
        return late_ms


async def replica(dsn: str, *, cut: bool) -> None:
    """Asks for every key until those to be revoked are dead."""
    tokens: list[str] = msgspec.json.decode(sys.stdin.buffer.readline())
    last, alive = [0.0] * KEYS, set(range(KEYS))
    async with await open_pool(dsn, name="bench") as pool:
        known = Authenticator(pool, KeyUses(pool), ttl_s=Settings().auth_ttl_ms / 1000)

        async def ask(n: int) -> None:
            try:
                await known.caller(tokens[n])
            except Unauthenticated:
                alive.discard(n)
            else:
                last[n] = monotonic()

        listens_to = dsn.replace(f":{urlsplit(dsn).port}/", f":{free_port()}/") if cut else dsn
        ready = asyncio.Event()
        listener = Listener(listens_to, {"tallylight_keys": known.forget, "tallylight_events": lambda _: ready.set()})
        listener.start()
        if not cut:
            await ready.wait()
        await asyncio.gather(*map(known.caller, tokens))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while alive:
            await asyncio.gather(*map(ask, list(alive)), *map(known.caller, tokens[KEYS:]))
            await asyncio.sleep(PAUSE_S)  # three replicas that never rest would measure how two cores are shared
        await listener.close()
    sys.stdout.write(msgspec.json.encode(Reply(last)).decode() + "\n")


if __name__ == "__main__":
    logs.configure("error")
    asyncio.run(replica(sys.argv[1], cut=sys.argv[2] == "cut"))
