-- Money that Stripe moves. What is owned stands in the ledger alone; here is what was asked of Stripe and what became of it.

-- A customer as Stripe knows it, and how it wants to pay: invoices are sent or charged; a wallet is recharged when what is
-- left falls below `threshold_micro`, by `recharge_minor`, up to `month_max_minor` in a month of its own clock. Where a bank
-- wants the customer itself, it comes back to `return_url`.
CREATE TABLE billing.payer (
    customer_id uuid PRIMARY KEY REFERENCES billing.customer (id),
    stripe_id text UNIQUE,  -- null until Stripe has answered
    lost smallint NOT NULL DEFAULT 0,  -- how often it was deleted there: each time it is made anew
    told bytea NOT NULL DEFAULT '',  -- a digest of the billing details that Stripe was told last
    tax_id_state text NOT NULL DEFAULT '',  -- what Stripe says of the tax number
    method_id text,  -- what is charged while the customer is away
    collects text NOT NULL DEFAULT 'send' CHECK (collects IN ('send', 'charge')),
    threshold_micro bigint CHECK (threshold_micro >= 0),
    recharge_minor bigint CHECK (recharge_minor > 0),
    month_max_minor bigint CHECK (month_max_minor >= recharge_minor),
    return_url text NOT NULL DEFAULT '',
    paused text NOT NULL DEFAULT '',  -- why nothing is recharged any more
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT payer_recharges_whole CHECK (num_nulls(threshold_micro, recharge_minor, month_max_minor) IN (0, 3))
);

-- A payment that was asked for. Its id follows from who asked and for what, so that asking again is the same payment.
CREATE TABLE billing.payment (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    purpose text NOT NULL CHECK (purpose IN ('top_up', 'recharge', 'pack', 'subscription', 'invoice')),
    subject text NOT NULL,  -- which pack, plan or invoice
    flow text NOT NULL CHECK (flow IN ('intent', 'checkout', 'saved')),
    methods text[] NOT NULL,  -- what the customer may pay with; of the flow `saved`, the saved method
    currency text NOT NULL REFERENCES billing.asset (code),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    return_url text NOT NULL,
    saves boolean NOT NULL,  -- the method is kept for later charges
    state text NOT NULL DEFAULT 'created',  -- created -> open -> succeeded | failed; what failed may still succeed
    intent_id text UNIQUE,
    session_id text UNIQUE,
    charge_id text UNIQUE,
    received_minor bigint NOT NULL DEFAULT 0,
    transfer_id uuid UNIQUE,  -- how it was booked
    booked text,  -- where to: what goes back of it goes back from there
    failure text NOT NULL DEFAULT '',
    refused text NOT NULL DEFAULT '',  -- why it did not buy what it was for: the money is in the wallet
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    ended_at timestamptz,
    due_at timestamptz NOT NULL DEFAULT billing.now(),  -- when Stripe is asked again
    tries smallint NOT NULL DEFAULT 0,
    CONSTRAINT payment_state CHECK (state IN ('created', 'open', 'succeeded', 'failed')),
    CONSTRAINT payment_open_is_known CHECK (state <> 'open' OR intent_id IS NOT NULL OR session_id IS NOT NULL),
    CONSTRAINT payment_ended CHECK ((ended_at IS NOT NULL) = (state IN ('succeeded', 'failed'))),
    CONSTRAINT payment_failed_says_why CHECK ((failure <> '') = (state = 'failed')),
    CONSTRAINT payment_succeeded_is_booked CHECK (
        (state = 'succeeded') = (intent_id IS NOT NULL AND transfer_id IS NOT NULL AND booked IS NOT NULL AND received_minor > 0)),
    CONSTRAINT payment_booked CHECK (booked IN ('wallet', 'receivable'))
);
CREATE INDEX payment_of_customer ON billing.payment (customer_id, created_at);
CREATE INDEX payment_due ON billing.payment (due_at) WHERE state IN ('created', 'open');
CREATE INDEX payment_of_subject ON billing.payment (subject) WHERE purpose = 'invoice';

CREATE FUNCTION billing.refuse_payment_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a payment keeps what was asked for, and one that has succeeded keeps that' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER payment_keeps_what_was_asked BEFORE UPDATE ON billing.payment FOR EACH ROW
    WHEN ((OLD.id, OLD.customer_id, OLD.purpose, OLD.subject, OLD.flow, OLD.methods, OLD.currency, OLD.amount_minor, OLD.created_at)
              IS DISTINCT FROM
          (NEW.id, NEW.customer_id, NEW.purpose, NEW.subject, NEW.flow, NEW.methods, NEW.currency, NEW.amount_minor, NEW.created_at)
          OR (OLD.state = 'succeeded' AND (OLD.state, OLD.transfer_id, OLD.booked, OLD.received_minor, OLD.intent_id)
              IS DISTINCT FROM (NEW.state, NEW.transfer_id, NEW.booked, NEW.received_minor, NEW.intent_id)))
    EXECUTE FUNCTION billing.refuse_payment_change();

-- Money given back. `ours`: it was asked for here, so it was set aside first; any other is booked when it has happened.
CREATE TABLE billing.payment_refund (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES billing.payment (id),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    reason text NOT NULL,
    ours boolean NOT NULL,
    state text NOT NULL DEFAULT 'created',  -- created -> open -> succeeded -> failed; created, open -> failed
    stripe_id text UNIQUE,
    gone boolean NOT NULL DEFAULT false,  -- the money has left Stripe, though it may have come back
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    due_at timestamptz NOT NULL DEFAULT billing.now(),
    tries smallint NOT NULL DEFAULT 0,
    CONSTRAINT payment_refund_state CHECK (state IN ('created', 'open', 'succeeded', 'failed')),
    CONSTRAINT payment_refund_open_is_known CHECK (state NOT IN ('open', 'succeeded') OR stripe_id IS NOT NULL),
    CONSTRAINT payment_refund_succeeded_is_gone CHECK (state <> 'succeeded' OR gone)
);
CREATE INDEX payment_refund_of_payment ON billing.payment_refund (payment_id);
CREATE INDEX payment_refund_due ON billing.payment_refund (due_at) WHERE state IN ('created', 'open');

-- A payment that the customer's bank disputes. `taken_minor` is what Stripe has taken for it and not given back.
CREATE TABLE billing.dispute (
    stripe_id text PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES billing.payment (id),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    reason text NOT NULL,
    state text NOT NULL,  -- open -> won | lost
    taken_minor bigint NOT NULL CHECK (taken_minor >= 0),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    due_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT dispute_state CHECK (state IN ('open', 'won', 'lost'))
);
CREATE INDEX dispute_of_payment ON billing.dispute (payment_id);
CREATE INDEX dispute_due ON billing.dispute (due_at) WHERE state = 'open';

-- What customers let us charge while they are away, as Stripe lists it.
CREATE TABLE billing.payment_method (
    id text PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    kind text NOT NULL,
    label text NOT NULL,
    expires text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT billing.now()
);
CREATE INDEX payment_method_of_customer ON billing.payment_method (customer_id, created_at);

-- The invoices that are not paid when they are issued, and where each stands in the calendar of reminders.
CREATE TABLE billing.collection (
    invoice_id uuid PRIMARY KEY REFERENCES billing.invoice (id),
    customer_id uuid NOT NULL REFERENCES billing.customer (id),
    state text NOT NULL DEFAULT 'open',  -- open -> past_due -> settled; open -> settled; settled -> open
    step smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT billing.now(),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT collection_state CHECK (state IN ('open', 'past_due', 'settled'))
);
CREATE INDEX collection_due ON billing.collection (due_at);
CREATE INDEX collection_of_customer ON billing.collection (customer_id);

-- Stripe's events, each stored before anything is done about it. They only say what to look at: the object is asked for again.
CREATE TABLE billing.stripe_event (
    id text PRIMARY KEY,
    type text NOT NULL,
    object_kind text NOT NULL,
    object_id text NOT NULL,
    body bytea NOT NULL,
    sent_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT billing.now(),
    due_at timestamptz NOT NULL DEFAULT billing.now(),
    tries smallint NOT NULL DEFAULT 0,
    failure text NOT NULL DEFAULT '',
    done_at timestamptz
);
CREATE INDEX stripe_event_due ON billing.stripe_event (due_at) WHERE done_at IS NULL;
CREATE INDEX stripe_event_of_object ON billing.stripe_event (object_id);

-- Stripe's own account, line by line: every movement of its balance. `transfer_id` is what booked it here; null until it is.
CREATE TABLE billing.stripe_transaction (
    id text PRIMARY KEY,
    type text NOT NULL,
    source_id text,
    currency text NOT NULL,
    amount_minor bigint NOT NULL,
    fee_minor bigint NOT NULL,
    exchange_rate text,
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    transfer_id uuid,
    booked_at timestamptz
);
CREATE INDEX stripe_transaction_created ON billing.stripe_transaction (created_at);
CREATE INDEX stripe_transaction_source ON billing.stripe_transaction (source_id);
CREATE INDEX stripe_transaction_transfer ON billing.stripe_transaction (transfer_id);
CREATE INDEX stripe_transaction_not_booked ON billing.stripe_transaction (created_at) WHERE booked_at IS NULL;

-- What each day's reconciliation has said; one that raised something is made again until nothing is left to do.
CREATE TABLE billing.reconciliation (
    day date PRIMARY KEY,
    raised integer NOT NULL CHECK (raised >= 0),
    report jsonb NOT NULL,
    made_at timestamptz NOT NULL DEFAULT billing.now()
);

REVOKE DELETE ON billing.payer, billing.payment, billing.payment_refund, billing.dispute, billing.collection,
    billing.reconciliation, billing.stripe_event, billing.stripe_transaction FROM tallylight_app;
