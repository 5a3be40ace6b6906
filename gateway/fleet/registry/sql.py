"""Every statement about the registry. What changes it says so on tallylight_fleet."""

from typing import LiteralString

import msgspec

from billing.kit.query import Command, Query
from gateway.fleet.registry.model import ReplicaRow, SeenRow


class Named(msgspec.Struct, frozen=True):
    name: str


_REPLICA: LiteralString = """
    r.name, r.url, r.models, r.slots, r.accelerator, r.price_micro_usd_per_hour, r.loads, r.models_max, r.labels, r.source,
    r.state, r.quarantine_reason, r.quarantined_by, r.quarantined_at, r.version, r.updated_at
"""

# One declaration of a source: what it names is made so, what it has stopped naming is removed. Models travel as one JSON array
# each, because an array of arrays must be rectangular.
DECLARE = Query(
    Named,
    """
    WITH given AS (
        SELECT name, url, ARRAY(SELECT jsonb_array_elements_text(models)) AS models, slots, accelerator, price, loads, models_max,
               labels
        FROM unnest($2::text[], $3::text[], $4::jsonb[], $5::int[], $6::text[], $7::bigint[], $8::boolean[], $9::int[],
                    $10::jsonb[]) AS u (name, url, models, slots, accelerator, price, loads, models_max, labels)
    ), declared AS (
        INSERT INTO gateway.replica AS r (name, url, models, slots, accelerator, price_micro_usd_per_hour, loads, models_max,
                                          labels, source)
        SELECT name, url, models, slots, accelerator, price, loads, models_max, labels, $1::text FROM given
        ON CONFLICT (name) DO UPDATE SET
            url = EXCLUDED.url, models = EXCLUDED.models, slots = EXCLUDED.slots, accelerator = EXCLUDED.accelerator,
            price_micro_usd_per_hour = EXCLUDED.price_micro_usd_per_hour, loads = EXCLUDED.loads,
            models_max = EXCLUDED.models_max, labels = EXCLUDED.labels, source = EXCLUDED.source,
            state = CASE r.state WHEN 'removed' THEN 'active' ELSE r.state END,
            version = r.version + 1, updated_at = billing.now()
        WHERE (r.source = EXCLUDED.source OR r.state = 'removed')
          AND (r.url, r.models, r.slots, r.accelerator, r.price_micro_usd_per_hour, r.loads, r.models_max, r.labels, r.source,
               r.state = 'removed')
              IS DISTINCT FROM
              (EXCLUDED.url, EXCLUDED.models, EXCLUDED.slots, EXCLUDED.accelerator, EXCLUDED.price_micro_usd_per_hour,
               EXCLUDED.loads, EXCLUDED.models_max, EXCLUDED.labels, EXCLUDED.source, false)
        RETURNING r.name
    ), gone AS (
        UPDATE gateway.replica r SET state = 'removed', version = r.version + 1, updated_at = billing.now()
        WHERE $11 AND r.source = $1 AND r.state <> 'removed' AND NOT EXISTS (SELECT 1 FROM given g WHERE g.name = r.name)
        RETURNING r.name
    ), changed AS (SELECT name FROM declared UNION ALL SELECT name FROM gone),
    told AS (SELECT pg_notify('tallylight_fleet', '') FROM (SELECT 1 FROM changed LIMIT 1) any_)
    SELECT name FROM changed, told
    """,
)
# $2: the state wanted, null to leave it; $3: the states it may be changed from.
CHANGE_STATE = Query(
    Named,
    """
    WITH changed AS (
        UPDATE gateway.replica r SET state = $2, version = r.version + 1, updated_at = billing.now()
        WHERE r.name = $1 AND r.state = ANY($3::text[])
        RETURNING r.name
    ), told AS (SELECT pg_notify('tallylight_fleet', '') FROM changed)
    SELECT name FROM changed, told
    """,
)
# The first reason stays; an operator's quarantine replaces the dispatcher's, so that a clean probe does not end it.
QUARANTINE = Query(
    Named,
    """
    WITH changed AS (
        UPDATE gateway.replica r SET quarantine_reason = $2, quarantined_by = $3, quarantined_at = billing.now(),
            version = r.version + 1, updated_at = billing.now()
        WHERE r.name = $1 AND r.state <> 'removed'
          AND (r.quarantined_by IS NULL OR r.quarantined_by = 'dispatcher' AND $3 = 'operator')
        RETURNING r.name
    ), told AS (SELECT pg_notify('tallylight_fleet', '') FROM changed)
    SELECT name FROM changed, told
    """,
)
# $2: who may have set it; $3: the version that was probed, null for whatever it is now.
RELEASE = Query(
    Named,
    """
    WITH changed AS (
        UPDATE gateway.replica r SET quarantine_reason = NULL, quarantined_by = NULL, quarantined_at = NULL,
            version = r.version + 1, updated_at = billing.now()
        WHERE r.name = $1 AND r.quarantined_by = ANY($2::text[]) AND ($3::int IS NULL OR r.version = $3)
        RETURNING r.name
    ), told AS (SELECT pg_notify('tallylight_fleet', '') FROM changed)
    SELECT name FROM changed, told
    """,
)
FOLLOW = Query(
    ReplicaRow,
    """
    SELECT """
    + _REPLICA
    + """
    FROM gateway.replica r WHERE r.state <> 'removed' ORDER BY r.name
    """,
)
LIST = Query(
    SeenRow,
    """
    SELECT """
    + _REPLICA
    + """, s.condition, s.reason, s.loaded, s.broken, s.running, s.seen_at
    FROM gateway.replica r
    LEFT JOIN gateway.replica_sight s ON s.name = r.name AND s.seen_at > billing.now() - interval '15 seconds'
    WHERE ($1::text IS NULL OR r.name = $1) AND (r.state <> 'removed' OR $1 IS NOT NULL OR s.name IS NOT NULL)
    ORDER BY r.name
    """,
)
NOTE_SIGHTS = Command("""
    WITH given AS (
        SELECT name, condition, reason, ARRAY(SELECT jsonb_array_elements_text(loaded)) AS loaded,
               ARRAY(SELECT jsonb_array_elements_text(broken)) AS broken, running
        FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::jsonb[], $6::int[])
             AS u (name, condition, reason, loaded, broken, running)
    ), gone AS (
        DELETE FROM gateway.replica_sight s WHERE NOT EXISTS (SELECT 1 FROM given g WHERE g.name = s.name)
    )
    INSERT INTO gateway.replica_sight AS s (name, condition, reason, loaded, broken, running)
    SELECT name, condition, reason, loaded, broken, running FROM given
    ON CONFLICT (name) DO UPDATE SET condition = EXCLUDED.condition, reason = EXCLUDED.reason, loaded = EXCLUDED.loaded,
        broken = EXCLUDED.broken, running = EXCLUDED.running, seen_at = billing.now()
""")
