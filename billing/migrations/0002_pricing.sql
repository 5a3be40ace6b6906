-- Whom amounts are owed by. What a period or an hour is follows from the time zone and what an amount is from the currency,
-- so both stay as they were opened; the rest is what an invoice says and may be corrected.
CREATE FUNCTION billing.is_time_zone(name text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM billing.now() AT TIME ZONE name;
    RETURN true;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END $$;

CREATE TABLE billing.customer (
    id uuid PRIMARY KEY,
    currency text NOT NULL REFERENCES billing.asset (code) CHECK (currency IN ('CNY', 'USD')),
    time_zone text NOT NULL CHECK (billing.is_time_zone(time_zone)),
    legal_name text NOT NULL DEFAULT '' CHECK (length(legal_name) <= 200),
    address text NOT NULL DEFAULT '' CHECK (length(address) <= 1000),
    country text NOT NULL DEFAULT '' CHECK (country ~ '^([A-Z]{2})?$'),
    tax_id text NOT NULL DEFAULT '' CHECK (length(tax_id) <= 50),
    language text NOT NULL DEFAULT 'en' CHECK (language IN ('en', 'zh')),
    created_at timestamptz NOT NULL DEFAULT billing.now()
);
CREATE FUNCTION billing.refuse_rebasing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a customer keeps its id, currency and time zone: open another one' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER customer_keeps_its_base BEFORE UPDATE ON billing.customer FOR EACH ROW
    WHEN ((OLD.id, OLD.currency, OLD.time_zone, OLD.created_at) IS DISTINCT FROM (NEW.id, NEW.currency, NEW.time_zone, NEW.created_at))
    EXECUTE FUNCTION billing.refuse_rebasing();

-- The price book: immutable rate cards, each in force from a moment on until the next of its succession. There is a
-- succession for each currency, and one for each customer that has prices of its own.
CREATE TABLE billing.rate_card (
    id uuid PRIMARY KEY,
    customer_id uuid REFERENCES billing.customer (id),
    currency text NOT NULL REFERENCES billing.asset (code),
    effective_from timestamptz NOT NULL,
    card jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    UNIQUE NULLS NOT DISTINCT (customer_id, currency, effective_from)
);
CREATE TRIGGER rate_card_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.rate_card
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

REVOKE UPDATE, DELETE ON billing.rate_card FROM tallylight_app;
REVOKE DELETE ON billing.customer FROM tallylight_app;
