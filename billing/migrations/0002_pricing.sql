-- The price book: immutable rate cards, each in force from a moment on, one line of succession per currency.
CREATE TABLE billing.rate_card (
    id uuid PRIMARY KEY,
    currency text NOT NULL REFERENCES billing.asset (code),
    effective_from timestamptz NOT NULL,
    card jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (currency, effective_from)
);
CREATE TRIGGER rate_card_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.rate_card
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
