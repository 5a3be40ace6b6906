-- The fleet: which Triton servers there are and what operators want of them. The dispatcher's leader follows this table; a change is
-- announced on the channel tallylight_fleet. The states and their transitions are drawn in docs/state_machine.md.
CREATE TABLE gateway.replica (
    name text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    url text NOT NULL CHECK (url ~ '^[^/\s]+:[0-9]+$'),
    accelerator text NOT NULL CHECK (length(accelerator) BETWEEN 1 AND 100),
    slots integer NOT NULL CHECK (slots BETWEEN 1 AND 1024),
    models text[] NOT NULL CHECK (cardinality(models) BETWEEN 1 AND 256),
    -- models are loaded and unloaded on request, so many at a time; without it the server serves what it has
    loads boolean NOT NULL,
    models_max integer NOT NULL CHECK (models_max BETWEEN 1 AND 256),
    price_micro_usd_per_hour bigint CHECK (price_micro_usd_per_hour >= 0),
    labels jsonb NOT NULL DEFAULT '{}',
    source text NOT NULL CONSTRAINT replica_source CHECK (source IN ('config', 'api', 'kubernetes')),
    state text NOT NULL DEFAULT 'active',
    quarantine_reason text CHECK (length(quarantine_reason) BETWEEN 1 AND 500),
    quarantined_by text CONSTRAINT replica_quarantined_by CHECK (quarantined_by IN ('operator', 'dispatcher')),
    quarantined_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    updated_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT replica_state CHECK (state IN ('active', 'cordoned', 'draining', 'removed')),
    CONSTRAINT replica_quarantined_with_reason CHECK (
        (quarantine_reason IS NULL) = (quarantined_by IS NULL) AND (quarantine_reason IS NULL) = (quarantined_at IS NULL))
);

-- What the leader last saw of each: for people and dashboards, never decided from. Lost with a crash, and written again in a second.
CREATE UNLOGGED TABLE gateway.replica_sight (
    name text PRIMARY KEY,
    condition text NOT NULL,
    reason text NOT NULL,
    loaded text[] NOT NULL,
    broken text[] NOT NULL,
    running integer NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT billing.now()
);

-- What an attempt cost us, whatever became of it: the device's time, at the price it had when the attempt began (null: unknown).
ALTER TABLE gateway.attempt
    ADD accelerator text NOT NULL,
    ADD price_micro_usd_per_hour bigint CHECK (price_micro_usd_per_hour >= 0),
    ADD device_ms integer CHECK (device_ms >= 0),
    ADD CONSTRAINT attempt_timed_if_ended CHECK ((ended_at IS NULL) = (device_ms IS NULL));
