-- The ledger. Amounts are integers: micro-units of a currency. A credit is positive, a debit negative, so the entries
-- of every transfer sum to zero per asset and a customer's wallet holds what the customer owns.
CREATE SCHEMA billing;

-- The one clock of the money plane.
CREATE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

CREATE TABLE billing.asset (
    code text PRIMARY KEY,
    scale smallint NOT NULL CHECK (scale BETWEEN 0 AND 9)
);
INSERT INTO billing.asset (code, scale) VALUES ('CNY', 6), ('USD', 6);

-- One wallet per customer, currency and book. The test book holds play money: it is never part of a report or an invoice.
CREATE TABLE billing.wallet (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    book text NOT NULL CHECK (book IN ('live', 'test')),
    asset text NOT NULL REFERENCES billing.asset (code),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (customer_id, book, asset)
);

CREATE TABLE billing.account (
    id uuid PRIMARY KEY,
    path text NOT NULL UNIQUE,
    asset text NOT NULL REFERENCES billing.asset (code),
    book text NOT NULL CHECK (book IN ('live', 'test')),
    wallet_id uuid REFERENCES billing.wallet (id),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Only guarded accounts (money somebody could overspend) keep a balance that is updated in the same transaction.
-- Revenue, cost and clearing accounts are append-only, so no row of ours is ever hot.
CREATE TABLE billing.balance (
    account_id uuid PRIMARY KEY REFERENCES billing.account (id),
    wallet_id uuid NOT NULL REFERENCES billing.wallet (id),
    posted_micro bigint NOT NULL DEFAULT 0,
    held_micro bigint NOT NULL DEFAULT 0,
    floor_micro bigint NOT NULL DEFAULT 0,
    CONSTRAINT balance_held_not_negative CHECK (held_micro >= 0),
    CONSTRAINT balance_not_overspent CHECK (posted_micro - held_micro >= floor_micro)
) WITH (fillfactor = 50);
CREATE INDEX balance_wallet ON billing.balance (wallet_id);

-- The hot tables (transfer, entry, hold) have no foreign keys: each would cost a trigger call and a row lock per row.
-- Only the set-based verbs of billing/ledger write them, and `tallylight ledger verify` looks for orphans.
CREATE TABLE billing.transfer (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('top_up', 'capture')),
    subject_id uuid NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX transfer_subject ON billing.transfer (subject_id);

CREATE TABLE billing.entry (
    transfer_id uuid NOT NULL,
    leg smallint NOT NULL,
    account_id uuid NOT NULL,
    asset text NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro <> 0),
    PRIMARY KEY (transfer_id, leg)
);
CREATE INDEX entry_account ON billing.entry (account_id);

-- What a subject may cost at most, set aside; the id is the subject's own. `seq` is the draw order over the accounts of
-- the wallet: a hold that draws on several accounts has a row for each.
CREATE TABLE billing.hold (
    id uuid NOT NULL,
    seq smallint NOT NULL,
    account_id uuid NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro >= 0),
    captured_micro bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'held',  -- held -> captured | released
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    PRIMARY KEY (id, seq),
    CONSTRAINT hold_state CHECK (state IN ('held', 'captured', 'released')),
    CONSTRAINT hold_captured_within CHECK (captured_micro BETWEEN 0 AND amount_micro),
    CONSTRAINT hold_captured_only_if_captured CHECK (state = 'captured' OR captured_micro = 0),
    CONSTRAINT hold_ended_if_not_held CHECK ((state = 'held') = (ended_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX hold_open_account ON billing.hold (account_id) WHERE state = 'held';

CREATE FUNCTION billing.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: post a reversal instead', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER transfer_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.transfer
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.entry
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- All legs of a transfer are inserted by one statement, so one look at the statement's rows proves that they balance.
CREATE FUNCTION billing.refuse_imbalance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong uuid;
BEGIN
    SELECT transfer_id INTO wrong FROM added GROUP BY transfer_id, asset HAVING sum(amount_micro) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer % does not sum to zero', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entry_balanced AFTER INSERT ON billing.entry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_imbalance();
