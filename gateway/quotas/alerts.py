"""Alerts: a quota is four fifths or all taken. A janitor's work: it stops nothing, and misses no window, however short."""

from billing.kit.query import Conn
from billing.plans.events import tell
from gateway.quotas import sql
from gateway.quotas.model import THRESHOLDS, window_s

_ROWS_MAX = 500


async def tell_reached(conn: Conn) -> int:
    """Tells of each threshold that a quota has reached for a subject, once in each window. Returns how many were new."""
    rows = await sql.UNTOLD.all(conn, _ROWS_MAX)
    told = 0
    for row in rows:
        for percent in reversed(THRESHOLDS):
            if row.told < percent <= row.reached:
                source = f"{row.quota_id}/{row.subject}/{_window(row)}/{percent}"
                told += await tell(conn, "quota.reached", source, row.org_id, _facts(row, percent))
    if rows:
        await sql.MARK_TOLD.run(
            conn, [row.org_id for row in rows], [row.id for row in rows], [row.reached for row in rows]
        )  # fmt: skip
    return told


def _facts(row: sql.Untold, percent: int) -> dict[str, int | str]:
    return {
        "quota": row.name, "quota_id": str(row.quota_id), "scope": row.scope, "subject": row.subject, "meter": row.meter,
        "per": row.per or "", "limit": row.most, "percent": percent,
    }  # fmt: skip


def _window(row: sql.Untold) -> str:
    """A rolling window has no beginning of its own: it is told once in a length of time, as jobs at a time are once a day."""
    if row.per is None:
        return f"{row.at:%Y-%m-%d}"
    if row.rolling:
        return str(int(row.starts_at.timestamp()) // window_s(row.per))
    return row.starts_at.isoformat()
