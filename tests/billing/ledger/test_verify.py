"""Each rule finds exactly the damage it is for. The tables refuse most of it, so the tests disarm them first."""

import pytest

from billing.kit.ids import new_id
from tests.billing.ledger.book import REVENUE, Ledger

DISARM = """
    ALTER TABLE billing.entry DISABLE TRIGGER USER;
    ALTER TABLE billing.transfer DISABLE TRIGGER USER;
"""


async def history(ledger: Ledger) -> None:
    """A hold in each state, on one account and across two, and one that was captured for nothing."""
    await ledger.add_account("second", 100)
    across = await ledger.held(130)
    await ledger.capture((across, 110))
    await ledger.capture((await ledger.held(10), 10), (await ledger.held(10), 0))
    await ledger.release(await ledger.held(20))
    await ledger.held(15)


async def rules(ledger: Ledger) -> set[str]:
    return {finding.rule for finding in await ledger.findings()}


async def test_nothing_is_found_where_nothing_is_wrong(ledger: Ledger) -> None:
    assert await ledger.findings() == []
    await history(ledger)
    assert await ledger.findings() == []


CAPTURED = "(SELECT id FROM billing.transfer WHERE kind = 'capture' AND subject_id = "
TEN = CAPTURED + "(SELECT id FROM billing.hold WHERE captured = 10 AND amount = 10))"
OPEN = " WHERE state = 'held'"
PLANTED: dict[str, tuple[set[str], str]] = {
    "a leg was changed": (
        {"transfer_sums_to_zero", "captured_once_in_full"},
        f"UPDATE billing.entry SET amount = amount + 1 WHERE amount > 0 AND transfer_id = {TEN}",
    ),
    "a leg changed its currency": (
        {"transfer_sums_to_zero", "entry_has_transfer_and_account"},
        f"UPDATE billing.entry SET asset = 'USD' WHERE amount > 0 AND transfer_id = {TEN}",
    ),
    "a wallet was given money": ({"balance_equals_entries"}, "UPDATE billing.balance SET posted = posted + 1"),
    "a leg fell on the wrong wallet": (
        {"balance_equals_entries"},
        f"UPDATE billing.entry SET account_id = '{REVENUE}' WHERE amount < 0 AND transfer_id = {TEN}",
    ),
    "more is held than the holds say": (
        {"held_equals_open_holds"},
        "UPDATE billing.balance SET held = held - 1 WHERE held > 0",
    ),
    "an open hold was changed": ({"held_equals_open_holds"}, "UPDATE billing.hold SET amount = 16" + OPEN),
    "an open hold is gone": ({"held_equals_open_holds"}, "DELETE FROM billing.hold" + OPEN),
    "a hold was freed but not its money": (
        {"held_equals_open_holds"},
        "UPDATE billing.hold SET state = 'released', ended_at = now()" + OPEN,
    ),
    "a hold says it was charged less": (
        {"captured_once_in_full"},
        "UPDATE billing.hold SET captured = 9 WHERE captured = 10 AND amount = 10",
    ),
    "a charge is gone": (
        {"captured_once_in_full", "entry_has_transfer_and_account"},
        f"DELETE FROM billing.transfer WHERE id = {TEN}",
    ),
    "a charge for nothing is gone": (
        {"captured_once_in_full"},
        f"DELETE FROM billing.transfer WHERE id = {CAPTURED}"
        "(SELECT id FROM billing.hold WHERE captured = 0 AND state = 'captured'))",
    ),
    "a released hold was charged": (
        {"captured_once_in_full"},
        "INSERT INTO billing.transfer (id, kind, subject_id, payload)"
        " SELECT gen_random_uuid(), 'capture', id, '{}' FROM billing.hold WHERE state = 'released'",
    ),
    "a hold was charged twice": (
        {"captured_once_in_full"},
        "INSERT INTO billing.transfer (id, kind, subject_id, payload)"
        " SELECT gen_random_uuid(), 'capture', id, '{}' FROM billing.hold WHERE captured = 10 AND amount = 10",
    ),
    "half a hold ended": (
        {"hold_has_one_state"},
        "UPDATE billing.hold SET state = 'released', captured = 0 WHERE seq = 1",
    ),
    "an entry has no transfer": (
        {"entry_has_transfer_and_account"},
        f"INSERT INTO billing.entry VALUES (gen_random_uuid(), 0, '{REVENUE}', 'CNY', 0 + 1, billing.now())",
    ),
    "an entry has no account": (
        {"entry_has_transfer_and_account"},
        f"UPDATE billing.entry SET account_id = gen_random_uuid() WHERE account_id = '{REVENUE}'",
    ),
    "an entry was booked at another moment": (
        {"entry_has_the_moment_of_its_transfer"},
        f"UPDATE billing.entry SET booked_at = booked_at - interval '1 month' WHERE account_id = '{REVENUE}'",
    ),
    "a hold is on no account": (
        {"hold_has_guarded_account"},
        "INSERT INTO billing.hold (id, seq, account_id, request, amount) VALUES (gen_random_uuid(), 0, gen_random_uuid(), '', 1)",
    ),
    "a hold is on an account of ours": (
        {"hold_has_guarded_account"},
        f"INSERT INTO billing.hold (id, seq, account_id, request, amount) VALUES (gen_random_uuid(), 0, '{REVENUE}', '', 1)",
    ),
    "a charge has no hold": (
        {"capture_has_hold"},
        "INSERT INTO billing.transfer (id, kind, subject_id, payload)"
        " VALUES (gen_random_uuid(), 'capture', gen_random_uuid(), '{}')",
    ),
}
ALSO = {
    "a leg fell on the wrong wallet": {"captured_from_its_draws"},
    "a hold says it was charged less": {"captured_from_its_draws"},
    "a charge is gone": {"captured_from_its_draws"},
    "half a hold ended": {"captured_once_in_full", "captured_from_its_draws"},
    "an entry has no transfer": {"transfer_sums_to_zero"},
}


@pytest.mark.parametrize("planted", PLANTED)
async def test_each_damage_is_found_by_its_rule(damaged: Ledger, planted: str) -> None:
    await history(damaged)
    expected, damage = PLANTED[planted]
    async with damaged.conn.transaction():
        await damaged.conn.execute(DISARM)
        await damaged.conn.execute(damage)
    assert await rules(damaged) == expected | ALSO.get(planted, set())


async def test_every_rule_is_planted() -> None:
    assert set[str]().union(*(expected for expected, _ in PLANTED.values())) == {
        "transfer_sums_to_zero", "balance_equals_entries", "held_equals_open_holds", "captured_once_in_full", "hold_has_one_state",
        "entry_has_transfer_and_account", "entry_has_the_moment_of_its_transfer", "hold_has_guarded_account", "capture_has_hold",
    }  # fmt: skip


async def test_a_charge_on_another_account_than_its_hold_is_found(damaged: Ledger) -> None:
    """Both balances were made to fit, so only the comparison of the charge with its hold can see it."""
    second = await damaged.add_account("second", 100)
    hold_id = await damaged.held(10)
    await damaged.capture((hold_id, 10))
    ((drawn, *_),) = await damaged.draws(hold_id)
    (other,) = {second, *await damaged.accounts()} - {drawn}
    async with damaged.conn.transaction():
        await damaged.conn.execute(DISARM)
        await damaged.conn.execute(
            "UPDATE billing.entry SET account_id = $1 WHERE account_id = $2 AND amount = -10", other, drawn
        )
        await damaged.conn.execute("UPDATE billing.balance SET posted = posted - 10 WHERE account_id = $1", other)
        await damaged.conn.execute("UPDATE billing.balance SET posted = posted + 10 WHERE account_id = $1", drawn)
    assert await rules(damaged) == {"captured_from_its_draws"}


async def test_at_most_a_hundred_are_listed(damaged: Ledger) -> None:
    await damaged.conn.executemany(
        "INSERT INTO billing.transfer (id, kind, subject_id, payload) VALUES ($1, 'capture', $1, '{}')",
        [(new_id(),) for _ in range(150)],
    )
    assert len(await damaged.findings()) == 100
