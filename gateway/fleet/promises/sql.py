"""Every statement about the published curve and who quotes from it."""

from billing.kit.query import Command, Query
from gateway.fleet.promises.model import Published, Term

BEGIN_TERM = Query(Term, "UPDATE gateway.demand_curve SET term = term + 1, epoch = 0, curve = NULL RETURNING term, memory")
PUBLISH = Command("""
    UPDATE gateway.demand_curve SET epoch = epoch + 1, read_at = $2, curve = $3, quoters = ARRAY(
        SELECT id FROM gateway.quoter WHERE seen_at > billing.now() - make_interval(secs => $4) ORDER BY id)
    WHERE term = $1
""")
KEEP = Command("UPDATE gateway.demand_curve SET memory = $2 WHERE term = $1")
NEWER = Query(
    Published,
    """
    SELECT term, epoch, read_at, extract(epoch FROM billing.now())::float8 AS now, curve, quoters
    FROM gateway.demand_curve WHERE curve IS NOT NULL AND (term, epoch) > ($1, $2)
    """,
)
SEEN = Command("""
    INSERT INTO gateway.quoter (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET seen_at = billing.now()
""")
GONE = Command("DELETE FROM gateway.quoter WHERE id = $1 OR seen_at < billing.now() - interval '1 hour'")
