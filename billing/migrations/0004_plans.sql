-- What is offered: each publication whole, the last one in force. What a customer agreed to is copied to its subscription.
CREATE TABLE billing.catalogue (
    id uuid PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now()
);
CREATE TRIGGER catalogue_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.catalogue
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- A customer's agreement to a plan over [starts_at, ends_at), in periods that begin on the anchor's day.
CREATE TABLE billing.subscription (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    plan jsonb NOT NULL,
    state text NOT NULL,  -- scheduled -> active -> past_due -> active; each -> ended
    anchor date NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    period_starts_at timestamptz,
    period_ends_at timestamptz,
    due_at timestamptz NOT NULL,  -- when the clerk looks again
    closed_through pg_snapshot,  -- what the last invoice of a contract saw
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT subscription_state CHECK (state IN ('scheduled', 'active', 'past_due', 'ended')),
    CONSTRAINT subscription_ends_after_it_starts CHECK (ends_at >= starts_at),
    CONSTRAINT subscription_ended_has_an_end CHECK (state <> 'ended' OR ends_at IS NOT NULL),
    CONSTRAINT subscription_period CHECK (period_starts_at < period_ends_at),
    CONSTRAINT subscription_active_has_a_period CHECK (state <> 'active' OR period_ends_at IS NOT NULL)
);
CREATE UNIQUE INDEX subscription_one_per_customer ON billing.subscription (customer_id) WHERE state <> 'ended';
CREATE INDEX subscription_of_customer ON billing.subscription (customer_id, starts_at);
CREATE INDEX subscription_due ON billing.subscription (due_at) WHERE state <> 'ended';

-- Seconds that were sold, and what was given back of them, for seconds that were returned or by a credit note: whole minor
-- units, final at once. Only `invoice_id` is filled in later.
CREATE TABLE billing.sale (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    subscription_id uuid REFERENCES billing.subscription (id),
    grant_id uuid NOT NULL REFERENCES billing.account (id),
    returns uuid REFERENCES billing.sale (id),
    payer text NOT NULL CHECK (payer IN ('wallet', 'account')),
    currency text NOT NULL REFERENCES billing.asset (code),
    treatment jsonb NOT NULL,
    line jsonb NOT NULL,
    net_minor bigint NOT NULL,
    tax_minor bigint NOT NULL,
    period_starts_at timestamptz,
    period_ends_at timestamptz,
    invoice_id uuid,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT sale_is_positive CHECK (net_minor >= 0 AND tax_minor >= 0)
);
CREATE INDEX sale_not_invoiced ON billing.sale (created_at) WHERE invoice_id IS NULL AND net_minor + tax_minor > 0;
CREATE INDEX sale_of_customer ON billing.sale (customer_id, created_at);
CREATE INDEX sale_of_grant ON billing.sale (grant_id);
CREATE INDEX sale_returns ON billing.sale (returns) WHERE returns IS NOT NULL;
CREATE FUNCTION billing.refuse_sale_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.invoice_id IS NULL AND to_jsonb(NEW) - 'invoice_id' = to_jsonb(OLD) - 'invoice_id' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'billing.sale is append-only: return it instead' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER sale_append_only BEFORE UPDATE OR DELETE ON billing.sale
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_sale_change();
CREATE TRIGGER sale_not_truncated BEFORE TRUNCATE ON billing.sale
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- A limit somebody wants to be told about: of a customer's spending in each period on its own clock. It stops nothing.
CREATE TABLE billing.budget (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    name text NOT NULL,
    every jsonb NOT NULL,
    anchor date NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro > 0),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    UNIQUE (customer_id, name)
);

-- What happened in the money plane, for webhooks and lists. Ids are derived from what happened, so each is told once;
-- positions are given under one lock, so that whoever has read up to one has missed nothing before it.
CREATE TABLE billing.event (
    id uuid PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    customer_id uuid NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT billing.now()
);
CREATE INDEX event_of_customer ON billing.event (customer_id, position);
CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.event
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

REVOKE UPDATE, DELETE ON billing.catalogue, billing.event FROM tallylight_app;
REVOKE DELETE ON billing.subscription, billing.sale FROM tallylight_app;
