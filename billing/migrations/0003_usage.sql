-- Usage: one row for every job that ended after it ran, and one with negative figures for every refund. A row is never
-- changed. What rows have in common is a series, stored once: it keeps the rows short and is what a roll-up groups by.
CREATE TABLE billing.usage_series (
    id uuid PRIMARY KEY, -- derived from every other column
    kind text NOT NULL CHECK (kind IN ('charge', 'refund')),
    customer_id uuid NOT NULL,
    project_id uuid NOT NULL,
    key_id uuid NOT NULL,
    rate_card_id uuid NOT NULL,
    book text NOT NULL CHECK (book IN ('live', 'test')),
    currency text NOT NULL REFERENCES billing.asset (code),
    cost_currency text NOT NULL REFERENCES billing.asset (code),
    model text NOT NULL,
    task text NOT NULL,
    resolution text NOT NULL,
    tier text NOT NULL,
    chip text NOT NULL,
    outcome text NOT NULL,
    labels jsonb NOT NULL CHECK (jsonb_typeof(labels) = 'object')
);
CREATE INDEX usage_series_customer ON billing.usage_series (customer_id);
CREATE TRIGGER usage_series_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.usage_series
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- Columns stand in the order that wastes no byte on alignment. `xid` is the transaction that wrote the row: the roll-up
-- takes rows of transactions that have ended, so it can miss none (docs/decisions/0020).
CREATE TABLE billing.usage (
    at timestamptz NOT NULL DEFAULT billing.now(),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    gross_micro bigint NOT NULL,   -- what was delivered at its price
    granted_micro bigint NOT NULL, -- of that, paid by promotional money
    net_micro bigint NOT NULL,     -- of that, paid by the customer's own money or credit
    prepaid_micro bigint NOT NULL, -- revenue recognised for the seconds that a pack or subscription paid
    cost_micro bigint NOT NULL,    -- what its attempts cost us, in the cost currency
    requested_ms integer NOT NULL,
    delivered_ms integer NOT NULL,
    billed_ms integer NOT NULL,    -- delivered, or the minimum of the price
    seconds_ms integer NOT NULL,   -- of that, paid by packs, subscriptions and allowances
    queue_ms integer NOT NULL,
    run_ms integer NOT NULL,
    images integer NOT NULL,       -- delivered, where the price is per image
    attempts smallint NOT NULL,
    series_id uuid NOT NULL,
    subject_id uuid NOT NULL,
    end_user text NOT NULL DEFAULT '',
    CONSTRAINT usage_paid_within_gross CHECK (abs(granted_micro) + abs(net_micro) <= abs(gross_micro))
) PARTITION BY RANGE (at);
CREATE INDEX usage_subject ON billing.usage (subject_id);
CREATE INDEX usage_of_series ON billing.usage (series_id, at);
CREATE INDEX usage_xid ON billing.usage (xid);
CREATE INDEX usage_at ON billing.usage USING brin (at) WITH (pages_per_range = 16);

REVOKE UPDATE, DELETE ON billing.usage, billing.usage_series FROM tallylight_app;

-- Where a row goes whose month has no partition. Nothing is lost there; only that month stays in it.
CREATE TABLE billing.usage_default PARTITION OF billing.usage DEFAULT;
REVOKE UPDATE, DELETE ON billing.usage_default FROM tallylight_app;
CREATE TRIGGER usage_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.usage
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER usage_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.usage_default
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- Adds the partition of a month (UTC); true where it was missing. Any number may call it at once. The table is attached and
-- not created in place, because that does not keep writers of other months waiting; as its
-- definer, because whom the processes act as owns no table. A month that has rows in the default
-- partition stays there.
CREATE FUNCTION billing.add_usage_month(month date) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lower timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    upper timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    name text := to_char(month, '"usage_"YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(7281330301);
    IF to_regclass('billing.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE billing.%I (LIKE billing.usage INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('CREATE TRIGGER usage_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change()', name);
    EXECUTE format('REVOKE UPDATE, DELETE ON billing.%I FROM tallylight_app', name);
    EXECUTE format('ALTER TABLE billing.usage ATTACH PARTITION billing.%I FOR VALUES FROM (%L) TO (%L)', name, lower, upper);
    RETURN true;
EXCEPTION WHEN check_violation THEN
    RETURN false;
END $$;
SELECT billing.add_usage_month((billing.now() AT TIME ZONE 'UTC' + make_interval(months => n))::date)
FROM generate_series(0, 3) AS n;

-- The sums per series and quarter of an hour (UTC; zones at :30 and :45 exist), and per hour and four hours, so that a month
-- is a few hundred spans and not three thousand. Derived: it can be made again from usage.
CREATE TABLE billing.usage_rollup (
    start timestamptz NOT NULL,
    rows bigint NOT NULL,
    gross_micro bigint NOT NULL,
    granted_micro bigint NOT NULL,
    net_micro bigint NOT NULL,
    prepaid_micro bigint NOT NULL,
    cost_micro bigint NOT NULL,
    requested_ms bigint NOT NULL,
    delivered_ms bigint NOT NULL,
    billed_ms bigint NOT NULL,
    seconds_ms bigint NOT NULL,
    queue_ms bigint NOT NULL,
    run_ms bigint NOT NULL,
    images bigint NOT NULL,
    width_s integer NOT NULL,
    series_id uuid NOT NULL,
    PRIMARY KEY (series_id, width_s, start)
) PARTITION BY LIST (width_s);
CREATE INDEX usage_rollup_spans ON billing.usage_rollup (width_s, start);
CREATE TABLE billing.usage_rollup_quarters PARTITION OF billing.usage_rollup FOR VALUES IN (900) WITH (fillfactor = 80);
CREATE TABLE billing.usage_rollup_hours PARTITION OF billing.usage_rollup FOR VALUES IN (3600) WITH (fillfactor = 80);
CREATE TABLE billing.usage_rollup_four_hours PARTITION OF billing.usage_rollup FOR VALUES IN (14400) WITH (fillfactor = 80);

-- Rows of transactions before `through` are in the roll-up, all others are read from usage itself. Transaction ids belong to
-- a cluster: restored into another one, the mark means nothing, so it is kept with the cluster's identity.
CREATE TABLE billing.usage_mark (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster bigint NOT NULL,
    through xid8 NOT NULL
);
INSERT INTO billing.usage_mark (cluster, through) SELECT system_identifier, '0' FROM pg_control_system();

CREATE FUNCTION billing.usage_through() RETURNS xid8 LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN m.cluster = c.system_identifier THEN m.through ELSE '0' END
    FROM billing.usage_mark m, pg_control_system() c
$$;

-- How many milliseconds or images a customer was charged for in a period with graduated prices: the next one's place.
CREATE TABLE billing.volume (
    customer_id uuid NOT NULL,
    book text NOT NULL,
    key text NOT NULL,
    counted bigint NOT NULL DEFAULT 0 CHECK (counted >= 0),
    PRIMARY KEY (customer_id, book, key)
) WITH (fillfactor = 50);
