"""The rules about grants, refunds, limits and reversals find exactly the damage they are for."""

import pytest

from billing.kit.ids import new_id
from billing.ledger.post import Posting, post_all
from billing.ledger.reverse import reverse
from billing.ledger.wallets import open_wallet, set_credit_limit
from tests.billing.ledger.book import Ledger
from tests.billing.ledger.test_grants import LATER, Shelf


async def history(ledger: Ledger) -> None:
    """A pack and a promotion, both used and partly given back; a limit that is used and invoiced; a reversal; play money."""
    shelf = Shelf(ledger)
    await shelf.issue("promo", 10, expires_at=LATER)
    await shelf.pack(3000, 100)
    hold_id = await shelf.held(60, 4000, 10)
    await shelf.capture(hold_id, 3000, 10)
    await shelf.refund(hold_id, 1000, 4)
    async with ledger.conn.transaction():
        credit = await set_credit_limit(
            ledger.conn, source="s", customer_id=ledger.customer, book="live", asset="CNY", limit_micro=50
        )
        await open_wallet(ledger.conn, ledger.customer, "test", "CNY")
    await ledger.capture((await ledger.held(140), 140))
    async with ledger.conn.transaction():
        invoice = Posting(
            kind="close", source="nov", subject_id=ledger.customer, book="live", asset="CNY", accounts={"credit": credit},
            amounts={"total": 33, "usage": 30, "shortfall": 0, "tax": 3, "rounding": 0}, dimensions={"customer": str(ledger.customer)},
        )  # fmt: skip
        await post_all(ledger.conn, [invoice])
    transfer = await ledger.top_up(1)
    async with ledger.conn.transaction():
        await reverse(ledger.conn, transfer, "mistake")


def of(kind: str, book: str = "live") -> str:
    return (
        " WHERE account_id = (SELECT g.account_id FROM billing.grant g JOIN billing.wallet w ON w.id = g.wallet_id"
        f" WHERE g.kind = '{kind}' AND w.book = '{book}')"
    )


PLANTED: dict[str, tuple[set[str], str]] = {
    "a hold says more was given back": (
        {"refunded_once_in_full"},
        "UPDATE billing.hold SET refunded = refunded + 1 WHERE refunded BETWEEN 1 AND captured - 1",
    ),
    "a hold says nothing was given back": ({"refunded_once_in_full"}, "UPDATE billing.hold SET refunded = 0"),
    "a refund was for less": (
        {"refunded_once_in_full"},
        "UPDATE billing.transfer SET payload = payload || '{\"amount_micro\": 3}' WHERE kind = 'refund'",
    ),
    "a refund has no hold": (
        {"refund_has_hold", "refunded_once_in_full"},
        "UPDATE billing.transfer SET subject_id = gen_random_uuid() WHERE kind = 'refund'",
    ),
    "a wallet is below its floor": (
        {"nothing_is_overspent", "balance_equals_entries"},
        "UPDATE billing.balance SET posted = -1" + of("paid"),
    ),
    "a wallet may go below nothing": ({"floor_is_the_limit"}, "UPDATE billing.balance SET floor = -1" + of("paid")),
    "play money has a bottom": ({"floor_is_the_limit"}, "UPDATE billing.balance SET floor = 0" + of("paid", "test")),
    "a customer may owe more than agreed": ({"floor_is_the_limit"}, "UPDATE billing.balance SET floor = floor - 1" + of("credit")),
    "an agreed limit is gone": ({"floor_is_the_limit"}, "DELETE FROM billing.transfer WHERE kind = 'credit_limit'"),
    "a grant was larger": ({"grant_is_used_within_its_issue"}, "UPDATE billing.grant SET issued = issued + 1" + of("promo")),
    "a grant holds more than it was issued with": (
        {"grant_is_used_within_its_issue", "balance_equals_entries"},
        "UPDATE billing.balance SET posted = 11" + of("promo"),
    ),
    "a pack cost less": ({"deferred_is_what_is_not_earned"}, "UPDATE billing.grant SET basis_micro = basis_micro - 1" + of("pack")),
    "a pack was used more than its price was earned": (
        {"deferred_is_what_is_not_earned", "balance_equals_entries"},
        "UPDATE billing.balance SET posted = 900" + of("pack"),
    ),
    "a reversal is of less": (
        {"reversal_is_the_opposite", "balance_equals_entries"},
        "UPDATE billing.entry SET amount = amount * 2 WHERE transfer_id = (SELECT id FROM billing.transfer WHERE kind = 'reversal')",
    ),
    "an account has no grant": (
        {"wallet_account_has_grant_and_balance"},
        "INSERT INTO billing.account SELECT gen_random_uuid(), 'x', asset, book, id FROM billing.wallet WHERE book = 'test'",
    ),
    "an account is on another's wallet": (
        {"wallet_account_has_grant_and_balance"},
        "UPDATE billing.balance SET wallet_id = (SELECT id FROM billing.wallet WHERE book = 'test')" + of("promo"),
    ),
}  # fmt: skip


async def rules(ledger: Ledger) -> set[str]:
    return {finding.rule for finding in await ledger.findings()}


async def test_nothing_is_found_where_nothing_is_wrong(ledger: Ledger) -> None:
    await history(ledger)
    assert await ledger.findings() == []


@pytest.mark.parametrize("planted", PLANTED)
async def test_each_damage_is_found_by_its_rule(damaged: Ledger, planted: str) -> None:
    await history(damaged)
    expected, damage = PLANTED[planted]
    async with damaged.conn.transaction():
        for table in ("transfer", "entry", "grant", "balance"):
            await damaged.conn.execute(f"ALTER TABLE billing.{table} DISABLE TRIGGER USER")
        await damaged.conn.execute(damage)
    assert await rules(damaged) == expected


async def test_a_broken_chain_is_a_finding(damaged: Ledger) -> None:
    from billing.ledger.chain import seal

    await history(damaged)
    async with damaged.conn.transaction():
        assert await seal(damaged.conn) > 5
    await damaged.conn.execute("ALTER TABLE billing.transfer DISABLE TRIGGER USER")
    await damaged.conn.execute("UPDATE billing.transfer SET subject_id = $1 WHERE kind = 'promo'", new_id())
    assert await rules(damaged) == {"sealed_transfer_is_unchanged"}
