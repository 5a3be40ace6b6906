-- Quotas: what an organization allows its projects, keys, models and end users, and how much of it is taken.
-- A quota counts what is admitted after it was made. `subject` '': each project, key, model or end user by itself.
CREATE TABLE gateway.quota (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    id uuid NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    livemode boolean NOT NULL,
    scope text NOT NULL,
    subject text NOT NULL DEFAULT '' CHECK (length(subject) <= 100),
    meter text NOT NULL,
    per text,
    rolling boolean NOT NULL DEFAULT false,
    most bigint NOT NULL CHECK (most BETWEEN 0 AND 999999999999999),
    soft boolean NOT NULL DEFAULT false,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    updated_at timestamptz NOT NULL DEFAULT billing.now(),
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, name),
    CONSTRAINT quota_scope CHECK (scope IN ('organization', 'project', 'key', 'model', 'end_user')),
    CONSTRAINT quota_meter CHECK (meter IN ('generated_ms', 'money_micro', 'requests', 'images', 'concurrent_jobs')),
    CONSTRAINT quota_per CHECK (per IN ('minute', 'hour', 'day', 'week', 'month')),
    CONSTRAINT quota_organization_is_one CHECK (scope <> 'organization' OR subject = ''),
    CONSTRAINT quota_windowed_unless_concurrent CHECK (
        (meter = 'concurrent_jobs') = (per IS NULL) AND (per IS NOT NULL OR NOT rolling))
);
CREATE INDEX quota_subject ON gateway.quota (org_id, subject);

-- One row for each subject and window, or part of a rolling window; it counts until `counts_until`. `held` is what live jobs
-- may still take, `used` what ended jobs took. `reached` is the highest threshold ever reached, `told` the one that was told.
CREATE TABLE gateway.quota_counter (
    org_id uuid NOT NULL,
    quota_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    subject text NOT NULL,
    starts_at timestamptz NOT NULL,
    counts_until timestamptz NOT NULL,
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    reached smallint NOT NULL DEFAULT 0,
    told smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, quota_id, subject, starts_at),
    FOREIGN KEY (org_id, quota_id) REFERENCES gateway.quota (org_id, id),
    CONSTRAINT quota_counter_begins_before_it_ends CHECK (starts_at < counts_until)
) WITH (fillfactor = 50);
CREATE INDEX quota_counter_over ON gateway.quota_counter (counts_until);
CREATE INDEX quota_counter_at_once ON gateway.quota_counter (org_id, id) WHERE starts_at = 'epoch';
CREATE INDEX quota_counter_untold ON gateway.quota_counter (org_id, id) WHERE reached > told;

-- Locks the quotas that concern these sources of requests and returns what counts against each, now. In a function, so that it is
-- one question: what their former holder counted is visible only to a statement that begins when the locks are held. The counters
-- are not locked: without the lock of their quota, what counts can only become less.
CREATE FUNCTION gateway.count_quotas(
    org_ids uuid[], livemodes boolean[], projects text[], keys text[], models text[], end_users text[]
) RETURNS TABLE (
    nth integer, org_id uuid, quota_id uuid, version integer, subject text, at timestamptz, used bigint, held bigint, counter_id bigint,
    starts_at timestamptz, frees_at timestamptz
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    owners uuid[];
    locked uuid[];
    moment timestamptz;
BEGIN
    SELECT array_agg(l.org_id), array_agg(l.id) INTO owners, locked FROM (
        SELECT q.org_id, q.id FROM gateway.quota q
        WHERE q.org_id = ANY(org_ids) AND q.subject = ANY(ARRAY[''] || projects || keys || models || end_users)
        ORDER BY q.org_id, q.id FOR NO KEY UPDATE) l;
    IF locked IS NULL THEN
        RETURN;
    END IF;
    moment := billing.now();
    RETURN QUERY
    SELECT u.nth::integer, q.org_id, q.id, q.version, whom.subject, moment, coalesce(counted.used, 0)::bigint,
           coalesce(counted.held, 0)::bigint, counted.id, CASE WHEN q.rolling THEN counted.starts_at END, counted.frees_at
    -- A quota that was made after the locks were taken is not ours to count: it begins with the next transaction.
    FROM unnest(owners, locked) AS l (org_id, id)
    JOIN gateway.quota q ON q.org_id = l.org_id AND q.id = l.id
    JOIN unnest(org_ids, livemodes, projects, keys, models, end_users)
        WITH ORDINALITY AS u (org_id, livemode, project, key, model, end_user, nth)
        ON u.org_id = q.org_id AND u.livemode = q.livemode
    CROSS JOIN LATERAL (SELECT CASE q.scope WHEN 'organization' THEN '' WHEN 'project' THEN u.project WHEN 'key' THEN u.key
                                            WHEN 'model' THEN u.model WHEN 'end_user' THEN nullif(u.end_user, '') END) AS whom (subject)
    LEFT JOIN LATERAL (
        SELECT sum(k.used) AS used, sum(k.held) AS held, (array_agg(k.id ORDER BY k.starts_at DESC))[1] AS id,
               max(k.starts_at) AS starts_at, min(k.counts_until) AS frees_at
        FROM gateway.quota_counter k
        WHERE k.org_id = q.org_id AND k.quota_id = q.id AND k.subject = whom.subject AND k.counts_until > moment
    ) counted ON true
    WHERE whom.subject IS NOT NULL AND q.subject IN ('', whom.subject)
    ORDER BY u.nth, q.id;
END $$;

-- The counters that a job was reserved in when it was admitted: with the maximum and the hold that stand in its row they are its
-- reservation, and what it was charged replaces them when it ends. Null where no quota applied.
ALTER TABLE gateway.job ADD quota_counters bigint[];
