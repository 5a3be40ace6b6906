"""Whole histories of the money plane, one for each seed, beside an oracle that works every figure out again."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from billing.customers.register import open_customer
from billing.kit.pool import open_pool
from billing.kit.query import Conn, Pool
from billing.ledger.wallets import open_wallet
from billing.plans.catalogue import publish_catalogue
from tests.billing.conftest import Clock
from tests.billing.simulator.audit import audit
from tests.billing.simulator.calls.caller import Caller
from tests.billing.simulator.offers import CATALOGUE, CURRENCIES, ZONES, some_card
from tests.billing.simulator.world import World

STEPS = int(os.environ.get("TALLYLIGHT_TEST_MONEY_STEPS", "2000"))
SEED = int(os.environ.get("TALLYLIGHT_TEST_MONEY_SEED", "1"))
LIFE = 1000
"""How many steps one world lives; the dose is as many worlds as it takes."""
SEEDS = range(SEED, SEED + -(-STEPS // LIFE))
AUDIT_EVERY = 250


@pytest.fixture
async def acting(dsn: str) -> AsyncIterator[Pool]:
    """Acts as the processes do: what they may not, the verbs may not."""
    async with await open_pool(dsn, name="simulator", size_min=1, size_max=1, role="tallylight_app", plans_once=True) as pool:
        yield pool


@pytest.mark.parametrize("seed", SEEDS)
async def test_history(seed: int, acting: Pool, database: Conn) -> None:
    async with acting.acquire() as conn:
        await Clock(database).install()
        world = World(seed, conn, database)
        caller = await open_shop(world)
        for step in range(1, min(LIFE, STEPS) + 1):
            try:
                await one_step(world, caller)
                if step % AUDIT_EVERY == 0:
                    await audit(world, caller.everybody)
            except Exception as error:
                error.add_note(f"seed {seed}, step {step}. Again: {replay(seed, step)}")
                raise
        await audit(world, caller.everybody)
        print(f"seed {seed}: {world.calls} calls of {world.events} jobs and others, {world.cuts} cut, {world.lost} answers lost")


def replay(seed: int, steps: int) -> str:
    return f'TALLYLIGHT_TEST_MONEY_SEED={seed} TALLYLIGHT_TEST_MONEY_STEPS={steps} make test ARGS="tests/billing/simulator"'


async def open_shop(world: World) -> Caller:
    await world.turn(world.at)
    customers = tuple(UUID(int=world.choose.getrandbits(128)) for _ in range(5))
    async with world.conn.transaction():
        await publish_catalogue(world.conn, CATALOGUE)
        for customer in customers:
            currency, zone = world.choose.choice(CURRENCIES), world.choose.choice(ZONES)
            await open_customer(world.conn, customer, currency, zone)
            await open_wallet(world.conn, customer, "live", currency)
            await open_wallet(world.conn, customer, "live", "SEC:hd")
            world.oracle.open_customer(customer, currency, zone)
    caller = Caller(world, customers)
    for currency in CURRENCIES:
        await world.does(caller.publishing(some_card(world.choose, currency)))
    await world.balances(caller.everybody)
    return caller


async def one_step(world: World, caller: Caller) -> None:
    """Time goes on by nothing, a moment or days, or to the very moment at which something ends."""
    choose, oracle = world.choose, world.oracle
    if choose.random() < 0.6:
        ends = [grant.expires for grant in oracle.grants if grant.posted and grant.expires and grant.expires > world.at]
        ends += [one.due for one in oracle.agreements.values() if one.state != "ended" and one.due > world.at]
        if ends and choose.random() < 0.06:
            await world.turn(min(ends) + timedelta(microseconds=choose.choice([-1, 0, 1])))
        else:
            by = choose.choices(
                [timedelta(microseconds=1), timedelta(minutes=9), timedelta(hours=7), timedelta(days=2)], [30, 60, 8, 2]
            )
            await world.turn(world.at + by[0] * choose.choice([1, 1, 2]))
    call = await caller.next()
    if call is not None:
        await world.does(call)
