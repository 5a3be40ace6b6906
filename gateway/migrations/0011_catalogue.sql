-- The catalogue of models, accelerators and speeds, edition by edition: what the files say and what operators have edited on top, both
-- whole, so that every process and every later leader sees the same (gateway/fleet/editions). The newest one is in force; a new one is
-- announced on the channel tallylight_catalogue.
CREATE TABLE gateway.catalogue_edition (
    version bigint PRIMARY KEY CHECK (version > 0),
    files jsonb NOT NULL,
    edits jsonb NOT NULL,
    source text NOT NULL CONSTRAINT catalogue_edition_source CHECK (source IN ('files', 'operator')),
    reason text NOT NULL CHECK (length(reason) <= 500),
    made_at timestamptz NOT NULL DEFAULT billing.now()
);
REVOKE UPDATE, DELETE ON gateway.catalogue_edition FROM tallylight_app;
CREATE TRIGGER catalogue_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gateway.catalogue_edition
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
