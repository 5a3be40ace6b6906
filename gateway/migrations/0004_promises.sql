-- The leader's queue in memory, and what was promised from it.
-- `queued_xid`: the transaction that last put the job into the queue. All that was queued since a snapshot is found by it, however long
-- transactions take and whoever they are of (gateway/jobs/waiting). `promised_start_at`: written at admission alone; null: no promise.
-- `credited_micro`: what was given back because it started later; null: nothing was decided (gateway/jobs/late).
-- `resolution` and `steps` are what else a scheduler must know of a request: with them a new leader reads its queue from an index alone.
ALTER TABLE gateway.job
    ADD queued_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD promised_start_at timestamptz,
    ADD credited_micro bigint,
    ADD CONSTRAINT job_credited_only_if_succeeded CHECK (
        credited_micro IS NULL OR (credited_micro >= 0 AND state = 'succeeded')),
    ADD resolution text NOT NULL GENERATED ALWAYS AS (request ->> 'resolution') STORED,
    ADD steps integer NOT NULL GENERATED ALWAYS AS ((request ->> 'steps')::integer) STORED;
CREATE INDEX job_fresh ON gateway.job (queued_xid)
    INCLUDE (org_id, id, livemode, model, tier, resolution, steps, max_ms, created_at, available_at, promised_start_at, attempt)
    WHERE state = 'queued';
CREATE INDEX job_late ON gateway.job (finished_at)
    WHERE state = 'succeeded' AND livemode AND started_at > promised_start_at AND credited_micro IS NULL;

-- What the cell's leader says of its queue, several times a second, and what it has learnt; gateway/fleet/promises. One row.
CREATE TABLE gateway.demand_curve (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    term bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    read_at double precision NOT NULL DEFAULT 0,
    curve bytea,
    quoters uuid[] NOT NULL DEFAULT '{}',
    memory bytea
);
INSERT INTO gateway.demand_curve DEFAULT VALUES;

CREATE TABLE gateway.quoter (
    id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT billing.now()
);
