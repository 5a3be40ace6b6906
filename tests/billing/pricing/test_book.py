"""Publishing and finding cards, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
import pytest

from billing.customers.register import open_customer
from billing.errors import RateCardInvalid, UnknownCustomer
from billing.kit.ids import new_id
from billing.kit.query import Conn, Pool
from billing.pricing.book import PriceBook, publish, succession
from billing.pricing.model import Book, ModelRates, RateCard


def card(price_micro: int, *names: str, currency: str = "CNY") -> RateCard:
    return RateCard(
        currency, {name: ModelRates(price_micro, {"720p": 10_000}, {"standard": 10_000}) for name in names or ("film",)}
    )


async def book_of(conn: Conn, customer_id: UUID) -> Book:
    return (await PriceBook().in_force(conn, [customer_id]))[customer_id]


def price_of(book: Book, model: str = "film") -> int | None:
    rates = book.rates(model)
    return None if rates is None else rates.price_micro


async def count(conn: Conn) -> int:
    found: int = await conn.fetchval("SELECT count(*) FROM billing.rate_card")
    return found


async def clock(conn: Conn) -> datetime:
    now: datetime = await conn.fetchval("SELECT billing.now()")
    return now


@pytest.fixture
async def customer_id(database: Conn) -> UUID:
    return (await open_customer(database, new_id(), "CNY")).id


async def publish_in_transaction(conn: Conn, what: RateCard, at: datetime | None = None, customer_id: UUID | None = None) -> UUID:
    async with conn.transaction():
        return await publish(conn, what, at, customer_id=customer_id)


async def test_the_last_card_that_has_begun_is_in_force(database: Conn, customer_id: UUID) -> None:
    assert price_of(await book_of(database, customer_id)) is None
    await publish_in_transaction(database, card(1))
    first = await book_of(database, customer_id)
    await publish_in_transaction(database, card(2))
    await publish_in_transaction(database, card(3), await clock(database) + timedelta(days=1))
    assert (price_of(first), price_of(await book_of(database, customer_id))) == (1, 2)
    versions = await succession(database, "CNY")
    assert [(v.card, v.over) for v in versions] == [(card(1), True), (card(2), False), (card(3), False)]
    assert [v.until for v in versions] == [*[v.effective_from for v in versions][1:], None]


async def test_a_scheduled_card_takes_over_at_its_moment(database: Conn, customer_id: UUID) -> None:
    await publish_in_transaction(database, card(1))
    moment = await clock(database) + timedelta(days=1)
    await publish_in_transaction(database, card(2), moment)
    for second, price_micro in ((-1, 1), (0, 2), (1, 2)):
        now = moment + timedelta(seconds=second)
        await database.execute(
            f"CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$SELECT '{now}'::timestamptz$$"
        )
        found = await book_of(database, customer_id)
        assert (price_of(found), found.at) == (price_micro, now)


async def test_each_currency_has_a_succession_of_its_own(database: Conn, customer_id: UUID) -> None:
    dollars = (await open_customer(database, new_id(), "USD", "America/New_York")).id
    await publish_in_transaction(database, card(1))
    found = await PriceBook().in_force(database, [customer_id, dollars, new_id()])
    assert {key: (book.currency, book.time_zone, price_of(book)) for key, book in found.items()} == {
        customer_id: ("CNY", "Asia/Shanghai", 1),
        dollars: ("USD", "America/New_York", None),
    }
    await publish_in_transaction(database, card(7, currency="USD"))
    assert price_of(await book_of(database, dollars)) == 7
    assert (price_of(await PriceBook().listed(database, "USD")), price_of(await PriceBook().listed(database, "CNY"))) == (7, 1)


async def test_a_customers_own_card_is_seen_by_nobody_else(database: Conn, customer_id: UUID) -> None:
    other = (await open_customer(database, new_id(), "CNY")).id
    await publish_in_transaction(database, card(10, "film", "still"))
    own = await publish_in_transaction(database, card(4), customer_id=customer_id)
    mine, theirs = await book_of(database, customer_id), await book_of(database, other)
    assert (price_of(mine), price_of(mine, "still"), price_of(theirs)) == (4, 10, 10)
    assert mine.own is not None and mine.own.id == own and theirs.own is None
    await publish_in_transaction(database, card(12, "film", "still"))  # a new list does not touch what was agreed
    assert price_of(await book_of(database, customer_id)) == 4
    await publish_in_transaction(database, RateCard("CNY", {}), customer_id=customer_id)  # an empty one ends it
    assert price_of(await book_of(database, customer_id)) == 12


async def test_the_same_card_again_changes_nothing(database: Conn) -> None:
    moment = datetime(2099, 1, 1, tzinfo=UTC)
    first = await publish_in_transaction(database, card(1))
    later = await publish_in_transaction(database, card(2), moment)
    assert await publish_in_transaction(database, card(1)) == first
    assert await publish_in_transaction(database, card(2), moment) == later
    assert await count(database) == 2


async def test_former_prices_can_come_back(database: Conn, customer_id: UUID) -> None:
    first = await publish_in_transaction(database, card(1))
    await publish_in_transaction(database, card(2))
    again = await publish_in_transaction(database, card(1))
    assert again != first
    assert price_of(await book_of(database, customer_id)) == 1


async def test_a_first_card_may_reach_back(database: Conn, customer_id: UUID) -> None:
    await publish_in_transaction(database, card(1), datetime(2026, 1, 1, tzinfo=UTC))
    assert price_of(await book_of(database, customer_id)) == 1


async def test_what_was_in_force_is_never_rewritten(database: Conn, customer_id: UUID) -> None:
    await publish_in_transaction(database, card(1))
    moment = await clock(database) + timedelta(days=1)
    await publish_in_transaction(database, card(2), moment)
    for what, at, named in (
        (card(3), moment - timedelta(days=2), "is over, and prices were in force"),
        (card(3), moment, "another card takes effect"),
        (card(3), datetime(2099, 1, 1), "no time zone"),  # noqa: DTZ001 – what is refused
        (card(3, currency="EUR"), None, "currency 'EUR' is unknown"),
        (RateCard("CNY", {"film": msgspec.structs.replace(card(1).models["film"], price_micro=0.5)}), None, "got `float`"),
    ):
        with pytest.raises(RateCardInvalid, match=named):
            await publish_in_transaction(database, what, at)
    with pytest.raises(RateCardInvalid, match="billed in CNY, the card is in USD"):
        await publish_in_transaction(database, card(3, currency="USD"), customer_id=customer_id)
    nobody = new_id()
    with pytest.raises(UnknownCustomer, match=str(nobody)):
        await publish_in_transaction(database, card(3), customer_id=nobody)
    assert await count(database) == 2


async def test_the_public_list_is_that_of_its_currency_now_on_the_clock_of_utc(database: Conn) -> None:
    before = await clock(database)
    none = await PriceBook().listed(database, "USD")
    assert (none.currency, none.time_zone, none.listed, none.own) == ("USD", "UTC", None, None)
    card_id = await publish_in_transaction(database, card(1))
    found = await PriceBook().listed(database, "CNY")
    assert (found.currency, found.time_zone, found.own) == ("CNY", "UTC", None)
    assert found.listed is not None and found.listed.id == card_id
    assert before < none.at < found.at < await clock(database)


async def test_customers_may_have_the_same_card_from_the_same_moment(database: Conn, customer_id: UUID) -> None:
    other = (await open_customer(database, new_id(), "CNY")).id
    moment = await clock(database) + timedelta(days=1)
    owners = (customer_id, other, None)
    ids = [await publish_in_transaction(database, card(4), moment, customer_id=owner) for owner in owners]
    assert len(set(ids)) == 3 and await count(database) == 3
    assert [await publish_in_transaction(database, card(4), moment, customer_id=owner) for owner in owners] == ids
    for owner in owners:
        assert [version.id for version in await succession(database, "CNY", owner)] == [ids[owners.index(owner)]]
        with pytest.raises(RateCardInvalid, match="another card takes effect"):
            await publish_in_transaction(database, card(5), moment, customer_id=owner)


async def test_a_card_is_in_force_from_its_very_moment(database: Conn) -> None:
    now = await clock(database)
    await database.execute(
        f"CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$SELECT '{now}'::timestamptz$$"
    )
    first = await publish_in_transaction(database, card(1))
    assert await publish_in_transaction(database, card(1)) == first and await count(database) == 1


async def test_a_book_is_made_of_cards_that_are_known_and_others(database: Conn, customer_id: UUID) -> None:
    prices = PriceBook()
    await publish_in_transaction(database, card(1, "film", "still"))
    assert price_of((await prices.in_force(database, [customer_id]))[customer_id]) == 1
    await publish_in_transaction(database, card(2), customer_id=customer_id)
    found = (await prices.in_force(database, [customer_id]))[customer_id]
    assert (price_of(found), price_of(found, "still")) == (2, 1)


async def test_two_publishers_at_once_are_one_after_the_other(pool: Pool) -> None:
    async def one(price_micro: int) -> UUID:
        async with pool.acquire() as conn:
            return await publish_in_transaction(conn, card(price_micro))

    await asyncio.gather(*[one(n) for n in range(8)])
    async with pool.acquire() as conn:
        versions = await succession(conn, "CNY")
    assert len(versions) == 8
    assert sorted(v.card.models["film"].price_micro for v in versions) == list(range(8))


async def test_cards_are_read_once_and_books_in_one_statement(database: Conn) -> None:
    ids = [(await open_customer(database, new_id(), "CNY")).id for _ in range(20)]
    await publish_in_transaction(database, card(1))
    await publish_in_transaction(database, card(2), customer_id=ids[0])
    prices, said = PriceBook(), list[str]()
    await prices.in_force(database, ids)
    with database.query_logger(lambda record: said.append(record.query)):
        found = await prices.in_force(database, ids)
        await asyncio.sleep(0)  # the logger is told in the loop's next turn
    assert len(said) == 1
    assert [price_of(found[one]) for one in ids] == [2] + [1] * 19
    assert found[ids[1]].listed is found[ids[2]].listed


async def test_a_customer_with_prices_is_found_by_the_index(database: Conn) -> None:
    from billing.pricing import sql

    await database.execute(
        "INSERT INTO billing.customer (id, currency, time_zone) SELECT gen_random_uuid(), 'CNY', 'Asia/Shanghai' FROM generate_series(1, 3000)"
    )
    await database.execute(
        "INSERT INTO billing.rate_card (id, customer_id, currency, effective_from, card)"
        " SELECT gen_random_uuid(), id, 'CNY', clock_timestamp() - interval '1 day', '{}' FROM billing.customer"
    )
    await database.execute("ANALYZE billing.customer; ANALYZE billing.rate_card")
    ids = [row["id"] for row in await database.fetch("SELECT id FROM billing.customer LIMIT 64")]
    plan = "\n".join(row[0] for row in await database.fetch("EXPLAIN " + sql.IN_FORCE.sql, ids))
    assert "Seq Scan on rate_card" not in plan and "Seq Scan on customer" not in plan


async def test_a_published_card_never_changes(database: Conn, customer_id: UUID) -> None:
    statements = ("UPDATE billing.rate_card SET currency = 'USD'", "DELETE FROM billing.rate_card")
    await publish_in_transaction(database, card(1))
    for statement in statements:
        with pytest.raises(asyncpg.RestrictViolationError):
            await database.execute(statement)
    await database.execute("SET ROLE tallylight_app")
    await publish_in_transaction(database, card(2), customer_id=customer_id)
    for statement in (*statements, "DELETE FROM billing.customer"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute(statement)
    await database.execute("RESET ROLE")
