"""Every statement about editions of the catalogue. A new one is announced on tallylight_catalogue."""

import msgspec

from billing.kit.query import Query
from gateway.fleet.editions.model import EditionRow


class Model(msgspec.Struct, frozen=True):
    name: str


NEWEST = Query(
    EditionRow,
    """
    SELECT version, files, edits, source, reason, made_at
    FROM gateway.catalogue_edition WHERE version > $1 ORDER BY version DESC LIMIT 1
    """,
)
# No row: somebody else made this edition meanwhile.
MAKE = Query(
    EditionRow,
    """
    WITH made AS (
        INSERT INTO gateway.catalogue_edition (version, files, edits, source, reason) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (version) DO NOTHING
        RETURNING version, files, edits, source, reason, made_at
    ), told AS (SELECT pg_notify('tallylight_catalogue', version::text) FROM made)
    SELECT version, files, edits, source, reason, made_at FROM made, told
    """,
)
# Of these models, those that jobs wait for or run on. Rare: only when a model is taken out of the catalogue.
UNFINISHED = Query(
    Model,
    """
    SELECT name FROM unnest($1::text[]) AS u (name)
    WHERE EXISTS (SELECT FROM gateway.job j WHERE j.model = u.name AND j.state = 'queued')
       OR EXISTS (SELECT FROM gateway.job j WHERE j.model = u.name AND j.state IN ('running', 'cancelling'))
    ORDER BY name
    """,
)
