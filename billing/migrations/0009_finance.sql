-- Which line of which document charges a job on account, and what of that line was given back: by refunds of its jobs and by
-- credit notes, together never more than it charges. Written under the lock of the account that is owed.
CREATE TABLE billing.billed_line (
    invoice_id uuid NOT NULL REFERENCES billing.invoice (id),
    line smallint NOT NULL CHECK (line > 0),
    charged_micro bigint NOT NULL CHECK (charged_micro >= 0), -- by its jobs, and what rounding up has added
    refunded_micro bigint NOT NULL CHECK (refunded_micro >= 0),
    credited_micro bigint NOT NULL DEFAULT 0 CHECK (credited_micro >= 0),
    PRIMARY KEY (invoice_id, line),
    CONSTRAINT billed_line_given_back_once CHECK (refunded_micro + credited_micro <= charged_micro)
);

-- One row for each job, and a close may write millions: the line it names is written by the same verb.
CREATE TABLE billing.billed (
    subject_id uuid PRIMARY KEY,
    invoice_id uuid NOT NULL,
    line smallint NOT NULL
);
CREATE INDEX billed_by_line ON billing.billed (invoice_id, line);
CREATE TRIGGER billed_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.billed
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

REVOKE UPDATE, DELETE ON billing.billed FROM tallylight_app;
REVOKE DELETE ON billing.billed_line FROM tallylight_app;

-- What settles an invoice beside Stripe: a wire that came to our bank account, or what is given up. The bank's id of a wire,
-- and the decision's of a write-off, come once. What was booked by mistake is undone, and says why.
CREATE TABLE billing.settlement (
    id uuid PRIMARY KEY,  -- derived from kind and reference
    kind text NOT NULL CHECK (kind IN ('wire', 'write_off')),
    reference text NOT NULL CHECK (length(reference) BETWEEN 1 AND 200),
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    invoice_id uuid NOT NULL REFERENCES billing.invoice (id),
    currency text NOT NULL REFERENCES billing.asset (code),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    invoice_minor bigint NOT NULL, -- of that, for the invoice; the rest is in the wallet
    reason text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    undone_at timestamptz,
    undone_because text,
    UNIQUE (kind, reference),
    CONSTRAINT settlement_within_amount CHECK (invoice_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT settlement_write_off_has_a_reason CHECK (kind = 'wire' OR (reason <> '' AND invoice_minor = amount_minor)),
    CONSTRAINT settlement_undone_has_a_reason CHECK ((undone_at IS NULL) = (undone_because IS NULL))
);
CREATE INDEX settlement_of_invoice ON billing.settlement (invoice_id);
CREATE INDEX settlement_of_customer ON billing.settlement (customer_id, created_at);
REVOKE UPDATE, DELETE ON billing.settlement FROM tallylight_app;
GRANT UPDATE (undone_at, undone_because) ON billing.settlement TO tallylight_app;

-- All that suppliers have billed for a pool's compute in a month (UTC), against what its attempts were accrued at. A later
-- total follows an earlier one, never changes it; what each adds to the books is posted once.
CREATE TABLE billing.supplier_bill (
    id uuid PRIMARY KEY,  -- derived from pool, month and reference
    position bigint GENERATED ALWAYS AS IDENTITY,
    pool text NOT NULL CHECK (length(pool) BETWEEN 1 AND 200),
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    reference text NOT NULL CHECK (length(reference) BETWEEN 1 AND 200),
    currency text NOT NULL REFERENCES billing.asset (code),
    billed_micro bigint NOT NULL CHECK (billed_micro >= 0),
    accrued_micro bigint NOT NULL,
    booked_micro bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    UNIQUE (pool, month, reference)
);
CREATE TRIGGER supplier_bill_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.supplier_bill
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
REVOKE UPDATE, DELETE ON billing.supplier_bill FROM tallylight_app;

ALTER TABLE billing.transfer DROP CONSTRAINT transfer_kind, ADD CONSTRAINT transfer_kind CHECK (kind IN (
    'top_up', 'voucher', 'promo', 'sla', 'budget', 'pack', 'pack_from_wallet', 'pack_on_account', 'subscription',
    'subscription_from_wallet', 'subscription_on_account', 'allowance', 'rollover', 'expire_paid', 'expire_promo',
    'expire_budget', 'expire_pack', 'expire_subscription', 'expire_allowance', 'cash_refund', 'cash_refund_paid',
    'cash_refund_failed', 'seconds_return_to_wallet', 'seconds_return_on_account', 'credit_limit', 'close', 'payment',
    'payment_from_wallet', 'credit_note', 'sla_note', 'write_off', 'cost', 'cost_true_up', 'cost_paid', 'income', 'income_back',
    'income_settled', 'share', 'share_back', 'share_kept', 'share_kept_back', 'pool_share', 'pool_share_back', 'payout',
    'payout_paid', 'payout_failed', 'payout_reversed', 'cash_taken', 'cash_returned', 'payment_refund', 'payment_refund_failed', 'payment_taken',
    'payment_returned', 'stripe_fee', 'exchange', 'bank_payout', 'bank_payment', 'bank_top_up', 'capture', 'refund', 'reversal'));
