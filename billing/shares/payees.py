"""Register payees, and the agreements by which they share."""

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

from billing.errors import AgreementInvalid, PayeeConflict, UnknownPayee
from billing.kit.ids import derived_id, new_id
from billing.kit.money import SYMBOLS
from billing.kit.query import Conn
from billing.ledger.wallets import open_payable
from billing.shares import sql
from billing.shares.model import Agreement, IncomeKind, Party, Payee, check_parties

_parties = msgspec.json.Decoder(tuple[Party, ...])


async def register_payee(conn: Conn, reference: str, name: str, currency: str, threshold_micro: int) -> Payee:
    """Registers the payee, or returns it as it is where it exists. It is not verified yet, so nothing is paid out.

    Raises PayeeConflict where it exists with another currency, or for a currency, name or threshold that cannot be.
    """
    if currency not in SYMBOLS or threshold_micro <= 0 or not reference or not name:
        raise PayeeConflict(f"{reference!r}: a payee has a name, a currency of {', '.join(SYMBOLS)} and a threshold above zero")
    await sql.ADD_PAYEE.run(conn, derived_id("payee", reference), reference, name, currency, threshold_micro)
    found = await payee(conn, reference)
    if found.currency != currency:
        raise PayeeConflict(f"{reference} is paid in {found.currency}")
    await open_payable(conn, found.id, currency)
    return found


async def set_payee(conn: Conn, reference: str, *, verified: bool, destination: str | None, threshold_micro: int) -> Payee:
    """What payouts need: whether it was checked who the payee is, where money goes, and from which amount on.

    Raises UnknownPayee, and PayeeConflict for a threshold that cannot be.
    """
    found = await payee(conn, reference)
    if threshold_micro <= 0:
        raise PayeeConflict("a threshold is more than zero")
    await sql.SET_PAYEE.run(conn, found.id, verified, destination, threshold_micro)
    return await payee(conn, reference)


async def payee(conn: Conn, reference: str) -> Payee:
    """Raises UnknownPayee."""
    found = await sql.PAYEES.all(conn, [reference])
    if not found:
        raise UnknownPayee(reference)
    return found[0]


async def payees(conn: Conn) -> list[Payee]:
    return await sql.ALL_PAYEES.all(conn)


async def payees_by_reference(conn: Conn, references: Iterable[str]) -> dict[str, Payee]:
    return {found.reference: found for found in await sql.PAYEES.all(conn, list(set(references)))}


async def agree(
    conn: Conn, subject: str, kind: IncomeKind, currency: str, *, effective_on: date, parties: Sequence[Party] | None
) -> Agreement:
    """Puts an agreement in force from a day on; None ends it. The same again changes nothing.

    Raises AgreementInvalid, also where another one begins that day, and UnknownPayee.
    """
    if not subject:
        raise AgreementInvalid("it does not say whose income it shares")
    if parties is not None:
        if wrong := check_parties(parties):
            raise AgreementInvalid(f"{subject}: {wrong}")
        known = {found.id: found for found in await sql.PAYEES_BY_ID.all(conn, [party.payee for party in parties])}
        for party in parties:
            if party.payee not in known:
                raise UnknownPayee(str(party.payee))
            if known[party.payee].currency != currency:
                raise AgreementInvalid(f"{subject}: {known[party.payee].reference} is paid in {known[party.payee].currency}")
    encoded = None if parties is None else msgspec.json.encode(parties)
    await sql.ADD_AGREEMENT.run(conn, new_id(), subject, kind, currency, effective_on, encoded)
    found = _agreement(await sql.AGREEMENT_ON.one(conn, subject, effective_on))
    asked = (kind, currency, None if parties is None else tuple(parties))
    if (found.kind, found.currency, found.parties) != asked:
        raise AgreementInvalid(f"{subject}: another agreement begins on {effective_on}; begin this one on another day")
    return found


async def agreements(conn: Conn, subjects: Iterable[str]) -> dict[str, list[Agreement]]:
    """The agreements of each subject, by the day they take effect."""
    found: dict[str, list[Agreement]] = {}
    for row in await sql.AGREEMENTS.all(conn, list(set(subjects))):
        found.setdefault(row.subject, []).append(_agreement(row))
    return found


def parties_of(encoded: str) -> tuple[Party, ...]:
    return _parties.decode(encoded)


def _agreement(row: sql.AgreementRow) -> Agreement:
    parties = None if row.parties is None else parties_of(row.parties)
    return Agreement(row.id, row.subject, row.kind, row.currency, row.effective_on, parties)
