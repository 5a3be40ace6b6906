-- Webhooks: who is told what, and what became of each telling. What happened stands in gateway.job_event and billing.event
-- already, so the transactions that end jobs write nothing more: the clerk derives the deliveries (docs/decisions/0047).

-- The transaction that wrote a line of the log. Whoever has taken the lines of all transactions before its snapshot's xmin
-- has missed none (docs/decisions/0020).
ALTER TABLE gateway.job_event ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX job_event_xid ON gateway.job_event (xid);
CREATE INDEX job_event_age ON gateway.job_event USING brin (created_at);

-- An address of a customer (`url`), the addresses that its requests name themselves (`callbacks`, one row per book), or
-- somebody at a terminal who fetches (`listener`). No secret is stored: it is derived from the id and the generation.
CREATE TABLE gateway.webhook_endpoint (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    kind text NOT NULL CHECK (kind IN ('url', 'callbacks', 'listener')),
    url text CHECK (length(url) BETWEEN 1 AND 2048),
    form text NOT NULL CHECK (form IN ('native', 'openai')),
    events text[] NOT NULL DEFAULT '{}',
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 200),
    generation integer NOT NULL DEFAULT 1 CHECK (generation > 0),
    rotated_at timestamptz,
    old_until timestamptz,
    failing_since timestamptz,
    disabled_at timestamptz,
    disabled_reason text,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    PRIMARY KEY (org_id, id),
    CONSTRAINT webhook_endpoint_has_an_address CHECK ((kind = 'url') = (url IS NOT NULL)),
    CONSTRAINT webhook_endpoint_disabled_with_reason CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    CONSTRAINT webhook_endpoint_old_after_rotation CHECK (generation > 1 OR old_until IS NULL)
);

-- The one id of an organization's callbacks in a book.
CREATE FUNCTION gateway.webhook_callbacks_id(org_id uuid, livemode boolean) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN md5('callbacks/' || org_id || '/' || livemode)::uuid;

-- One event on its way to one endpoint; `data` is what happened where that stands in no job. The id is derived from both, so
-- that deriving it again meets its own row. A sender that dies leaves `claimed_until` behind, and then it is sent again.
CREATE TABLE gateway.webhook_delivery (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    event text NOT NULL,
    form text NOT NULL CHECK (form IN ('native', 'openai', 'ark')),
    job_id uuid,
    data jsonb NOT NULL DEFAULT '{}',
    url text,
    happened_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    tries smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT billing.now(),
    claimed_until timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (org_id, id),
    CONSTRAINT webhook_delivery_ended_if_final CHECK ((state = 'waiting') = (ended_at IS NULL)),
    CONSTRAINT webhook_delivery_claimed_only_if_waiting CHECK (claimed_until IS NULL OR state = 'waiting')
) WITH (fillfactor = 80);
CREATE INDEX webhook_delivery_due ON gateway.webhook_delivery (org_id, endpoint_id, due_at) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_claimed ON gateway.webhook_delivery (org_id, endpoint_id) WHERE claimed_until IS NOT NULL;
CREATE INDEX webhook_delivery_log ON gateway.webhook_delivery (org_id, endpoint_id, created_at, id);
CREATE INDEX webhook_delivery_age ON gateway.webhook_delivery (created_at);

-- Every try, for whoever wonders why nothing arrives. `answer` is the beginning of what came back.
CREATE TABLE gateway.webhook_try (
    org_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    n smallint NOT NULL,
    at timestamptz NOT NULL DEFAULT billing.now(),
    took_ms integer NOT NULL CHECK (took_ms >= 0),
    status smallint,
    error text,
    answer text NOT NULL DEFAULT '',
    PRIMARY KEY (org_id, delivery_id, n),
    FOREIGN KEY (org_id, delivery_id) REFERENCES gateway.webhook_delivery (org_id, id) ON DELETE CASCADE
);

-- How far the events were taken: the last transaction of gateway.job_event, the last position of billing.event. Transaction ids
-- belong to a cluster, so the mark is kept with the cluster's identity. What happened before this table was made is not told.
CREATE TABLE gateway.webhook_mark (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster bigint NOT NULL,
    jobs xid8 NOT NULL,
    billing bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT billing.now()
);
INSERT INTO gateway.webhook_mark (cluster, jobs, billing)
SELECT system_identifier, pg_current_xact_id(), coalesce((SELECT max(position) FROM billing.event), 0) FROM pg_control_system();
