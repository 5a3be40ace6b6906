-- Which rows an organization may see and change, in a transaction that serves it alone (billing/migrations/0010_tenants.sql).
-- Where nothing stands after the name, no row is an organization's: those tables are written and read for many at once.
GRANT USAGE ON SCHEMA gateway TO tallylight_tenant, tallylight_batch;

CALL billing.isolate('gateway.organization', 'id = billing.tenant()', 'SELECT, UPDATE');
CALL billing.isolate('gateway.project', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE');
CALL billing.isolate('gateway.api_key', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE');
CALL billing.isolate('gateway.key_use', 'org_id = billing.tenant()');
CALL billing.isolate('gateway.member', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE, DELETE');

CALL billing.isolate('gateway.job', 'org_id = billing.tenant()', 'SELECT, UPDATE');
CALL billing.isolate('gateway.job_event', 'org_id = billing.tenant()', 'INSERT');
CALL billing.isolate('gateway.attempt');
CALL billing.isolate('gateway.idempotency');

CALL billing.isolate('gateway.quota', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE, DELETE');
CALL billing.isolate('gateway.quota_counter', 'org_id = billing.tenant()', 'SELECT, UPDATE, DELETE');

CALL billing.isolate('gateway.webhook_endpoint', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE, DELETE');
CALL billing.isolate('gateway.webhook_delivery', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE, DELETE');
CALL billing.isolate('gateway.webhook_try', 'org_id = billing.tenant()', 'SELECT, INSERT');

CALL billing.isolate('gateway.audit_entry', 'org_id = billing.tenant()', 'SELECT, INSERT');
CALL billing.isolate('gateway.request', 'org_id = billing.tenant()');
CALL billing.isolate('gateway.request_reads', 'org_id = billing.tenant()');

-- What admission and polls need, and no more.
GRANT SELECT ON gateway.organization, gateway.api_key, gateway.job, gateway.job_event, gateway.idempotency, gateway.quota,
    gateway.quota_counter TO tallylight_batch;
GRANT INSERT ON gateway.job, gateway.job_event, gateway.idempotency, gateway.quota_counter TO tallylight_batch;
GRANT UPDATE (replays, claimed_by) ON gateway.job TO tallylight_batch;
GRANT UPDATE (held, reached) ON gateway.quota_counter TO tallylight_batch;
GRANT UPDATE (version) ON gateway.quota TO tallylight_batch;  -- what locking a row takes
