-- The last number each legal entity has given in a year; the row is locked until the invoice is committed, so none is lost.
CREATE TABLE billing.invoice_number (
    seller text NOT NULL,
    kind text NOT NULL,
    year integer NOT NULL,
    last integer NOT NULL CHECK (last > 0),
    PRIMARY KEY (seller, kind, year)
);

-- An invoice or a credit note is written once, whole, when it is finalised: there are no drafts here. `document` is all of it.
CREATE TABLE billing.invoice (
    id uuid PRIMARY KEY,  -- derived from what it invoices: a period of a contract, a sale, a correction
    position bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CHECK (kind IN ('invoice', 'credit_note')),
    seller text NOT NULL,
    year integer NOT NULL,
    sequence integer NOT NULL CHECK (sequence > 0),
    number text NOT NULL UNIQUE,
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    subscription_id uuid REFERENCES billing.subscription (id),
    corrects uuid REFERENCES billing.invoice (id),
    currency text NOT NULL REFERENCES billing.asset (code),
    period_starts_at timestamptz,
    period_ends_at timestamptz,
    net_minor bigint NOT NULL,
    tax_minor bigint NOT NULL,
    total_minor bigint NOT NULL,
    paid_minor bigint NOT NULL,
    counted_micro bigint NOT NULL,  -- what counts towards a commitment
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    UNIQUE (seller, kind, year, sequence),
    CONSTRAINT invoice_adds_up CHECK (net_minor + tax_minor = total_minor AND total_minor >= 0),
    CONSTRAINT invoice_paid_within CHECK (paid_minor BETWEEN 0 AND total_minor)
);
CREATE INDEX invoice_of_customer ON billing.invoice (customer_id, position);
CREATE INDEX invoice_of_subscription ON billing.invoice (subscription_id, period_starts_at);
CREATE INDEX invoice_corrects ON billing.invoice (corrects);
CREATE TRIGGER invoice_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.invoice
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
ALTER TABLE billing.sale ADD CONSTRAINT sale_invoice FOREIGN KEY (invoice_id) REFERENCES billing.invoice (id);

REVOKE UPDATE, DELETE ON billing.invoice FROM tallylight_app;
REVOKE DELETE ON billing.invoice_number FROM tallylight_app;
