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
