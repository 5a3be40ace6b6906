"""Income shared by agreement and pools shared by views: exact, once, and never more than there is."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import (
    AgreementInvalid,
    PayeeConflict,
    PayoutConflict,
    PoolConflict,
    StatementRefused,
    UnknownPayee,
    UnknownPool,
)
from billing.kit.query import Conn
from billing.ledger.trial import trial_balance
from billing.ledger.verify import verify
from billing.shares.files import income_of_csv, views_of_csv
from billing.shares.model import WHOLE_PPM, IncomeRow, IncomeStatement, Party, PayeeChange, split, split_back
from billing.shares.payees import agree, register_payee, set_payee
from billing.shares.payouts import make_payouts, mark_failed, mark_paid, mark_sent, open_payouts, payouts_of
from billing.shares.read import payee_statement
from billing.shares.statements import Imported, import_income, settle_income
from billing.shares.views import close_due_pool, count_views, open_pool
from tests.billing.conftest import Clock

JAN = date(2026, 1, 1)
YUAN = 1_000_000
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


async def merchant(conn: Conn, name: str, currency: str = "CNY") -> UUID:
    return (await register_payee(conn, name, name.title(), currency, 10 * YUAN)).id


async def shop(conn: Conn, *ppm: int, subject: str = "shop", currency: str = "CNY", on: date = JAN) -> list[UUID]:
    ids = [await merchant(conn, f"m{nth}", currency) for nth in range(len(ppm))]
    await agree(
        conn, subject, "ad", currency, effective_on=on, parties=[Party(one, part) for one, part in zip(ids, ppm, strict=True)]
    )
    return ids


def row(
    row_id: str,
    amount: int,
    *,
    subject: str = "shop",
    occurred_on: date = date(2026, 1, 5),
    currency: str = "CNY",
    takes_back: str | None = None,
) -> IncomeRow:
    return IncomeRow(row_id, subject, occurred_on, currency, amount, takes_back)


def statement(*rows: IncomeRow, reference: str = "s1", total: int | None = None, currency: str = "CNY") -> IncomeStatement:
    return IncomeStatement("kads", reference, currency, sum(one.amount_micro for one in rows) if total is None else total, rows)


async def take(conn: Conn, what: IncomeStatement) -> Imported:
    async with conn.transaction():
        return await import_income(conn, what)


async def owed(conn: Conn, *names: str) -> list[int]:
    found = [await payee_statement(conn, name, *ALWAYS) for name in names]
    assert all(one.closing_micro == one.opening_micro + sum(line.amount_micro for line in one.lines) for one in found)
    return [one.closing_micro for one in found]


async def accounts(conn: Conn) -> dict[str, int]:
    assert await verify(conn) == []
    return {line.name: line.balance for line in await trial_balance(conn) if line.balance}


# -- agreements and statements -----------------------------------------------------------------------------------------
async def test_an_income_is_shared_to_the_last_micro(database: Conn) -> None:
    await shop(database, 333_333, 333_333)
    done = await take(database, statement(row("a", 100), row("b", 1)))
    assert done.new and (done.rows, done.total_micro) == (2, 101)
    assert await owed(database, "m0", "m1") == [33, 33]
    assert await accounts(database) == {"asset:income_receivable": -101, "revenue:shared": 35, "wallet:payable": 66}
    (line,) = (await payee_statement(database, "m0", *ALWAYS)).lines
    assert (line.kind, line.basis, line.subject) == ("share", "33.3333 % of ¥0.0001", "shop")


async def test_the_same_statement_is_taken_in_once(database: Conn) -> None:
    await shop(database, 700_000)
    first = await take(database, statement(row("a", 10 * YUAN)))
    again = await take(database, statement(row("a", 10 * YUAN)))
    assert (first.new, again.new, first.id) == (True, False, again.id)
    with pytest.raises(StatementRefused, match="taken in before with other rows"):
        await take(database, statement(row("a", 11 * YUAN)))
    assert await owed(database, "m0") == [7 * YUAN]


async def test_the_agreement_of_the_day_counts(database: Conn) -> None:
    (one,) = await shop(database, 500_000)
    await agree(database, "shop", "ad", "CNY", effective_on=date(2026, 2, 1), parties=[Party(one, 100_000)])
    await agree(database, "shop", "ad", "CNY", effective_on=date(2026, 3, 1), parties=None)
    days = [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 28)]
    await take(database, statement(*(row(str(day), 100, occurred_on=day) for day in days)))
    assert await owed(database, "m0") == [50 + 10 + 10]
    for day in (date(2025, 12, 31), date(2026, 3, 1)):
        with pytest.raises(StatementRefused, match=f"no agreement about shop on {day}"):
            await take(database, statement(row("x", 100, occurred_on=day), reference=str(day)))


REFUSED: dict[str, tuple[IncomeStatement, list[tuple[int, str]]]] = {
    "a wrong total": (statement(row("a", 5), total=6), [(0, "the total says")]),
    "a row twice": (statement(row("a", 5), row("b", 5), row("a", 5)), [(3, "row a is row 1 again")]),
    "another currency": (statement(row("a", 5), row("b", 5, currency="USD")), [(2, "it is in USD, the statement in CNY")]),
    "nobody's income": (statement(row("a", 5), row("b", 5, subject="x"), row("c", 5, subject="y")), [(2, "no agreement about x"), (3, "no agreement about y")]),
    "an agreement in another currency": (statement(row("a", 5, currency="USD"), currency="USD"), [(1, "the agreement about shop is in CNY")]),
    "below zero without a reason": (statement(row("a", 5), row("b", -5)), [(2, "one below zero says what it takes back")]),
    "a reason above zero": (statement(row("a", 5), row("b", 5, takes_back="a")), [(2, "one below zero says what it takes back")]),
    "nothing": (statement(row("a", 0)), [(1, "an income is above zero")]),
    "back from nothing": (statement(row("b", -5, takes_back="zz")), [(1, "there is no income zz")]),
    "more back than there was": (statement(row("a", 5), row("b", -3, takes_back="a"), row("c", -3, takes_back="a")), [(3, "only ¥0.000002 is left")]),
    "back from another": (statement(row("a", 5), row("b", -3, takes_back="a", subject="elsewhere")), [(2, "income a was of shop")]),
    "no rows": (statement(), [(0, "at least one row")]),
    "no id": (statement(row("", 5)), [(1, "a row has an id")]),
    "an unknown currency": (statement(row("a", 5, currency="XAU"), currency="XAU"), [(0, "no currency of ours")]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_one_wrong_row_refuses_the_whole_file(database: Conn, what: str) -> None:
    await shop(database, 500_000)
    wrong, expected = REFUSED[what]
    with pytest.raises(StatementRefused) as refused:
        await take(database, wrong)
    said = [(one.row, one.what) for one in refused.value.problems]
    assert len(said) == len(expected), said
    assert all(got[0] == want[0] and want[1] in got[1] for got, want in zip(said, expected, strict=True)), said
    assert await accounts(database) == {}
    assert await database.fetchval("SELECT count(*) FROM billing.income_statement") == 0


async def test_a_row_comes_once_whatever_its_statement_is_called(database: Conn) -> None:
    await shop(database, 500_000)
    await take(database, statement(row("a", 5)))
    with pytest.raises(StatementRefused, match="row 2: row a came with an earlier statement"):
        await take(database, statement(row("b", 5), row("a", 5), reference="s2"))


async def test_what_is_taken_back_leaves_nobody_anything(database: Conn) -> None:
    await shop(database, 333_333, 333_333)
    await take(database, statement(row("a", 100), row("b", -33, takes_back="a")))
    await take(database, statement(row("c", -1, takes_back="a"), row("d", -66, takes_back="a"), reference="s2"))
    assert await owed(database, "m0", "m1") == [0, 0]
    assert await accounts(database) == {}


async def test_the_network_pays_a_statement_once(database: Conn) -> None:
    await shop(database, 500_000)
    await take(database, statement(row("a", 10)))
    for _ in range(2):
        await settle_income(database, "kads", "s1")
    assert await accounts(database) == {"asset:bank": -10, "revenue:shared": 5, "wallet:payable": 5}
    with pytest.raises(StatementRefused, match="has no statement s9"):
        await settle_income(database, "kads", "s9")


PARTIES = st.lists(st.integers(1, WHOLE_PPM), min_size=1, max_size=6).filter(lambda parts: sum(parts) <= WHOLE_PPM)


def some(parts: Sequence[int]) -> list[Party]:
    return [Party(UUID(int=nth), ppm) for nth, ppm in enumerate(parts)]


@given(st.integers(0, 10**15), PARTIES)
def test_shares_sum_to_the_income(amount: int, parts: list[int]) -> None:
    got = split(amount, some(parts))
    assert sum(got) == amount and min(got) >= 0
    assert all(abs(share * WHOLE_PPM - amount * ppm) < WHOLE_PPM for share, ppm in zip(got, parts, strict=False))


@given(PARTIES, st.lists(st.integers(1, 10**9), min_size=1, max_size=8))
def test_taking_back_in_any_steps_undoes_the_whole(parts: list[int], steps: list[int]) -> None:
    amount, taken = sum(steps), 0
    left = split(amount, some(parts))
    for step in steps:
        back = split_back(amount, taken, step, some(parts))
        assert sum(back) == step
        left, taken = [one - other for one, other in zip(left, back, strict=True)], taken + step
    assert not any(left)


@pytest.mark.parametrize(
    "parts, why",
    [([], "at least one party"), ([600_000, 400_001], "more than the whole"), ([0], "1 to 1000000"), ([-1], "1 to 1000000")],
)
async def test_an_agreement_that_cannot_be_kept(database: Conn, parts: list[int], why: str) -> None:
    ids = [await merchant(database, f"m{nth}") for nth in range(2)]
    with pytest.raises(AgreementInvalid, match=why):
        await agree(
            database,
            "shop",
            "ad",
            "CNY",
            effective_on=JAN,
            parties=[Party(one, part) for one, part in zip(ids, parts, strict=False)],
        )


async def test_an_agreement_is_never_changed(database: Conn) -> None:
    (one,) = await shop(database, 500_000)
    await shop(database, 500_000)
    with pytest.raises(AgreementInvalid, match="another agreement begins on 2026-01-01"):
        await agree(database, "shop", "ad", "CNY", effective_on=JAN, parties=[Party(one, 400_000)])
    with pytest.raises(AgreementInvalid, match="a payee is a party once"):
        await agree(database, "x", "ad", "CNY", effective_on=JAN, parties=[Party(one, 1), Party(one, 2)])
    with pytest.raises(AgreementInvalid, match="m0 is paid in CNY"):
        await agree(database, "x", "ad", "USD", effective_on=JAN, parties=[Party(one, 1)])
    with pytest.raises(UnknownPayee):
        await agree(database, "x", "ad", "CNY", effective_on=JAN, parties=[Party(UUID(int=9), 1)])
    with pytest.raises(PayeeConflict, match="m0 is paid in CNY"):
        await merchant(database, "m0", "USD")


# -- views -------------------------------------------------------------------------------------------------------------
async def pool_of(conn: Conn, clock: Clock, amount: int = 100) -> None:
    for name in ("ann", "ben", "cyd"):
        await merchant(conn, name)
    await open_pool(
        conn, "films", JAN, date(2026, 2, 1), currency="CNY", pool_micro=amount, closes_at=clock.at + timedelta(days=40)
    )


async def counts(conn: Conn, **views: int) -> None:
    async with conn.transaction():
        await count_views(conn, "films", JAN, list(views.items()), sum(views.values()))


async def test_a_pool_is_shared_after_its_fraud_window(database: Conn, clock: Clock) -> None:
    await pool_of(database, clock)
    await counts(database, ann=1, ben=1, cyd=8)
    await counts(database, ann=1, ben=1, cyd=1)
    assert await close_due_pool(database) == 0 and await owed(database, "ann", "ben", "cyd") == [0, 0, 0]
    await clock.advance(days=40)
    assert await close_due_pool(database) == 1 and await close_due_pool(database) == 0
    shares = await owed(database, "ann", "ben", "cyd")
    assert sorted(shares) == [33, 33, 34] and await verify(database) == []


async def test_a_later_count_moves_what_differs(database: Conn, clock: Clock) -> None:
    await pool_of(database, clock, amount=90)
    await counts(database, ann=1, ben=1, cyd=1)
    await clock.advance(days=40)
    await close_due_pool(database)
    await counts(database, ann=2, ben=1)
    assert await owed(database, "ann", "ben", "cyd") == [60, 30, 0]
    await counts(database, ann=2, ben=1)
    assert await owed(database, "ann", "ben", "cyd") == [60, 30, 0]
    await counts(database)
    assert await owed(database, "ann", "ben", "cyd") == [0, 0, 0] and await accounts(database) == {}


async def test_a_count_with_a_wrong_row_changes_nothing(database: Conn, clock: Clock) -> None:
    await pool_of(database, clock)
    await merchant(database, "dee", "USD")
    rows = [("ann", 5), ("zed", 1), ("ann", 5), ("dee", 1), ("ben", -1)]
    with pytest.raises(StatementRefused) as refused:
        await count_views(database, "films", JAN, rows, 12)
    assert sorted(one.row for one in refused.value.problems) == [0, 2, 3, 4, 5]
    assert await database.fetchval("SELECT count(*) FROM billing.view_count") == 0
    with pytest.raises(UnknownPool):
        await count_views(database, "films", date(2026, 2, 1), [], 0)
    with pytest.raises(PoolConflict, match="other terms"):
        await pool_of(database, clock, amount=101)
    with pytest.raises(PoolConflict, match="small letters"):
        await open_pool(database, "A/B", JAN, date(2026, 2, 1), currency="CNY", pool_micro=1, closes_at=clock.at)


# -- payouts -----------------------------------------------------------------------------------------------------------
async def earned(conn: Conn, amount: int, row_id: str = "a", **checked: Any) -> None:
    await shop(conn, WHOLE_PPM)
    needs: dict[str, Any] = {"verified": True, "destination": "acct_1", "threshold_micro": 10 * YUAN, **checked}
    await set_payee(conn, "m0", PayeeChange(**needs))
    await take(conn, statement(row(row_id, amount), reference=row_id))


async def test_a_payout_is_due_sent_and_paid(database: Conn) -> None:
    await earned(database, 12_345_678)
    (made,) = await make_payouts(database, {"CNY": 100 * YUAN})
    assert (made.amount_micro, made.state, made.destination) == (12_340_000, "due", "acct_1")
    assert await make_payouts(database, {"CNY": 100 * YUAN}) == [] and await owed(database, "m0") == [5_678]
    for _ in range(2):
        await mark_sent(database, made.id, "tr_1")
    for _ in range(2):
        await mark_paid(database, made.id)
    assert await open_payouts(database) == []
    books = {line.name: line.balance for line in await trial_balance(database) if line.balance}
    assert books["asset:clearing"] == 12_340_000 and "liability:payout_transit" not in books
    with pytest.raises(PayoutConflict, match="is paid, it cannot become failed"):
        await mark_failed(database, made.id, "late")


@pytest.mark.parametrize("sent", [False, True])
async def test_what_a_failed_payout_was_to_pay_is_owed_again(database: Conn, *, sent: bool) -> None:
    await earned(database, 20 * YUAN)
    (made,) = await make_payouts(database, {"CNY": 100 * YUAN})
    if sent:
        await mark_sent(database, made.id, "tr_1")
    for _ in range(2):
        await mark_failed(database, made.id, "account closed")
    assert await owed(database, "m0") == [20 * YUAN]
    (again,) = await make_payouts(database, {"CNY": 100 * YUAN})
    assert [one.state for one in await payouts_of(database, made.payee_id)] == ["failed", "due"] and again.id != made.id
    assert await verify(database) == []


@pytest.mark.parametrize(
    "amount, checked, available",
    [
        (9_999_999, {}, 100 * YUAN),
        (20 * YUAN, {"verified": False}, 100 * YUAN),
        (20 * YUAN, {"destination": None}, 100 * YUAN),
        (20 * YUAN, {}, 20 * YUAN - 1),
        (20 * YUAN, {}, 0),
    ],
)
async def test_nothing_is_paid_before_it_may_be(database: Conn, amount: int, checked: dict[str, Any], available: int) -> None:
    await earned(database, amount, **checked)
    assert await make_payouts(database, {"CNY": available}) == [] and await owed(database, "m0") == [amount]


async def test_what_was_paid_out_and_taken_back_comes_off_what_is_next(database: Conn) -> None:
    await earned(database, 20 * YUAN)
    (made,) = await make_payouts(database, {"CNY": 100 * YUAN})
    await mark_sent(database, made.id, "tr_1")
    await mark_paid(database, made.id)
    await take(database, statement(row("b", -15 * YUAN, takes_back="a"), reference="s2"))
    assert await owed(database, "m0") == [-15 * YUAN] and await verify(database) == []
    await take(database, statement(row("c", 10 * YUAN), row("d", 8 * YUAN), reference="s3"))
    assert await make_payouts(database, {"CNY": 100 * YUAN}) == [] and await owed(database, "m0") == [3 * YUAN]
    kinds = [line.kind for line in (await payee_statement(database, "m0", *ALWAYS)).lines]
    assert sorted(kinds) == ["payout", "share", "share", "share", "share_back"]
    assert await verify(database) == []


# -- files -------------------------------------------------------------------------------------------------------------
HEAD = "id,subject,occurred_on,currency,amount,takes_back\n"


def test_a_statement_as_csv() -> None:
    text = HEAD + "a,shop,2026-01-05,CNY,12.50,\nb,shop,2026-01-06,CNY,-2.5,a\ntotal,,,,10.00,\n"
    found = income_of_csv("\ufeff" + text, network="kads", reference="s1", currency="CNY")
    assert found == statement(row("a", 12_500_000), row("b", -2_500_000, occurred_on=date(2026, 1, 6), takes_back="a"))


@pytest.mark.parametrize(
    "text, rows",
    [
        ("", [0]), ("a,b\n", [0]), (HEAD, [0]), (HEAD + "a,shop,2026-01-05,CNY,1,\n", [0]),
        (HEAD + "a,shop,2026-13-05,CNY,1,\nb,shop,2026-01-05,CNY,1.0000001,\nc,shop\ntotal,,,,x,\n", [1, 2, 3, 0]),
    ],
)  # fmt: skip
def test_a_statement_that_cannot_be_read(text: str, rows: list[int]) -> None:
    with pytest.raises(StatementRefused) as refused:
        income_of_csv(text, network="kads", reference="s1", currency="CNY")
    assert [one.row for one in refused.value.problems] == rows


def test_views_as_csv() -> None:
    assert views_of_csv("creator,views\nann,3\nben,0\ntotal,3\n") == ([("ann", 3), ("ben", 0)], 3)
    with pytest.raises(StatementRefused, match="row 1: '-3' is no number of views"):
        views_of_csv("creator,views\nann,-3\ntotal,-3\n")
