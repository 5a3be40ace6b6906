-- Who did what, and who was refused: one hash chain for each organization (gateway/audit/README.md).
CREATE TABLE gateway.audit_entry (
    org_id uuid NOT NULL,  -- no foreign key: the platform's own actions stand under the nil UUID
    position bigint NOT NULL CHECK (position > 0),
    at timestamptz NOT NULL,
    actor jsonb NOT NULL,
    action text NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    object_id text NOT NULL,
    refused text,  -- the code of the refusal; null where it was done
    before jsonb,
    after jsonb,
    address text,
    request_id text,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (org_id, position),
    CONSTRAINT audit_refused_changes_nothing CHECK (refused IS NULL OR after IS NULL)
);
CREATE INDEX audit_entry_object ON gateway.audit_entry (org_id, object_id, position);

REVOKE UPDATE, DELETE ON gateway.audit_entry FROM tallylight_app;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gateway.audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
