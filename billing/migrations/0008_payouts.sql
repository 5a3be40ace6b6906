-- Payees who are paid by transfers to a connected account at Stripe. Stripe checks who they are and says what it still asks for.
ALTER TABLE billing.payee
    ADD COLUMN connected boolean NOT NULL DEFAULT false,  -- `destination` is such an account, and `verified` is what Stripe says
    ADD COLUMN requirements text[] NOT NULL DEFAULT '{}',  -- what Stripe still asks for
    ADD COLUMN held text CHECK (held <> ''),  -- why nothing is sent, whatever is owed
    ADD COLUMN short_since timestamptz,  -- since when what is owed is more than Stripe's balance covers
    ADD COLUMN customer_id uuid REFERENCES billing.customer (id),  -- whose organization reads its statements
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT billing.now(),  -- when Stripe is asked about it again
    ADD CONSTRAINT payee_connected_to CHECK (NOT connected OR destination IS NOT NULL);
CREATE UNIQUE INDEX payee_connected_once ON billing.payee (destination) WHERE connected;
CREATE INDEX payee_of_customer ON billing.payee (customer_id, created_at, id) WHERE customer_id IS NOT NULL;
CREATE INDEX payee_created ON billing.payee (created_at, id);
CREATE INDEX payee_to_ask ON billing.payee (due_at) WHERE connected;

ALTER TABLE billing.payout
    ADD COLUMN connected boolean NOT NULL DEFAULT false,  -- a transfer of Stripe's, which says what became of it
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT billing.now(),  -- when Stripe is asked again
    ADD COLUMN tries smallint NOT NULL DEFAULT 0;
CREATE INDEX payout_to_send ON billing.payout (due_at) WHERE connected AND state = 'due';
CREATE INDEX payout_of_payee ON billing.payout (payee_id, id);

-- What Stripe took back of a transfer after it was paid: owed again.
CREATE TABLE billing.payout_reversal (
    id text PRIMARY KEY,  -- Stripe's
    payout_id uuid NOT NULL REFERENCES billing.payout (id),
    amount_micro bigint NOT NULL CHECK (amount_micro > 0),
    created_at timestamptz NOT NULL DEFAULT billing.now()
);
CREATE INDEX payout_reversal_of_payout ON billing.payout_reversal (payout_id);

CREATE INDEX agreement_created ON billing.agreement (created_at, id);
CREATE INDEX income_statement_created ON billing.income_statement (created_at, id);

-- How far the clearing account was compared with Stripe's: what both came to, and what differed then and is looked at again.
-- What was entered by hand is never at Stripe, so its sum is kept and its rows are not.
CREATE TABLE billing.clearing_mark (
    until timestamptz NOT NULL,
    currency text NOT NULL,
    ledger_micro bigint NOT NULL,
    stripe_micro bigint NOT NULL,
    by_hand_micro bigint NOT NULL,
    by_hand_count integer NOT NULL,
    open_transactions text[] NOT NULL,
    open_transfers uuid[] NOT NULL,
    seen timestamptz NOT NULL,  -- Stripe's movements that were stored up to then
    PRIMARY KEY (until, currency)
);
-- A movement that is listed after a mark was made, and is from before it.
ALTER TABLE billing.stripe_transaction ADD COLUMN stored_at timestamptz NOT NULL DEFAULT billing.now();
CREATE INDEX stripe_transaction_stored ON billing.stripe_transaction (stored_at);
CREATE INDEX transfer_exchange ON billing.transfer (created_at) WHERE kind = 'exchange';

REVOKE UPDATE, DELETE ON billing.payout_reversal, billing.clearing_mark FROM tallylight_app;
