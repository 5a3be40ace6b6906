-- The ledger. Amounts are integers in the smallest unit of their asset: micro-units of a currency, milliseconds of prepaid
-- seconds. A credit is positive, a debit negative, so the entries of every transfer sum to zero per asset and a wallet's
-- account holds what the customer owns.
CREATE SCHEMA billing;

-- The money plane's only clock. A simulator replaces it in its own database and so owns time there.
CREATE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp()';

CREATE TABLE billing.asset (
    code text PRIMARY KEY CHECK (code ~ '^([A-Z]{3}|SEC:[a-z0-9-]{1,40})$'),
    scale smallint NOT NULL,
    CONSTRAINT asset_scale CHECK (scale = CASE WHEN code LIKE 'SEC:%' THEN 3 ELSE 6 END)
);
INSERT INTO billing.asset (code, scale) VALUES ('CNY', 6), ('USD', 6);

-- One wallet per customer, asset and book. The test book holds play money: it is never part of a report or an invoice.
CREATE TABLE billing.wallet (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    book text NOT NULL CHECK (book IN ('live', 'test')),
    asset text NOT NULL REFERENCES billing.asset (code),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    UNIQUE (customer_id, book, asset)
);

CREATE TABLE billing.account (
    id uuid PRIMARY KEY,
    path text NOT NULL UNIQUE,
    asset text NOT NULL REFERENCES billing.asset (code),
    book text NOT NULL CHECK (book IN ('live', 'test')),
    wallet_id uuid REFERENCES billing.wallet (id),
    created_at timestamptz NOT NULL DEFAULT billing.now()
);

-- What an account of a wallet is, for ever: how it is drawn on, how long, and what its seconds were sold for.
-- `issued` is null where the account is filled and emptied again and again (paid, credit).
CREATE TABLE billing.grant (
    account_id uuid PRIMARY KEY REFERENCES billing.account (id),
    wallet_id uuid NOT NULL REFERENCES billing.wallet (id),
    kind text NOT NULL,
    priority smallint NOT NULL DEFAULT 0,  -- lower is drawn on first
    starts_at timestamptz,
    expires_at timestamptz,
    issued bigint,
    basis_micro bigint NOT NULL DEFAULT 0,  -- what all of `issued` was sold for, recognised as it is used
    basis_asset text REFERENCES billing.asset (code),
    source text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT grant_kind CHECK (kind IN ('paid', 'promo', 'pack', 'subscription', 'allowance', 'credit', 'budget', 'payable')),
    CONSTRAINT grant_issued CHECK (issued > 0),
    CONSTRAINT grant_starts_before_it_expires CHECK (starts_at < expires_at),
    CONSTRAINT grant_basis CHECK (basis_micro >= 0 AND (basis_asset IS NOT NULL) = (kind IN ('pack', 'subscription')))
);
CREATE INDEX grant_of_wallet ON billing.grant (wallet_id, (coalesce(expires_at, 'infinity')));
CREATE INDEX grant_expires ON billing.grant (expires_at) WHERE expires_at IS NOT NULL;

-- Only guarded accounts (money or seconds somebody could overspend) keep a balance that is updated in the same transaction.
-- Revenue, cost and clearing accounts are append-only, so no row of ours is ever hot.
CREATE TABLE billing.balance (
    account_id uuid PRIMARY KEY REFERENCES billing.account (id),
    wallet_id uuid NOT NULL REFERENCES billing.wallet (id),
    posted bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0,
    CONSTRAINT balance_held_not_negative CHECK (held >= 0)
) WITH (fillfactor = 50);
CREATE INDEX balance_wallet ON billing.balance (wallet_id);

-- A floor may rise above what is left (an invoice adds tax to what is owed, a credit limit is cut); but nothing is spent or
-- held below it. Credit is spent by holding it: what moves it without a hold is an invoice, which turns into a receivable what
-- is owed, or what was given back.
CREATE FUNCTION billing.refuse_overspending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.held <= OLD.held AND (SELECT kind FROM billing.grant WHERE account_id = NEW.account_id) = 'credit' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'account % is overspent: posted %, held %, floor %', NEW.account_id, NEW.posted, NEW.held, NEW.floor
        USING ERRCODE = 'check_violation', SCHEMA = 'billing', TABLE = 'balance', CONSTRAINT = 'balance_not_overspent';
END $$;
CREATE TRIGGER balance_not_overspent BEFORE UPDATE ON billing.balance FOR EACH ROW
    WHEN (NEW.posted - NEW.held < NEW.floor AND NEW.posted - NEW.held < OLD.posted - OLD.held)
    EXECUTE FUNCTION billing.refuse_overspending();

-- The hot tables (transfer, entry, hold) have no foreign keys: each would cost a trigger call and a row lock per row.
-- Only the set-based verbs of billing/ledger write them, and `tallylight ledger verify` looks for orphans.
CREATE TABLE billing.transfer (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    subject_id uuid NOT NULL,
    payload jsonb NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    -- The rules of billing/ledger/rules.py, and what the verbs of holds write.
    CONSTRAINT transfer_kind CHECK (kind IN (
        'top_up', 'voucher', 'promo', 'sla', 'budget', 'pack', 'pack_from_wallet', 'pack_on_account', 'subscription',
        'subscription_from_wallet', 'subscription_on_account', 'allowance', 'rollover', 'expire_paid', 'expire_promo',
        'expire_budget', 'expire_pack', 'expire_subscription', 'expire_allowance', 'cash_refund', 'cash_refund_paid',
        'cash_refund_failed', 'pack_refund', 'seconds_return_to_wallet', 'seconds_return_on_account', 'credit_limit', 'close', 'payment', 'payment_from_wallet', 'credit_note',
        'sla_note', 'write_off', 'cost', 'cost_true_up', 'cost_paid', 'income', 'income_back', 'income_settled', 'share',
        'share_back', 'share_kept', 'share_kept_back', 'pool_share', 'pool_share_back', 'payout', 'payout_paid',
        'payout_failed', 'cash_taken', 'cash_returned', 'payment_refund', 'payment_refund_failed', 'payment_taken',
        'payment_returned', 'stripe_fee', 'exchange', 'bank_payout', 'capture', 'refund', 'reversal'))
);
CREATE INDEX transfer_subject ON billing.transfer (subject_id);
CREATE INDEX transfer_xid ON billing.transfer (xid);

CREATE TABLE billing.entry (
    transfer_id uuid NOT NULL,
    leg smallint NOT NULL,
    account_id uuid NOT NULL,
    asset text NOT NULL,
    amount bigint NOT NULL CHECK (amount <> 0),
    booked_at timestamptz NOT NULL, -- the moment of its transfer: a statement reads the entries of its period and no others
    PRIMARY KEY (transfer_id, leg)
);
CREATE INDEX entry_account ON billing.entry (account_id, booked_at);

-- What a subject may cost at most, set aside; the id is the subject's own. `seq` is the draw order over the accounts: a hold
-- has a row for each, seconds before money before a sponsor's part. `request` is a digest of what was asked for.
CREATE TABLE billing.hold (
    id uuid NOT NULL,
    seq smallint NOT NULL,
    account_id uuid NOT NULL,
    request bytea NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    captured bigint NOT NULL DEFAULT 0,
    refunded bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'held',  -- held -> captured | released
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    ended_at timestamptz,
    PRIMARY KEY (id, seq),
    CONSTRAINT hold_state CHECK (state IN ('held', 'captured', 'released')),
    CONSTRAINT hold_captured_within CHECK (captured BETWEEN 0 AND amount),
    CONSTRAINT hold_refunded_within CHECK (refunded BETWEEN 0 AND captured),
    CONSTRAINT hold_captured_only_if_captured CHECK (state = 'captured' OR captured = 0),
    CONSTRAINT hold_ended_if_not_held CHECK ((state = 'held') = (ended_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX hold_open_account ON billing.hold (account_id) WHERE state = 'held';

-- The hash chain over transfers and their entries, written after the fact (billing/ledger/chain.py).
CREATE TABLE billing.seal (
    position bigint PRIMARY KEY,
    xid xid8 NOT NULL,
    transfer_id uuid NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32)
);

CREATE FUNCTION billing.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: post a reversal instead', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER transfer_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.transfer
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.entry
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER grant_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.grant
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER seal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.seal
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- All legs of a transfer are inserted by one statement, so one look at the statement's rows proves that they balance.
CREATE FUNCTION billing.refuse_imbalance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong uuid;
BEGIN
    SELECT transfer_id INTO wrong FROM added GROUP BY transfer_id, asset HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer % does not sum to zero', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entry_balanced AFTER INSERT ON billing.entry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_imbalance();

-- The role the processes act as (`open_pool(role=…)`): it cannot change history even where a trigger was switched off.
-- Roles belong to the whole server, so another database may be making it at this moment.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tallylight_app') THEN
        CREATE ROLE tallylight_app NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    IF NOT pg_has_role('tallylight_app', 'MEMBER') THEN
        GRANT tallylight_app TO CURRENT_USER;
    END IF;
END $$;
GRANT USAGE ON SCHEMA billing TO tallylight_app;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA billing TO tallylight_app;
GRANT UPDATE ON billing.balance, billing.hold TO tallylight_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA billing GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tallylight_app;
