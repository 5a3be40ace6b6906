-- How people sign in (gateway/people/README.md). A person is not an organization's: what they may do there is their membership.
CREATE TABLE gateway.person (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    password_hash text CHECK (password_hash LIKE '$argon2id$%'),  -- null: they come by their organization's provider
    pending_secret bytea,  -- of an authenticator that has not yet shown a code; sealed, as totp_secret is
    totp_secret bytea,
    totp_step bigint NOT NULL DEFAULT 0,  -- the last half minute whose code was taken; none is taken twice
    reset_hash bytea UNIQUE CHECK (length(reset_hash) = 32),
    reset_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CHECK ((reset_hash IS NULL) = (reset_until IS NULL))
);

-- What stands for a second factor that is lost: each works once.
CREATE TABLE gateway.recovery_code (
    person_id uuid NOT NULL REFERENCES gateway.person (id),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (person_id, hash)
);

-- Who the member is, once they came in: an address alone, which any organization may write down, opens nothing.
ALTER TABLE gateway.member ADD COLUMN person_id uuid REFERENCES gateway.person (id);
CREATE UNIQUE INDEX member_person ON gateway.member (person_id, org_id) WHERE person_id IS NOT NULL;

-- `password`: the first factor is shown, the second may follow. With an org_id they came by that organization's provider,
-- which says who they are there and nowhere else.
CREATE TABLE gateway.session (
    person_id uuid NOT NULL REFERENCES gateway.person (id),
    id uuid NOT NULL,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    stage text NOT NULL CHECK (stage IN ('password', 'full')),
    org_id uuid REFERENCES gateway.organization (id),
    address text,
    agent text,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    seen_at timestamptz NOT NULL DEFAULT billing.now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (person_id, id),
    CHECK (org_id IS NULL OR stage = 'full')
);
CREATE INDEX session_expires ON gateway.session (expires_at);

-- Other rights, another session: whoever changes a member's role, by whatever means, has ended what they had.
CREATE FUNCTION gateway.end_sessions_of_member() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM gateway.session WHERE person_id = OLD.person_id AND (org_id IS NULL OR org_id = OLD.org_id);
    RETURN NULL;
END $$;
CREATE TRIGGER member_role_changed AFTER UPDATE OF role ON gateway.member FOR EACH ROW
    WHEN (OLD.person_id IS NOT NULL AND OLD.role <> NEW.role) EXECUTE FUNCTION gateway.end_sessions_of_member();
CREATE TABLE gateway.invitation (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    id uuid NOT NULL,
    email text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'billing', 'viewer')),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    invited_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (org_id, id),
    CHECK (accepted_at IS NULL OR revoked_at IS NULL)
);
CREATE INDEX invitation_email ON gateway.invitation (org_id, email);

-- Attempts that were not followed by a success, by whom they were about and by where they came from; both as hashes.
CREATE TABLE gateway.sign_in_pace (
    subject bytea PRIMARY KEY CHECK (length(subject) = 32),
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    open_at timestamptz NOT NULL DEFAULT billing.now(),
    last_at timestamptz NOT NULL DEFAULT billing.now()
);
CREATE INDEX sign_in_pace_last ON gateway.sign_in_pace (last_at);

-- Where an organization's people sign in (OpenID Connect). The client's secret is sealed.
CREATE TABLE gateway.sign_in_provider (
    org_id uuid PRIMARY KEY REFERENCES gateway.organization (id),
    issuer text NOT NULL CHECK (length(issuer) BETWEEN 8 AND 2048),
    client_id text NOT NULL CHECK (length(client_id) BETWEEN 1 AND 255),
    client_secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now()
);

-- A browser that was sent to the provider and has not come back.
CREATE TABLE gateway.sign_in_trip (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    state_hash bytea NOT NULL CHECK (length(state_hash) = 32),
    browser_hash bytea NOT NULL CHECK (length(browser_hash) = 32),
    issuer text NOT NULL,
    nonce text NOT NULL,
    verifier text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, state_hash)
);
CREATE INDEX sign_in_trip_expires ON gateway.sign_in_trip (expires_at);

-- Who a provider's subject is, settled when they first came: another subject with their address is somebody else.
CREATE TABLE gateway.sign_in_subject (
    org_id uuid NOT NULL REFERENCES gateway.organization (id),
    issuer text NOT NULL,
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    person_id uuid NOT NULL REFERENCES gateway.person (id),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    PRIMARY KEY (org_id, issuer, subject),
    UNIQUE (org_id, issuer, person_id)
);

-- With a member go their sessions and what the organization's provider said of them, and a person who was nothing else.
CREATE FUNCTION gateway.forget_member() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM gateway.session WHERE person_id = OLD.person_id AND (org_id IS NULL OR org_id = OLD.org_id);
    DELETE FROM gateway.sign_in_subject WHERE org_id = OLD.org_id AND person_id = OLD.person_id;
    DELETE FROM gateway.person p
    WHERE p.id = OLD.person_id AND p.password_hash IS NULL
      AND NOT EXISTS (SELECT FROM gateway.member m WHERE m.person_id = p.id);
    RETURN NULL;
END $$;
CREATE TRIGGER member_removed AFTER DELETE ON gateway.member FOR EACH ROW
    WHEN (OLD.person_id IS NOT NULL) EXECUTE FUNCTION gateway.forget_member();

-- Persons are nobody's: what tells who somebody is runs as the platform. A tenant sees what is of its own organization, and the
-- sessions that open it.
CALL billing.isolate(
    'gateway.session',
    'person_id IN (SELECT m.person_id FROM gateway.member m) AND (org_id IS NULL OR org_id = billing.tenant())',
    'SELECT, DELETE'
);
CALL billing.isolate('gateway.invitation', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE');
CALL billing.isolate('gateway.sign_in_provider', 'org_id = billing.tenant()', 'SELECT, INSERT, UPDATE, DELETE');
CALL billing.isolate('gateway.sign_in_trip', 'org_id = billing.tenant()', 'SELECT, INSERT, DELETE');
CALL billing.isolate('gateway.sign_in_subject');
