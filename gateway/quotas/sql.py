"""Every statement of quotas. Row locks are taken in this order: quotas by id, then counters by id.

A transaction that also moves money takes the locks of the ledger between the two.
"""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from billing.ledger.model import Finding
from gateway.quotas.model import Per, Quota


class Count(msgspec.Struct, frozen=True):
    """What counts at `at` against a quota that concerns the nth source.

    `counter_id` is the newest counter's, `starts_at` its beginning where the window rolls.
    """

    nth: int
    org_id: UUID
    quota_id: UUID
    version: int
    subject: str
    at: datetime
    used: int
    held: int
    counter_id: int | None
    starts_at: datetime | None
    frees_at: datetime | None


class Begun(msgspec.Struct, frozen=True):
    quota_id: UUID
    subject: str
    id: int


class Counted(msgspec.Struct, frozen=True):
    """What counts now against a quota for one subject."""

    quota_id: UUID
    subject: str
    used: int
    held: int
    starts_at: datetime
    counts_until: datetime
    frees_at: datetime


class Untold(msgspec.Struct, frozen=True):
    """A counter that reached a threshold that nobody was told of."""

    at: datetime
    org_id: UUID
    id: int
    quota_id: UUID
    name: str
    scope: str
    subject: str
    meter: str
    per: Per | None
    rolling: bool
    most: int
    starts_at: datetime
    reached: int
    told: int


class QuotaId(msgspec.Struct, frozen=True):
    id: UUID


class Moment(msgspec.Struct, frozen=True):
    at: datetime


_QUOTA: LiteralString = """
           q.org_id, q.id, q.name, q.livemode, q.scope, q.subject, q.meter, q.per, q.rolling, q.most, q.soft, q.version,
           q.created_at, q.updated_at, c.time_zone, c.currency
"""
_OF_ORGANIZATION: LiteralString = "gateway.quota q JOIN billing.customer c ON c.id = q.org_id"

# What a job was reserved with, and what it took in the end. Nothing but its own row says so, so both can be worked out again.
_RESERVED: LiteralString = """
    CASE q.meter WHEN 'money_micro' THEN j.hold_micro
                 WHEN 'generated_ms' THEN CASE WHEN coalesce(j.terms ->> 'unit', 'ms') = 'ms' THEN j.max_ms ELSE 0 END
                 WHEN 'images' THEN CASE WHEN j.terms ->> 'unit' = 'image' THEN j.max_ms ELSE 0 END
                 ELSE 1 END
"""
_TAKEN: LiteralString = """
    CASE WHEN j.state <> 'succeeded' THEN 0
         WHEN q.meter = 'money_micro' THEN j.charged_micro
         WHEN q.meter = 'generated_ms' AND coalesce(j.terms ->> 'unit', 'ms') = 'ms' THEN least(j.delivered_ms, j.max_ms)
         WHEN q.meter = 'images' AND j.terms ->> 'unit' = 'image' THEN least(j.delivered_ms, j.max_ms)
         WHEN q.meter = 'requests' THEN 1
         ELSE 0 END
"""

# -- admission ---------------------------------------------------------------------------------------------------------
COUNT = Query(
    Count,
    """
    SELECT nth, org_id, quota_id, version, subject, at, used, held, counter_id, starts_at, frees_at
    FROM gateway.count_quotas($1::uuid[], $2::boolean[], $3::text[], $4::text[], $5::text[], $6::text[])
    """,
)
DEFINITIONS = Query(
    Quota,
    "SELECT " + _QUOTA + " FROM " + _OF_ORGANIZATION + """
    JOIN unnest($1::uuid[], $2::uuid[]) AS u (org_id, id) ON u.org_id = q.org_id AND u.id = q.id
    """,
)  # fmt: skip
BEGIN = Query(
    Begun,
    """
    INSERT INTO gateway.quota_counter (org_id, quota_id, subject, starts_at, counts_until)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    RETURNING quota_id, subject, id
    """,
)
RESERVE = Command("""
    UPDATE gateway.quota_counter k SET held = k.held + l.added, reached = greatest(k.reached, l.percent)
    FROM (SELECT k.org_id, k.id, u.added, u.percent
          FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::smallint[]) AS u (org_id, id, added, percent)
          JOIN gateway.quota_counter k ON k.org_id = u.org_id AND k.id = u.id
          ORDER BY k.org_id, k.id FOR UPDATE OF k) l
    WHERE k.org_id = l.org_id AND k.id = l.id
""")

# -- the end of jobs ---------------------------------------------------------------------------------------------------
# A counter that was forgotten is not missed: its window is over.
TRUE_UP = Command(
    """
    WITH moved AS (
        SELECT k.org_id, k.id, sum("""
    + _RESERVED
    + """)::bigint AS reserved, sum("""
    + _TAKEN
    + """)::bigint AS taken
        FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, job_id)
        JOIN gateway.job j ON j.org_id = u.org_id AND j.id = u.job_id
        CROSS JOIN unnest(j.quota_counters) AS r (counter_id)
        JOIN gateway.quota_counter k ON k.org_id = j.org_id AND k.id = r.counter_id
        JOIN gateway.quota q ON q.org_id = k.org_id AND q.id = k.quota_id
        GROUP BY k.org_id, k.id
    ), locked AS (
        SELECT k.org_id, k.id FROM gateway.quota_counter k JOIN moved m ON m.org_id = k.org_id AND m.id = k.id
        ORDER BY k.org_id, k.id FOR UPDATE OF k
    )
    UPDATE gateway.quota_counter k SET held = k.held - m.reserved, used = k.used + m.taken
    FROM locked l JOIN moved m ON m.org_id = l.org_id AND m.id = l.id
    WHERE k.org_id = l.org_id AND k.id = l.id
"""
)

# -- what an organization sets -----------------------------------------------------------------------------------------
ADD = Query(
    QuotaId,
    """
    INSERT INTO gateway.quota (org_id, id, name, livemode, scope, subject, meter, per, rolling, most, soft)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (org_id, name) DO NOTHING RETURNING id
    """,
)
# Whether the organization has such a project or key.
HAS_SUBJECT = Query(
    QuotaId,
    """
    SELECT id FROM gateway.project WHERE $2 = 'project' AND org_id = $1 AND id = $3
    UNION ALL SELECT id FROM gateway.api_key WHERE $2 = 'key' AND org_id = $1 AND id = $3
    """,
)
CHANGE = Command("""
    UPDATE gateway.quota SET name = $3, most = $4, soft = $5, version = version + 1, updated_at = billing.now()
    WHERE org_id = $1 AND id = $2
""")
NAMED = Query(QuotaId, "SELECT id FROM gateway.quota WHERE org_id = $1 AND name = $2")
LOCK_ONE = Query(QuotaId, "SELECT id FROM gateway.quota WHERE org_id = $1 AND id = $2 FOR UPDATE")
LOCK_COUNTERS = Command("""
    SELECT FROM gateway.quota_counter WHERE org_id = $1 AND quota_id = $2 ORDER BY id FOR UPDATE
""")
DELETE_COUNTERS = Command("DELETE FROM gateway.quota_counter WHERE org_id = $1 AND quota_id = $2")
DELETE = Command("DELETE FROM gateway.quota WHERE org_id = $1 AND id = $2")
READ = Query(Quota, "SELECT " + _QUOTA + " FROM " + _OF_ORGANIZATION + " WHERE q.org_id = $1 AND q.id = $2")
LIST = Query(
    Quota,
    "SELECT " + _QUOTA + " FROM " + _OF_ORGANIZATION + """
    WHERE q.org_id = $1 AND ($2::uuid IS NULL OR q.id < $2) AND ($4::boolean IS NULL OR q.livemode = $4)
      AND ($5::text[] IS NULL OR q.scope NOT IN ('project', 'key') OR q.subject = ANY($5))
    ORDER BY q.id DESC LIMIT $3
    """,
)  # fmt: skip
NOW = Query(Moment, "SELECT billing.now() AS at")
# Of each of these quotas the subjects that have the most, at most $4 of them, or the one that is named.
COUNTED = Query(
    Counted,
    """
    SELECT t.quota_id, t.subject, t.used, t.held, t.starts_at, t.counts_until, t.frees_at
    FROM unnest($2::uuid[], $3::text[]) AS u (quota_id, subject)
    CROSS JOIN LATERAL (
        SELECT k.quota_id, k.subject, sum(k.used)::bigint AS used, sum(k.held)::bigint AS held, max(k.starts_at) AS starts_at,
               max(k.counts_until) AS counts_until, min(k.counts_until) AS frees_at
        FROM gateway.quota_counter k
        WHERE k.org_id = $1 AND k.quota_id = u.quota_id AND k.counts_until > (SELECT billing.now())
          AND (u.subject IS NULL OR k.subject = u.subject)
        GROUP BY k.quota_id, k.subject ORDER BY sum(k.used + k.held) DESC, k.subject LIMIT $4
    ) t
    """,
)

# -- what the clerk does -----------------------------------------------------------------------------------------------
UNTOLD = Query(
    Untold,
    """
    SELECT billing.now() AS at, k.org_id, k.id, k.quota_id, q.name, q.scope, k.subject, q.meter, q.per, q.rolling, q.most,
           k.starts_at, k.reached, k.told
    FROM gateway.quota_counter k JOIN gateway.quota q ON q.org_id = k.org_id AND q.id = k.quota_id
    WHERE k.reached > k.told ORDER BY k.org_id, k.id LIMIT $1
    """,
)
MARK_TOLD = Command("""
    UPDATE gateway.quota_counter k SET told = greatest(k.told, l.percent)
    FROM (SELECT k.org_id, k.id, u.percent
          FROM unnest($1::uuid[], $2::bigint[], $3::smallint[]) AS u (org_id, id, percent)
          JOIN gateway.quota_counter k ON k.org_id = u.org_id AND k.id = u.id
          ORDER BY k.org_id, k.id FOR UPDATE OF k) l
    WHERE k.org_id = l.org_id AND k.id = l.id
""")
# Windows that are over, and subjects none of whose jobs run; not before what they reached was told, nor while somebody counts.
FORGET = Command("""
    DELETE FROM gateway.quota_counter k USING (
        SELECT k.org_id, k.id FROM gateway.quota_counter k JOIN gateway.quota q ON q.org_id = k.org_id AND q.id = k.quota_id
        WHERE (k.counts_until <= billing.now() OR k.starts_at = 'epoch' AND k.held = 0) AND k.reached <= k.told
        ORDER BY k.org_id, k.id LIMIT $1 FOR UPDATE OF q, k SKIP LOCKED) over_
    WHERE k.org_id = over_.org_id AND k.id = over_.id
""")

# -- proof -------------------------------------------------------------------------------------------------------------
WRONG_COUNTERS = Query(
    Finding,
    """
    SELECT 'quota_counts_its_jobs' AS rule, q.name || ' ' || k.subject AS subject,
           'counts ' || k.used || ' used and ' || k.held || ' held, its jobs took ' || coalesce(jobs.taken, 0)
           || ' and hold ' || coalesce(jobs.reserved, 0) AS detail
    FROM gateway.quota_counter k JOIN gateway.quota q ON q.org_id = k.org_id AND q.id = k.quota_id
    LEFT JOIN (
        SELECT k.org_id, k.id, sum("""
    + _TAKEN
    + """)::bigint AS taken, sum(CASE WHEN j.finished_at IS NULL THEN """
    + _RESERVED
    + """ ELSE 0 END)::bigint AS reserved
        FROM gateway.job j CROSS JOIN unnest(j.quota_counters) AS r (counter_id)
        JOIN gateway.quota_counter k ON k.org_id = j.org_id AND k.id = r.counter_id
        JOIN gateway.quota q ON q.org_id = k.org_id AND q.id = k.quota_id
        GROUP BY k.org_id, k.id
    ) jobs ON jobs.org_id = k.org_id AND jobs.id = k.id
    WHERE k.used <> coalesce(jobs.taken, 0) OR k.held <> coalesce(jobs.reserved, 0) LIMIT 100
    """,
)
WRONG_SUBJECTS = Query(
    Finding,
    """
    SELECT 'job_is_counted_where_it_belongs' AS rule, j.id::text AS subject,
           'counted in ' || q.name || ' for ' || k.subject AS detail
    FROM gateway.job j CROSS JOIN unnest(j.quota_counters) AS r (counter_id)
    JOIN gateway.quota_counter k ON k.org_id = j.org_id AND k.id = r.counter_id
    JOIN gateway.quota q ON q.org_id = k.org_id AND q.id = k.quota_id
    WHERE q.livemode <> j.livemode OR q.subject NOT IN ('', k.subject)
       OR k.subject <> CASE q.scope WHEN 'organization' THEN '' WHEN 'project' THEN j.project_id::text
                                    WHEN 'key' THEN j.key_id::text WHEN 'model' THEN j.model ELSE k.subject END
    LIMIT 100
    """,
)
COUNTED_TWICE = Query(
    Finding,
    """
    SELECT 'job_is_counted_once' AS rule, j.id::text AS subject, 'twice in ' || q.name AS detail
    FROM gateway.job j CROSS JOIN unnest(j.quota_counters) AS r (counter_id)
    JOIN gateway.quota_counter k ON k.org_id = j.org_id AND k.id = r.counter_id
    JOIN gateway.quota q ON q.org_id = k.org_id AND q.id = k.quota_id
    GROUP BY j.org_id, j.id, q.id, q.name HAVING count(*) > 1 LIMIT 100
    """,
)
