-- Who may call: organizations own projects, projects own keys. Every table leads with org_id.
CREATE SCHEMA gateway;

-- What the processes act as (billing/migrations/0001_ledger.sql); tables made from here on are theirs to read and write.
GRANT USAGE ON SCHEMA gateway TO tallylight_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA gateway GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tallylight_app;

CREATE TABLE gateway.organization (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    currency text NOT NULL REFERENCES billing.asset (code),
    created_at timestamptz NOT NULL DEFAULT billing.now()
);

CREATE TABLE gateway.project (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, name)
);

-- Only the SHA-256 of a key is stored: it has 256 random bits, so a slow hash would add nothing but a way to tire us out.
CREATE TABLE gateway.api_key (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    hint text NOT NULL,
    livemode boolean NOT NULL,
    lenient boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES gateway.project (org_id, id)
);
