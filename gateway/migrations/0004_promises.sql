-- The leader's queue in memory, and what was promised from it.
-- `queued_xid`: the transaction that last put the job into the queue. All that was queued since a snapshot is found by it, however long
-- transactions take and whoever they are of (gateway/jobs/inbox.py). `promised_start_at`: written at admission alone; null: no promise.
ALTER TABLE gateway.job
    ADD queued_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD promised_start_at timestamptz;
CREATE INDEX job_fresh ON gateway.job (queued_xid) WHERE state = 'queued';
