-- The log of API calls, for the organization that made them: no body, no query and no address is in it.
CREATE TABLE gateway.request (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL,  -- the API process's own time: it orders and expires the log, nothing else
    project_id uuid,
    caller_id uuid NOT NULL,  -- a key, or a member who is signed in
    method text NOT NULL,
    route text NOT NULL,
    status smallint NOT NULL CHECK (status BETWEEN 100 AND 599),
    code text,
    duration_ms integer NOT NULL CHECK (duration_ms >= 0),
    job_id uuid,
    request_id text NOT NULL,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX request_of_caller ON gateway.request (org_id, caller_id, id);
CREATE INDEX request_at ON gateway.request (at);

-- Reads that succeeded are many and alike: each process counts them by the minute.
CREATE TABLE gateway.request_reads (
    org_id uuid NOT NULL,
    minute timestamptz NOT NULL,
    project_id uuid,
    caller_id uuid NOT NULL,
    route text NOT NULL,
    process uuid NOT NULL,
    calls bigint NOT NULL CHECK (calls > 0),
    duration_ms bigint NOT NULL CHECK (duration_ms >= 0),
    PRIMARY KEY (org_id, minute, caller_id, route, process)
);
CREATE INDEX request_reads_minute ON gateway.request_reads (minute);

-- How long what was asked for is kept after a job has ended: 0 days, not longer than it takes.
ALTER TABLE gateway.project ADD COLUMN prompt_days smallint NOT NULL DEFAULT 30 CHECK (prompt_days BETWEEN 0 AND 3650);
ALTER TABLE gateway.job ADD COLUMN prompt_forgotten_at timestamptz;
CREATE INDEX job_prompts ON gateway.job (finished_at) WHERE finished_at IS NOT NULL AND prompt_forgotten_at IS NULL;
