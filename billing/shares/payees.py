"""Register payees, and the agreements by which they share."""

from collections.abc import Iterable, Sequence
from datetime import date
from uuid import UUID

import msgspec
from msgspec import UNSET

from billing.errors import AgreementInvalid, PayeeConflict, UnknownPayee
from billing.kit.ids import derived_id, new_id
from billing.kit.money import SYMBOLS
from billing.kit.query import Conn
from billing.ledger.wallets import open_payable
from billing.shares import sql
from billing.shares.model import Agreement, IncomeKind, Party, Payee, PayeeChange, check_parties

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


async def set_payee(conn: Conn, reference: str, change: PayeeChange) -> Payee:
    """Changes what is given of it. Raises UnknownPayee, and as `change_payee`."""
    return await change_payee(conn, await lock_payee(conn, reference), change)


async def change_payee(conn: Conn, locked: Payee, change: PayeeChange) -> Payee:
    """As `set_payee`, for one that is locked. Returns it as it is now.

    Raises PayeeConflict for a threshold or name that cannot be, for a customer there is none of, and where Stripe says who is
    verified and where money goes.
    """
    wanted = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
    changed = msgspec.structs.replace(locked, **wanted)
    if changed == locked:
        return locked
    if changed.threshold_micro <= 0 or not changed.name or changed.held == "":
        raise PayeeConflict(f"{locked.reference}: a payee has a name and a threshold above zero; holding it has a reason")
    if locked.connected and (changed.verified, changed.destination) != (locked.verified, locked.destination):
        raise PayeeConflict(f"{locked.reference} is paid through {locked.destination}: Stripe says whether it is verified")
    if changed.customer_id is not None and await sql.HAS_CUSTOMER.maybe(conn, changed.customer_id) is None:
        raise PayeeConflict(f"there is no organization {changed.customer_id}")
    await sql.SET_PAYEE.run(
        conn, locked.id, changed.verified, changed.destination, changed.threshold_micro, changed.name, changed.held,
        changed.customer_id,
    )  # fmt: skip
    return await payee(conn, locked.reference)


async def lock_payee(conn: Conn, reference: str) -> Payee:
    """Raises UnknownPayee."""
    found = await sql.LOCK_PAYEE.maybe(conn, reference)
    if found is None:
        raise UnknownPayee(reference)
    return found


async def payee(conn: Conn, reference: str) -> Payee:
    """Raises UnknownPayee."""
    found = await sql.PAYEES.all(conn, [reference])
    if not found:
        raise UnknownPayee(reference)
    return found[0]


async def payees(conn: Conn) -> list[Payee]:
    return await sql.ALL_PAYEES.all(conn)


async def payee_page(conn: Conn, customer_id: UUID | None = None, *, after: UUID | None, limit: int) -> list[Payee]:
    """The newest first, from the one after `after` on: a customer's, or everybody."""
    return await sql.PAYEE_PAGE.all(conn, customer_id, after, limit)


async def payee_by_id(conn: Conn, payee_id: UUID) -> Payee:
    """Raises UnknownPayee."""
    found = await sql.PAYEES_BY_ID.all(conn, [payee_id])
    if not found:
        raise UnknownPayee(str(payee_id))
    return found[0]


async def payees_by_reference(conn: Conn, references: Iterable[str]) -> dict[str, Payee]:
    return {found.reference: found for found in await sql.PAYEES.all(conn, list(set(references)))}


# -- connected accounts ------------------------------------------------------------------------------------------------
async def connect(conn: Conn, payee_id: UUID, account_id: str) -> None:
    """It is paid by transfers to this account from now on, once Stripe says that it may be."""
    await sql.CONNECT.run(conn, payee_id, account_id)


async def note_account(conn: Conn, account_id: str, *, verified: bool, requirements: Sequence[str]) -> None:
    """What Stripe says of a connected account; one that is none of our payees' changes nothing."""
    await sql.ACCOUNT_IS.run(conn, account_id, verified, sorted(requirements))


async def lease_accounts(conn: Conn, limit: int) -> list[str]:
    """Those that are due to be asked about; not again for an hour or a day."""
    return [one.id for one in await sql.LEASE_ACCOUNTS.all(conn, limit)]


# -- agreements --------------------------------------------------------------------------------------------------------
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
    found = agreement_of(await sql.AGREEMENT_ON.one(conn, subject, effective_on))
    asked = (kind, currency, None if parties is None else tuple(parties))
    if (found.kind, found.currency, found.parties) != asked:
        raise AgreementInvalid(f"{subject}: another agreement begins on {effective_on}; begin this one on another day")
    return found


async def agreements(conn: Conn, subjects: Iterable[str]) -> dict[str, list[Agreement]]:
    """The agreements of each subject, by the day they take effect."""
    found: dict[str, list[Agreement]] = {}
    for row in await sql.AGREEMENTS.all(conn, list(set(subjects))):
        found.setdefault(row.subject, []).append(agreement_of(row))
    return found


def parties_of(encoded: str) -> tuple[Party, ...]:
    return _parties.decode(encoded)


def agreement_of(row: sql.AgreementRow) -> Agreement:
    parties = None if row.parties is None else parties_of(row.parties)
    return Agreement(row.id, row.subject, row.kind, row.currency, row.effective_on, parties)
