-- Income shared with those it is owed to: merchants and producers by agreement, creators by views. What is owed to a payee
-- stands on a payable account of the ledger; these tables say how it came about.
CREATE TABLE billing.payee (
    id uuid PRIMARY KEY,
    reference text NOT NULL UNIQUE CHECK (length(reference) BETWEEN 1 AND 200),  -- what statements and counts call it
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    currency text NOT NULL REFERENCES billing.asset (code),
    threshold_micro bigint NOT NULL CHECK (threshold_micro > 0),  -- less than this is not paid out
    verified boolean NOT NULL DEFAULT false,  -- who it is has been checked (KYC); only then money leaves
    destination text,  -- the connected account that payouts go to
    created_at timestamptz NOT NULL DEFAULT billing.now()
);

-- How the income of a subject (a merchant's shop, a short drama) is split, from a day on. Never changed: a later one follows.
CREATE TABLE billing.agreement (
    id uuid PRIMARY KEY,
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    kind text NOT NULL CHECK (kind IN ('ad', 'drama')),
    currency text NOT NULL REFERENCES billing.asset (code),
    effective_on date NOT NULL,
    parties jsonb,  -- [{"payee": uuid, "ppm": 700000}, …]; the rest is the platform's; null: ended
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    UNIQUE (subject, effective_on)
);

-- What a network says it owes us, taken in whole or not at all.
CREATE TABLE billing.income_statement (
    id uuid PRIMARY KEY,  -- derived from network and reference
    network text NOT NULL,
    reference text NOT NULL,
    currency text NOT NULL REFERENCES billing.asset (code),
    total_micro bigint NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    settled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    UNIQUE (network, reference)
);

CREATE TABLE billing.income (
    id uuid PRIMARY KEY,  -- derived from network and the network's own id of the row: it comes once
    statement_id uuid NOT NULL REFERENCES billing.income_statement (id),
    row integer NOT NULL,
    agreement_id uuid NOT NULL REFERENCES billing.agreement (id),
    occurred_on date NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro <> 0),
    takes_back uuid REFERENCES billing.income (id),
    UNIQUE (statement_id, row),
    CONSTRAINT income_below_zero_takes_back CHECK ((amount_micro < 0) = (takes_back IS NOT NULL))
);
CREATE INDEX income_takes_back ON billing.income (takes_back) WHERE takes_back IS NOT NULL;

-- A pool shared among creators by their views of a period, once fraud had time to show.
CREATE TABLE billing.view_pool (
    id uuid PRIMARY KEY,  -- derived from name and first day
    name text NOT NULL,
    starts_on date NOT NULL,
    ends_on date NOT NULL,  -- not in it any more
    currency text NOT NULL REFERENCES billing.asset (code),
    pool_micro bigint NOT NULL CHECK (pool_micro > 0),
    closes_at timestamptz NOT NULL,
    closed_at timestamptz,
    UNIQUE (name, starts_on),
    CONSTRAINT view_pool_period CHECK (starts_on < ends_on)
);

-- Counts come whole; the latest revision is what counts.
CREATE TABLE billing.view_count (
    pool_id uuid NOT NULL REFERENCES billing.view_pool (id),
    revision integer NOT NULL CHECK (revision > 0),
    payee_id uuid NOT NULL REFERENCES billing.payee (id),
    views bigint NOT NULL CHECK (views >= 0),
    PRIMARY KEY (pool_id, revision, payee_id)
);

-- What each payee got or gave back, and why: an income by its share, or a revision of a pool's counts.
CREATE TABLE billing.share (
    id uuid PRIMARY KEY,  -- the transfer's
    payee_id uuid NOT NULL REFERENCES billing.payee (id),
    income_id uuid REFERENCES billing.income (id),
    pool_id uuid REFERENCES billing.view_pool (id),
    revision integer,
    basis text NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro <> 0),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT share_of_one CHECK ((income_id IS NULL) <> (pool_id IS NULL) AND (pool_id IS NULL) = (revision IS NULL))
);
CREATE INDEX share_of_payee ON billing.share (payee_id, created_at);
CREATE INDEX share_of_income ON billing.share (income_id);
CREATE INDEX share_of_pool ON billing.share (pool_id);

-- due -> sent -> paid | failed, due -> failed. A failed one stands for ever; what it was to pay is owed again.
CREATE TABLE billing.payout (
    id uuid PRIMARY KEY,
    payee_id uuid NOT NULL REFERENCES billing.payee (id),
    currency text NOT NULL REFERENCES billing.asset (code),
    amount_micro bigint NOT NULL CHECK (amount_micro > 0 AND amount_micro % 10000 = 0),
    destination text NOT NULL,
    state text NOT NULL DEFAULT 'due',
    outside_id text UNIQUE,  -- the provider's id of it
    reason text,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    ended_at timestamptz,
    CONSTRAINT payout_state CHECK (state IN ('due', 'sent', 'paid', 'failed')),
    CONSTRAINT payout_sent_has_an_id CHECK (state NOT IN ('sent', 'paid') OR outside_id IS NOT NULL),
    CONSTRAINT payout_failed_has_a_reason CHECK ((state = 'failed') = (reason IS NOT NULL)),
    CONSTRAINT payout_ended CHECK ((state IN ('paid', 'failed')) = (ended_at IS NOT NULL))
);
CREATE UNIQUE INDEX payout_one_at_a_time ON billing.payout (payee_id) WHERE state IN ('due', 'sent');

REVOKE UPDATE, DELETE ON billing.agreement, billing.income, billing.view_count, billing.share FROM tallylight_app;
REVOKE DELETE ON billing.payee, billing.income_statement, billing.view_pool, billing.payout FROM tallylight_app;
