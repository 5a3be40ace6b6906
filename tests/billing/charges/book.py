"""Usage rows of made-up customers at a clock that the test turns."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from billing.charges.model import Series, Usage
from billing.charges.record import record
from billing.charges.rollup import roll_up
from billing.kit.ids import new_id
from billing.kit.query import Conn

START = datetime(2026, 3, 1, tzinfo=UTC)
CUSTOMERS = (UUID(int=1), UUID(int=2), UUID(int=3))
CARD = UUID(int=9)


def series(customer: UUID = CUSTOMERS[0], **facts: object) -> Series:
    plain = Series(
        kind="charge", customer_id=customer, project_id=UUID(int=10), key_id=UUID(int=20), rate_card_id=CARD, book="live",
        currency="CNY", cost_currency="USD", model="testcard", task="t2v", resolution="720p", tier="standard", chip="H100",
        outcome="succeeded", labels={},
    )  # fmt: skip
    return msgspec.structs.replace(plain, **facts)


def some_row(net_micro: int = 5, model: str = "testcard") -> Usage:
    return Usage(subject_id=new_id(), series=series(model=model), gross_micro=net_micro, net_micro=net_micro)


def some_usage(choose: random.Random) -> Usage:
    """A job, or the refund of one, of any of a few dozen series."""
    customer = choose.choice(CUSTOMERS)
    kind = choose.choice(["charge", "charge", "charge", "refund"])
    sign = -1 if kind == "refund" else 1
    labels = {name: choose.choice("abc") for name in ("team", "app") if choose.random() < 0.5}
    gross = choose.randrange(10**9)
    granted = choose.randrange(gross + 1)
    net = choose.randrange(gross - granted + 1)
    return Usage(
        subject_id=new_id(),
        series=series(
            customer, kind=kind, project_id=UUID(int=choose.choice([10, 11])), key_id=UUID(int=choose.choice([20, 21, 22])),
            model=choose.choice(["testcard", "film"]), chip=choose.choice(["H100", "L40S"]), labels=labels,
            tier=choose.choice(["standard", "flex"]), outcome=choose.choice(["succeeded", "succeeded", "failed"]),
            book=choose.choice(["live", "live", "test"]), currency="CNY" if customer == CUSTOMERS[0] else "USD",
        ),
        gross_micro=sign * gross, granted_micro=sign * granted, net_micro=sign * net, prepaid_micro=sign * choose.randrange(100),
        cost_micro=choose.randrange(10**6), requested_ms=sign * 8000, delivered_ms=sign * choose.randrange(8001),
        billed_ms=sign * 5, seconds_ms=sign * 3, queue_ms=choose.randrange(99), run_ms=7, images=sign, attempts=1,
    )  # fmt: skip


class Usages:
    """What was recorded, and when. `conn` records at the moment that `turn` was told last."""

    def __init__(self, conn: Conn) -> None:
        self.conn, self.at = conn, START
        self.rows: list[tuple[datetime, Usage]] = []

    async def turn(self, at: datetime) -> None:
        self.at = at
        await self.conn.execute("UPDATE public.clock SET at = $1", at)

    async def record(self, *rows: Usage) -> None:
        async with self.conn.transaction():
            await record(self.conn, rows)
        self.rows += [(self.at, row) for row in rows]

    async def roll_up(self, rows_max: int = 50_000) -> int:
        async with self.conn.transaction():
            return await roll_up(self.conn, rows_max=rows_max)

    async def history(self, choose: random.Random, size: int, *, days: int = 60, turns: Sequence[datetime] = ()) -> None:
        """Random rows at random moments, out of order, rolled up now and then."""
        for _ in range(size):
            await self.turn(choose.choice(turns) if turns and choose.random() < 0.3 else _moment(choose, days))
            await self.record(*[some_usage(choose) for _ in range(choose.randrange(1, 6))])
            if choose.random() < 0.2:
                await self.roll_up(choose.choice([1, 5, 50_000]))


def _moment(choose: random.Random, days: int) -> datetime:
    if choose.random() < 0.2:  # on a quarter of an hour, where rows change buckets
        return START + timedelta(minutes=15 * choose.randrange(days * 96))
    return START + timedelta(microseconds=choose.randrange(days * 86_400_000_000))


async def open_usages(conn: Conn) -> Usages:
    await conn.execute("CREATE TABLE public.clock AS SELECT $1::timestamptz AS at", START)
    await conn.execute(
        "CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT at FROM public.clock'"
    )
    return Usages(conn)
