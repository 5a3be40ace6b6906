-- What serves one customer acts as `tallylight_tenant` and names the customer, both for one transaction (billing/kit/pool.py).
-- It sees that customer's rows and no others; where no customer is named it sees none. Admission and polls serve many at once
-- and act as `tallylight_batch`, everything else as `tallylight_app`: both see every row, and for them a policy is a constant that
-- no plan contains (docs/decisions/0054, 0056).
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tallylight_tenant') THEN
        CREATE ROLE tallylight_tenant NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tallylight_batch') THEN
        CREATE ROLE tallylight_batch NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    IF NOT pg_has_role('tallylight_app', 'tallylight_tenant', 'MEMBER') THEN
        GRANT tallylight_tenant TO tallylight_app;
    END IF;
    IF NOT pg_has_role('tallylight_app', 'tallylight_batch', 'MEMBER') THEN
        GRANT tallylight_batch TO tallylight_app;
    END IF;
    -- Whom the tables belong to is held by their policies too; from PostgreSQL 16 on, who makes a role is no full member of it.
    IF NOT pg_has_role('tallylight_app', 'USAGE') THEN
        GRANT tallylight_app TO CURRENT_USER;
    END IF;
END $$;
GRANT USAGE ON SCHEMA billing TO tallylight_tenant, tallylight_batch;

-- The customer that this transaction serves.
CREATE FUNCTION billing.tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('tallylight.tenant', true), '')::uuid;

-- Which rows are a tenant's, and what it may do with them; without `whose`, no row is a tenant's.
CREATE PROCEDURE billing.isolate(named regclass, whose text DEFAULT NULL, may text DEFAULT 'SELECT') LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', named);
    EXECUTE format('CREATE POLICY platform ON %s TO tallylight_app, tallylight_batch USING (true)', named);
    IF whose IS NOT NULL THEN
        EXECUTE format('CREATE POLICY tenant ON %s TO tallylight_tenant USING (%s)', named, whose);
        EXECUTE format('GRANT %s ON %s TO tallylight_tenant', may, named);
    END IF;
END $$;
REVOKE ALL ON PROCEDURE billing.isolate FROM PUBLIC;

CALL billing.isolate('billing.customer', 'id = billing.tenant()');
CALL billing.isolate('billing.rate_card', 'customer_id IS NULL OR customer_id = billing.tenant()');
CALL billing.isolate('billing.subscription', 'customer_id = billing.tenant()');
CALL billing.isolate('billing.sale');
CALL billing.isolate('billing.budget');
CALL billing.isolate('billing.event', 'customer_id = billing.tenant()');
CALL billing.isolate('billing.invoice', 'customer_id = billing.tenant()');
CALL billing.isolate('billing.billed_line');
CALL billing.isolate('billing.billed');
CALL billing.isolate('billing.volume');
CALL billing.isolate('billing.payee', 'customer_id = billing.tenant()');

-- The ledger: what hangs on a wallet belongs to whom the wallet does. A customer has a few wallets, so an array of them is
-- looked up in an index; accounts may be many, so they are hashed.
CALL billing.isolate('billing.wallet', 'customer_id = billing.tenant()');
CALL billing.isolate('billing.account');
CALL billing.isolate('billing.grant', 'wallet_id = ANY (ARRAY(SELECT id FROM billing.wallet))');
CALL billing.isolate('billing.balance', 'wallet_id = ANY (ARRAY(SELECT id FROM billing.wallet))');
CALL billing.isolate('billing.hold');
CALL billing.isolate('billing.entry', 'account_id IN (SELECT account_id FROM billing.grant)');
-- OFFSET: one transfer after the other is looked up, never a hash of all entries made first.
CALL billing.isolate('billing.transfer', 'EXISTS (SELECT FROM billing.entry e WHERE e.transfer_id = transfer.id OFFSET 0)');
CALL billing.isolate('billing.seal');

-- Usage is read through its partitions' parent alone: nobody but `tallylight_app` may read a partition by its name.
CALL billing.isolate('billing.usage_series', 'customer_id = billing.tenant()');
CALL billing.isolate('billing.usage', 'series_id IN (SELECT id FROM billing.usage_series)');
CALL billing.isolate('billing.usage_rollup', 'series_id IN (SELECT id FROM billing.usage_series)');

CALL billing.isolate('billing.payer', 'customer_id = billing.tenant()', 'SELECT, INSERT, UPDATE');
CALL billing.isolate('billing.payment', 'customer_id = billing.tenant()', 'SELECT, INSERT');
CALL billing.isolate('billing.payment_refund', 'EXISTS (SELECT FROM billing.payment p WHERE p.id = payment_id)');
CALL billing.isolate('billing.dispute', 'EXISTS (SELECT FROM billing.payment p WHERE p.id = payment_id)');
CALL billing.isolate('billing.payment_method', 'customer_id = billing.tenant()');
CALL billing.isolate('billing.collection');
CALL billing.isolate('billing.settlement', 'customer_id = billing.tenant()');

-- The same for everybody: what is on offer, and how far the roll-up has come.
GRANT SELECT ON billing.catalogue, billing.usage_mark TO tallylight_tenant;

-- What admission and polls need, and no more.
GRANT SELECT ON billing.customer, billing.rate_card, billing.subscription, billing.grant, billing.account, billing.balance,
    billing.hold TO tallylight_batch;
GRANT INSERT ON billing.hold TO tallylight_batch;
GRANT UPDATE (held) ON billing.balance TO tallylight_batch;

REVOKE EXECUTE ON FUNCTION billing.add_usage_month FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing.add_usage_month TO tallylight_app;
