-- Who may call: organizations own projects, projects own keys. Every table leads with org_id.
CREATE SCHEMA gateway;

-- What the processes act as (billing/migrations/0001_ledger.sql); tables made from here on are theirs to read and write.
GRANT USAGE ON SCHEMA gateway TO tallylight_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA gateway GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tallylight_app;

-- `version` counts changes; it is the ETag of what a client reads, so that nobody overwrites what they have not seen.
CREATE TABLE gateway.organization (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    currency text NOT NULL REFERENCES billing.asset (code),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    version integer NOT NULL DEFAULT 1
);

CREATE TABLE gateway.project (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    archived_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, name)
);

-- Only the SHA-256 of a key is stored: it has 256 random bits, so a slow hash would add nothing but a way to tire us out.
-- An inference key belongs to a project and runs jobs; a management key belongs to the organization and has scopes.
-- After a rotation the secret before works until previous_until: the key, its quotas and its usage stay the same.
CREATE TABLE gateway.api_key (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    id uuid NOT NULL,
    kind text NOT NULL DEFAULT 'inference' CHECK (kind IN ('inference', 'management')),
    project_id uuid,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    hint text NOT NULL,
    previous_hash bytea CHECK (length(previous_hash) = 32),
    previous_until timestamptz,
    livemode boolean NOT NULL,
    lenient boolean NOT NULL DEFAULT false,
    scopes text[] NOT NULL DEFAULT '{}',
    labels jsonb NOT NULL DEFAULT '{}',
    end_user text CHECK (length(end_user) BETWEEN 1 AND 64),
    restrictions jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_because text CHECK (revoked_because IN ('asked', 'leaked', 'archived')),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES gateway.project (org_id, id),
    CHECK ((kind = 'inference') = (project_id IS NOT NULL)),
    CHECK ((kind = 'management') = (cardinality(scopes) > 0)),
    CHECK ((previous_hash IS NULL) = (previous_until IS NULL)),
    CHECK ((revoked_at IS NULL) = (revoked_because IS NULL))
);

-- A revoked key is as absent from these as one that never was, and looking for it takes as long.
CREATE UNIQUE INDEX api_key_hash ON gateway.api_key (hash) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX api_key_previous_hash ON gateway.api_key (previous_hash) WHERE revoked_at IS NULL;

-- Whoever changes a key, by whatever means, has told every process that remembers it; one that is not told forgets it by itself.
CREATE FUNCTION gateway.tell_of_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tallylight_keys', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER api_key_changed AFTER UPDATE ON gateway.api_key FOR EACH ROW EXECUTE FUNCTION gateway.tell_of_key();

-- When a key was last used, as each process noted it and wrote it down for many keys together.
CREATE TABLE gateway.key_use (
    org_id uuid NOT NULL,
    key_id uuid NOT NULL,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, key_id),
    FOREIGN KEY (org_id, key_id) REFERENCES gateway.api_key (org_id, id)
);

-- Who of the organization's people may do what. How they sign in is not told here.
CREATE TABLE gateway.member (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    id uuid NOT NULL,
    email text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'billing', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, email)
);
CREATE INDEX member_email ON gateway.member (email);
