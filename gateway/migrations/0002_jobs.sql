-- Jobs. No foreign keys here or below: admission reads the key in the same transaction, and each would cost a trigger call
-- and a row lock per job. The states and their transitions are drawn in docs/state_machine.md; a test compares both with gateway/jobs/model.py.
CREATE TABLE gateway.job (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    key_id uuid NOT NULL,
    livemode boolean NOT NULL,
    dialect text NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    model text NOT NULL,
    tier text NOT NULL,
    request jsonb NOT NULL,
    fingerprint bytea NOT NULL,
    replays smallint NOT NULL DEFAULT 0,
    claimed_by uuid,

    -- the price, frozen at admission; the hold has the job's own id: prepaid seconds and money
    terms jsonb NOT NULL,
    max_ms integer NOT NULL CHECK (max_ms > 0),
    hold_ms integer NOT NULL CHECK (hold_ms >= 0),
    hold_micro bigint NOT NULL CHECK (hold_micro >= 0),

    created_at timestamptz NOT NULL DEFAULT billing.now(),
    queue_deadline_at timestamptz NOT NULL,
    available_at timestamptz NOT NULL DEFAULT billing.now(),
    started_at timestamptz,
    finished_at timestamptz,

    -- the lease; `attempt` is the fence: every write of an attempt names it
    attempt smallint NOT NULL DEFAULT 0,
    failures smallint NOT NULL DEFAULT 0,
    lease_owner uuid,
    lease_expires_at timestamptz,
    frames_done integer NOT NULL DEFAULT 0 CHECK (frames_done >= 0),
    frames_total integer NOT NULL CHECK (frames_total > 0),

    -- the outcome
    frames integer,
    delivered_ms integer,
    charged_ms integer NOT NULL DEFAULT 0,
    charged_micro bigint NOT NULL DEFAULT 0,
    error_code text,
    error_message text,
    artifacts jsonb NOT NULL DEFAULT '[]',
    assets_expire_at timestamptz,
    assets_deleted_at timestamptz,
    deleted_at timestamptz,
    event_seq integer NOT NULL DEFAULT 1,

    PRIMARY KEY (org_id, id),
    CONSTRAINT job_state CHECK (state IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled', 'expired')),
    CONSTRAINT job_leased_if_active CHECK (
        (state IN ('running', 'cancelling')) = (lease_owner IS NOT NULL)
        AND (lease_owner IS NULL) = (lease_expires_at IS NULL)),
    CONSTRAINT job_finished_if_final CHECK (
        (state IN ('succeeded', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL)),
    CONSTRAINT job_delivered_if_succeeded CHECK (
        (state = 'succeeded') = (delivered_ms IS NOT NULL) AND (delivered_ms IS NULL) = (frames IS NULL)
        AND (delivered_ms IS NULL OR delivered_ms > 0)),
    CONSTRAINT job_charged_only_if_succeeded CHECK (
        charged_micro BETWEEN 0 AND hold_micro AND charged_ms BETWEEN 0 AND hold_ms
        AND (state = 'succeeded' OR charged_micro = 0 AND charged_ms = 0)),
    CONSTRAINT job_error_if_not_delivered CHECK (
        (state IN ('failed', 'cancelled', 'expired')) = (error_code IS NOT NULL)),
    CONSTRAINT job_deleted_only_if_final CHECK (deleted_at IS NULL OR finished_at IS NOT NULL)
) WITH (fillfactor = 70);

CREATE INDEX job_queue ON gateway.job (
    (CASE tier WHEN 'priority' THEN 0 WHEN 'standard' THEN 1 ELSE 2 END), id) WHERE state = 'queued';
CREATE INDEX job_leases ON gateway.job (lease_expires_at) WHERE state IN ('running', 'cancelling');
CREATE INDEX job_deadlines ON gateway.job (queue_deadline_at) WHERE state = 'queued';
CREATE INDEX job_assets ON gateway.job (assets_expire_at) WHERE assets_expire_at IS NOT NULL AND assets_deleted_at IS NULL;
CREATE INDEX job_recent ON gateway.job (key_id, fingerprint, created_at);

CREATE TABLE gateway.job_event (
    org_id uuid NOT NULL,
    job_id uuid NOT NULL,
    seq integer NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    PRIMARY KEY (org_id, job_id, seq)
);

-- Every run on a replica, for operators and for the cost of failures; never shown to clients.
CREATE TABLE gateway.attempt (
    org_id uuid NOT NULL,
    job_id uuid NOT NULL,
    attempt smallint NOT NULL,
    replica text NOT NULL,
    owner uuid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT billing.now(),
    ended_at timestamptz,
    outcome text,
    code text,
    message text,
    PRIMARY KEY (org_id, job_id, attempt),
    CONSTRAINT attempt_ended_with_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    CONSTRAINT attempt_outcome CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'lost', 'returned'))
);

-- The answer to a request that named an Idempotency-Key, stored in the transaction that did what it asked.
CREATE TABLE gateway.idempotency (
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    livemode boolean NOT NULL,
    route text NOT NULL,
    token text NOT NULL CHECK (length(token) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    job_id uuid NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    PRIMARY KEY (org_id, project_id, livemode, route, token)
);
CREATE INDEX idempotency_age ON gateway.idempotency (created_at);
