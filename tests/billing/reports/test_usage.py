"""Usage reports equal a slow, obviously right sum over the rows: for any history, zone, period, groups and filters."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from billing.charges.model import Usage
from billing.errors import ReportInvalid
from billing.kit.query import Conn
from billing.reports.margin import margin
from billing.reports.model import DIMENSIONS, Ask, UsageRow, ask
from billing.reports.period import Period, month_of, period_of, zone_of
from billing.reports.usage import usage
from tests.billing.charges.book import CUSTOMERS, START, Usages, some_row

ZONES = (
    "UTC",
    "Asia/Shanghai",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Asia/Beirut",
)
SUMS = (
    "requested_ms",
    "delivered_ms",
    "billed_ms",
    "seconds_ms",
    "images",
    "queue_ms",
    "run_ms",
    "gross_micro",
    "granted_micro",
    "net_micro",
)
COLUMNS = {"organization": "customer_id", "project": "project_id", "key": "key_id"}


async def answer(conn: Conn, want: Ask) -> list[UsageRow]:
    async with conn.transaction(readonly=True):
        return await usage(conn, want)


def lets_through(want: Ask, at: datetime, row: Usage) -> bool:
    facts = msgspec.structs.asdict(row.series)
    return (
        want.period.start <= at < want.period.end
        and facts["book"] == want.book
        and all(facts[COLUMNS[name]] in values for name, values in want.ids.items())
        and all(facts[name] in values for name, values in want.names.items())
        and all(row.series.labels.get(name) == value for name, value in want.labels.items())
    )


def when(want: Ask, at: datetime) -> object:
    local = at.astimezone(want.period.zone)
    match want.step:
        case "month":
            return local.strftime("%Y-%m")
        case "day":
            return local.date().isoformat()
        case "hour":
            return local.replace(minute=0, second=0, microsecond=0).isoformat(timespec="minutes")
        case None:
            return ""


def brute_force(rows: Sequence[tuple[datetime, Usage]], want: Ask) -> dict[object, dict[str, int]]:
    found: dict[object, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for at, row in rows:
        if not lets_through(want, at, row):
            continue
        facts = msgspec.structs.asdict(row.series)
        dims = tuple(facts[COLUMNS.get(name, name)] if name in want.groups else None for name in DIMENSIONS)
        labels = tuple(sorted((name, row.series.labels.get(name)) for name in want.label_groups))
        sums = found[when(want, at), dims, labels, row.series.currency]
        for name in SUMS:
            sums[name] += getattr(row, name)
        kind = "refunds" if row.series.kind == "refund" else "jobs" if row.series.outcome == "succeeded" else "failed_jobs"
        sums[kind] += 1
    return found


def keyed(lines: Sequence[UsageRow]) -> dict[object, dict[str, int]]:
    found: dict[object, dict[str, int]] = {}
    for line in lines:
        dims = tuple(getattr(line, name) for name in DIMENSIONS)
        labels = tuple(sorted(msgspec.json.decode(line.labels).items()))
        key = line.period, dims, labels, line.currency
        assert key not in found
        counts = {name: getattr(line, name) for name in ("jobs", "failed_jobs", "refunds")}
        found[key] = {name: getattr(line, name) for name in SUMS} | {name: count for name, count in counts.items() if count}
    return found


def some_ask(choose: random.Random, turns: Sequence[datetime]) -> Ask:
    zone = ZoneInfo(choose.choice(ZONES))
    step = choose.choice(["month", "day", "hour", None])
    if choose.random() < 0.3:
        period = month_of(choose.choice(["2026-03", "2026-04"]), zone)
    else:
        near = choose.choice(turns) + timedelta(minutes=choose.randrange(-90, 90)) if choose.random() < 0.5 else START
        first = near + timedelta(seconds=choose.choice([0, 0, 900, choose.randrange(10**6)]))
        period = Period(
            first,
            first + choose.choice([timedelta(microseconds=1), timedelta(minutes=7), timedelta(hours=5), timedelta(days=40)]),
            zone,
        )
    groups = [
        name
        for name in ("organization", "project", "key", "model", "chip", "tier", "label:team", "label:app")
        if choose.random() < 0.3
    ]
    filters: dict[str, list[str]] = {}
    if choose.random() < 0.5:
        filters["organization"] = [str(choose.choice(CUSTOMERS))]
    if choose.random() < 0.2:
        filters["model"] = ["film", "nope"]
    if choose.random() < 0.2:
        filters["label:team"] = ["a"]
    return ask(period, [*groups, *([step] if step else [])], filters, book=choose.choice(["live", "live", "test"]))


@pytest.mark.parametrize("seed", range(6))
async def test_any_report_of_any_history_equals_brute_force(usages: Usages, seed: int) -> None:
    choose = random.Random(seed)
    turns = [datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 4, 4, 15, tzinfo=UTC)]
    near = [turn + timedelta(minutes=step) for turn in turns for step in range(-120, 121, 5)]  # New York, Beirut, Lord Howe
    await usages.history(choose, 60, turns=near)
    for _ in range(60):
        want = some_ask(choose, turns)
        assert keyed(await answer(usages.conn, want)) == brute_force(usages.rows, want), want
        if choose.random() < 0.1:
            await usages.roll_up(choose.choice([3, 1000]))


async def test_days_have_the_hours_their_zone_gave_them(usages: Usages) -> None:
    """A row every quarter of an hour for three days around each change: 96 a day, 92 and 100 on the days that change."""
    for start in (datetime(2026, 3, 7, 5, tzinfo=UTC), datetime(2026, 10, 31, 4, tzinfo=UTC)):
        for quarter in range(3 * 96):
            await usages.turn(start + quarter * timedelta(minutes=15))
            await usages.record(some_row())
    await usages.roll_up()
    zone = zone_of("America/New_York")

    async def counts(start: str, end: str, step: str) -> dict[str, int]:
        return {
            line.period: line.jobs
            for line in await answer(usages.conn, ask(period_of(start, end, zone), [step], {}, book="live"))
        }

    assert await counts("2026-03-07", "2026-03-10", "day") == {"2026-03-07": 96, "2026-03-08": 92, "2026-03-09": 96}
    assert await counts("2026-10-31", "2026-11-03", "day") == {"2026-10-31": 96, "2026-11-01": 100, "2026-11-02": 92}
    twice = await counts("2026-11-01", "2026-11-02", "hour")
    assert len(twice) == 25 and set(twice.values()) == {4}
    assert {"2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00"} <= set(twice)
    assert await counts("2026-03-01", "2026-04-01", "month") == {"2026-03": 288}


async def test_edges_belong_to_the_half_open_period(usages: Usages) -> None:
    """A row every five minutes; periods that begin and end on rows, between rows, and inside one quarter of an hour."""
    for step in range(36):
        await usages.turn(START + step * timedelta(minutes=5))
        await usages.record(some_row())
    for _ in range(2):
        for start, end in ((0, 36), (1, 35), (3, 33), (4, 34), (3, 4), (3, 5), (3, 6), (4, 7), (5, 10)):
            inside = ask(
                Period(START + start * timedelta(minutes=5), START + end * timedelta(minutes=5), zone_of("UTC")),
                [],
                {},
                book="live",
            )
            (line,) = await answer(usages.conn, inside)
            assert line.jobs == end - start
        await usages.roll_up()


async def test_a_line_leads_to_its_bounds(usages: Usages) -> None:
    await usages.history(random.Random(1), 20)
    zone = zone_of("Asia/Kathmandu")
    for line in await answer(usages.conn, ask(month_of("2026-03", zone), ["day", "model"], {}, book="live")):
        inside = ask(Period(line.start, line.end, zone), ["model"], {"model": [str(line.model)]}, book="live")
        (again, *_), found = [one for one in await answer(usages.conn, inside) if one.currency == line.currency], line
        assert (again.net_micro, again.jobs) == (found.net_micro, found.jobs)


@pytest.mark.parametrize(
    "groups,filters,param",
    [
        (["colour"], {}, "group_by"),
        (["day", "hour"], {}, "group_by"),
        (["label:"], {}, "group_by"),
        ([], {"organization": ["acme"]}, "organization"),
        ([], {"colour": ["red"]}, "colour"),
        ([], {"label:team": ["a", "b"]}, "label:team"),
    ],
)
def test_what_makes_no_sense_is_named(groups: list[str], filters: Mapping[str, list[str]], param: str) -> None:
    with pytest.raises(ReportInvalid) as refused:
        ask(month_of("2026-03", zone_of("UTC")), groups, filters, book="live")
    assert refused.value.param == param


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "utc+8", "../etc/passwd", "Asia", "a\0b", "x" * 5000])
def test_a_zone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ReportInvalid, match="time zone"):
        zone_of(name)


@pytest.mark.parametrize(
    "start,end",
    [
        ("2026-03-02", "2026-03-01"),
        ("2026-03-01", "2026-03-01"),
        ("1.5", "2026-03-01"),
        ("2026-02-30", "2026-03-01"),
        ("0001-01-01", "2026-01-01"),
        ("2026-03-01", "tomorrow"),
    ],
)
def test_a_period_that_is_none_is_refused(start: str, end: str) -> None:
    with pytest.raises(ReportInvalid):
        period_of(start, end, zone_of("Asia/Shanghai"))


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "9999-12", "2026", "0000-01"])
def test_a_month_that_is_none_is_refused(month: str) -> None:
    with pytest.raises(ReportInvalid):
        month_of(month, zone_of("Asia/Shanghai"))


def test_periods_touch_and_do_not_overlap() -> None:
    for name in ZONES:
        zone = zone_of(name)
        months = [month_of(f"2026-{month:02d}", zone) for month in range(1, 13)]
        assert all(before.end == after.start for before, after in pairwise(months))


async def test_a_margin_shows_both_currencies_and_converts_nothing(usages: Usages) -> None:
    await usages.history(random.Random(5), 30)
    want = ask(month_of("2026-03", zone_of("UTC")), ["organization", "model", "chip"], {}, book="live")
    async with usages.conn.transaction(readonly=True):
        lines = [one.line for one in await margin(usages.conn, want)]
    truth: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for at, row in usages.rows:
        if lets_through(want, at, row):
            sums = truth[row.series.customer_id, row.series.model, row.series.chip, row.series.currency, "USD"]
            sums[0] += row.net_micro + row.prepaid_micro
            sums[1] += row.cost_micro
    assert {
        (a.organization, a.model, a.chip, a.currency, a.cost_currency): [a.revenue_micro, a.cost_micro] for a in lines
    } == truth
    with pytest.raises(ReportInvalid, match="margin"):
        await margin(usages.conn, ask(want.period, ["tier"], {}, book="live"))


async def test_a_customer_is_a_filter_like_any_other(usages: Usages) -> None:
    await usages.history(random.Random(2), 10)
    want = ask(month_of("2026-03", zone_of("UTC")), ["organization"], {"organization": [str(CUSTOMERS[1])]}, book="live")
    assert {line.organization for line in await answer(usages.conn, want)} <= {UUID(int=2)}
