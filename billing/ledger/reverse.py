"""Reverse: the only correction there is. History stays; its opposite is added."""

from uuid import UUID

import msgspec

from billing.errors import BillingError, NotReversible
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.model import Entry
from billing.ledger.post import Move, write
from billing.ledger.rules import RULES, Rule


class _Named(msgspec.Struct, frozen=True):
    """What a posting's payload says about floors."""

    amounts: dict[str, int] = {}
    accounts: dict[str, UUID] = {}


async def reverse(conn: Conn, transfer_id: UUID, reason: str, *, filed: bool = False) -> UUID:
    """Posts the opposite of a transfer once, in the caller's transaction. Returns the reversal's id; a replay changes nothing.

    `filed` is for the verb that keeps a record of such transfers, and takes it back with them.

    Raises NotReversible for an unknown transfer, one that was itself a reversal, captures and refunds (`refund` corrects
    them), what an invoice or a credit note states (a credit note does), credit limits (another one does), expiries (a new
    grant does: nobody could draw on the old one), prepaid seconds (what is earned of their price depends on when) and what is
    filed elsewhere;
    InsufficientFunds when what it gave has been spent; TransferConflict when it was reversed for another reason.
    """
    found = {row.id: row for row in await sql.TRANSFERS.all(conn, [transfer_id])}.get(transfer_id)
    rule = RULES.get(found.kind) if found else None
    if found is None or rule is None or (rule.filed and not filed) or not _is_reversible(found.kind, rule):
        raise NotReversible(f"{found.kind if found else 'unknown'} {transfer_id}")
    named = msgspec.json.decode(found.payload, type=_Named)
    rise = named.amounts.get(rule.lowers, 0) - named.amounts.get(rule.raises, 0)
    legs = await sql.LEGS.all(conn, transfer_id)
    move = Move(
        derived_id("reversal", transfer_id),
        "reversal",
        found.subject_id,
        msgspec.json.encode({"of": transfer_id, "kind": found.kind, "reason": reason}),
        legs[0].book,
        tuple(Entry(leg.account_id, leg.asset, -leg.amount, leg.path) for leg in legs),
        ((named.accounts["credit"], rise),) if rise else (),
    )
    (outcome,) = await write(conn, [move])
    if isinstance(outcome, BillingError):
        raise outcome
    return move.id


def _is_reversible(kind: str, rule: Rule) -> bool:
    return bool(rule.legs) and not (rule.stated or kind.startswith("expire_") or any(leg.units for leg in rule.legs))
