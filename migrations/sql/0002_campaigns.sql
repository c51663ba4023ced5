-- Audiences, topics, campaigns. A campaign's recipients are rows of the ledger: messages with source 'campaign', whose
-- source_id is the run and whose part is the contact, so that the ledger's own constraint keeps each recipient once.

-- Who may be written to when: the tenant's rules for campaigns and journeys.
ALTER TABLE tenants
    ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC',
    ADD COLUMN quiet_hours jsonb,       -- {"start": "21:00", "end": "08:00"} in the contact's zone
    ADD COLUMN frequency_caps jsonb NOT NULL DEFAULT '[]',  -- [{"channel": "email" | null, "limit": 3, "period": "P7D"}]
    ADD COLUMN approval_over integer CHECK (approval_over >= 0),
    ADD COLUMN message_retention_days integer CHECK (message_retention_days BETWEEN 1 AND 3650),
    ADD COLUMN event_retention_days integer CHECK (event_retention_days BETWEEN 1 AND 3650),
    ADD COLUMN double_opt_in_template uuid;

CREATE TABLE topics (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    opt_in boolean NOT NULL DEFAULT false,      -- true: only who subscribed; false: all who did not leave
    double_opt_in boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);

-- A contact's word on a topic; no row: never asked.
CREATE TABLE topic_subscriptions (
    tenant_id uuid NOT NULL,
    topic_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('subscribed', 'pending', 'unsubscribed')),
    source text NOT NULL DEFAULT 'api',
    confirm_sent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, topic_id, contact_id),
    FOREIGN KEY (tenant_id, topic_id) REFERENCES topics (tenant_id, id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX topic_subscriptions_of_contact ON topic_subscriptions (tenant_id, contact_id);

CREATE TABLE lists (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);

CREATE TABLE list_members (
    tenant_id uuid NOT NULL,
    list_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    added_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, list_id, contact_id),
    FOREIGN KEY (tenant_id, list_id) REFERENCES lists (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX list_members_of_contact ON list_members (tenant_id, contact_id);

CREATE TABLE segments (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    rule jsonb NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);

-- What contacts did in the tenant's product, by the month it happened in.
CREATE TABLE contact_events (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    contact_id uuid NOT NULL,
    name text NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT waypost_now(),
    month date NOT NULL,
    PRIMARY KEY (tenant_id, id, month),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id) ON DELETE CASCADE
) PARTITION BY RANGE (month);
CREATE INDEX contact_events_of_contact ON contact_events (tenant_id, contact_id, name, occurred_at);
CREATE INDEX contact_events_by_arrival ON contact_events (received_at);
SELECT waypost_add_partition('contact_events', 'contact_events_default', 'DEFAULT');

CREATE INDEX contacts_by_attributes ON contacts USING gin (attributes jsonb_path_ops);

-- Uploads of contacts, resumable: the rows before `byte_offset` are safely in. `layout` is what the header said,
-- `problem` why the file as a whole cannot be taken. rows_read = created + updated + repeated + refused + blank.
CREATE TABLE imports (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    file_hash bytea NOT NULL,
    file_name text NOT NULL,
    options jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'completed', 'failed')),
    dry_run boolean NOT NULL DEFAULT false,
    byte_offset bigint NOT NULL DEFAULT 0,
    total_bytes bigint,
    rows_read bigint NOT NULL DEFAULT 0,
    rows_created bigint NOT NULL DEFAULT 0,
    rows_updated bigint NOT NULL DEFAULT 0,
    rows_repeated bigint NOT NULL DEFAULT 0,
    rows_refused bigint NOT NULL DEFAULT 0,
    rows_blank bigint NOT NULL DEFAULT 0,
    layout jsonb,
    problem text,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    completed_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX imports_by_creation ON imports (tenant_id, created_at, id);
-- Whom an import has named: what is named again is counted as a repetition. Kept until the import is over; it is for
-- counting alone, so that a crash may empty it.
CREATE UNLOGGED TABLE import_keys (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, import_id, contact_id)
);
CREATE TABLE import_errors (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    row_number bigint NOT NULL,
    field text,
    message text NOT NULL,
    PRIMARY KEY (tenant_id, import_id, row_number),
    FOREIGN KEY (tenant_id, import_id) REFERENCES imports (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE campaigns (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    definition jsonb NOT NULL,
    state text NOT NULL DEFAULT 'draft' CHECK (state IN
        ('draft', 'scheduled', 'preparing', 'sending', 'paused', 'completed', 'cancelled', 'halted')),
    last_run integer NOT NULL DEFAULT 0,
    next_at timestamptz,                       -- a recurring campaign's next time
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);
CREATE INDEX campaigns_by_creation ON campaigns (tenant_id, created_at, id);
CREATE INDEX campaigns_recurring ON campaigns (next_at) WHERE next_at IS NOT NULL;

-- One sending of a campaign. What it sends, to whom and when is frozen here; its id is UUIDv5 of (campaign, number).
CREATE TABLE campaign_runs (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    campaign_id uuid NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('first', 'resend', 'recurrence')),
    based_on uuid,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    definition jsonb NOT NULL,
    state text NOT NULL DEFAULT 'scheduled' CHECK (state IN
        ('scheduled', 'preparing', 'sending', 'paused', 'completed', 'cancelled', 'halted')),
    state_reason text,
    channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
    sender_id uuid NOT NULL,
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    topic_id uuid,
    scheduled_at timestamptz NOT NULL,
    prepared_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    approved_at timestamptz,
    approved_by text,                          -- the id of the key that did
    audience bigint,
    shards integer,
    open_cohort smallint NOT NULL DEFAULT 0,   -- rows of a later cohort wait: for the canary's verdict, or the winner
    winner smallint,                           -- the variant of who waited for it
    decide_at timestamptz,
    released_at timestamptz,                   -- when they were let go
    throttle_per_minute integer CHECK (throttle_per_minute > 0),
    throttle_tokens double precision NOT NULL DEFAULT 0,
    throttle_filled_at timestamptz,
    driven_at timestamptz,                     -- when its execution was last asked for; a hint, never a proof
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, campaign_id, number),
    FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    FOREIGN KEY (tenant_id, sender_id) REFERENCES senders (tenant_id, id)
) WITH (fillfactor = 50);
CREATE INDEX campaign_runs_open ON campaign_runs (scheduled_at) WHERE state IN ('scheduled', 'preparing', 'sending', 'paused');

-- A recipient of a run. `variant` is -1 while it waits for the winner.
ALTER TABLE messages
    ADD COLUMN run_id uuid,
    ADD COLUMN shard smallint,
    ADD COLUMN cohort smallint,
    ADD COLUMN variant smallint,
    ADD COLUMN machine_opened boolean NOT NULL DEFAULT false,
    ADD COLUMN unsubscribed boolean NOT NULL DEFAULT false,
    ADD COLUMN converted boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT messages_class_check,
    ADD CONSTRAINT messages_class_check CHECK (class IN ('login_code', 'transactional', 'marketing')),
    ADD CONSTRAINT messages_of_runs CHECK ((run_id IS NULL) = (source <> 'campaign')),
    ADD CONSTRAINT messages_run FOREIGN KEY (tenant_id, run_id) REFERENCES campaign_runs (tenant_id, id);
-- The dispatcher never sees a campaign's rows, nor a shard anything else; only open rows are in either.
DROP INDEX messages_ready;
CREATE INDEX messages_ready ON messages (lane, tenant_id, account_id, due_at) WHERE phase = 'ready' AND run_id IS NULL;
CREATE INDEX messages_of_run_open ON messages (run_id, shard, cohort, due_at, id) WHERE run_id IS NOT NULL AND phase <> 'closed';
DROP INDEX messages_dispatched;
CREATE INDEX messages_dispatched ON messages (lane, tenant_id, dispatched_at) WHERE phase = 'dispatched' AND run_id IS NULL;
-- Of open rows too, but only who says so in these words gets it: to statistics an index of open rows is all but empty, so
-- that whoever asks for a phase would get this one, and read through all that was closed since vacuum last could.
DROP INDEX messages_expiring;
CREATE INDEX messages_expiring ON messages (expires_at) WHERE outcome_reason IS NULL;
CREATE INDEX messages_not_sent_of_run ON messages (run_id, outcome, id) WHERE outcome <> 'sent' AND run_id IS NOT NULL;

-- Exact progress that is read in one look: what changed is added to, never updated, so that no two transactions wait for
-- each other; a loop folds the additions into totals. The truth at any moment is totals plus additions.
CREATE TABLE run_tally_additions (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    variant smallint NOT NULL,
    at timestamptz NOT NULL DEFAULT waypost_now(),
    sent integer NOT NULL DEFAULT 0,
    maybe_sent integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    suppressed integer NOT NULL DEFAULT 0,
    skipped integer NOT NULL DEFAULT 0,
    expired integer NOT NULL DEFAULT 0,
    cancelled integer NOT NULL DEFAULT 0,
    delivered integer NOT NULL DEFAULT 0,
    opened integer NOT NULL DEFAULT 0,
    machine_opened integer NOT NULL DEFAULT 0,
    clicked integer NOT NULL DEFAULT 0,
    bounced integer NOT NULL DEFAULT 0,
    complained integer NOT NULL DEFAULT 0,
    undeliverable integer NOT NULL DEFAULT 0,
    unsubscribed integer NOT NULL DEFAULT 0,
    converted integer NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, id)
);

-- The folded additions: by variant over all time (bucket 'epoch'), and by variant and five minutes.
CREATE TABLE run_tallies (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    variant smallint NOT NULL,
    bucket timestamptz NOT NULL,
    sent bigint NOT NULL DEFAULT 0,
    maybe_sent bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    suppressed bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    opened bigint NOT NULL DEFAULT 0,
    machine_opened bigint NOT NULL DEFAULT 0,
    clicked bigint NOT NULL DEFAULT 0,
    bounced bigint NOT NULL DEFAULT 0,
    complained bigint NOT NULL DEFAULT 0,
    undeliverable bigint NOT NULL DEFAULT 0,
    unsubscribed bigint NOT NULL DEFAULT 0,
    converted bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, bucket, variant)
) WITH (fillfactor = 50);

-- Whoever changes a recipient's row, in whatever way: its run's tally follows in the same transaction.
CREATE FUNCTION tally_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_tally_additions (tenant_id, run_id, variant, sent, maybe_sent, failed, suppressed, skipped, expired,
        cancelled, delivered, opened, machine_opened, clicked, bounced, complained, undeliverable, unsubscribed, converted)
    SELECT * FROM (
        SELECT n.tenant_id, n.run_id, COALESCE(n.variant, 0) AS variant,
            sum((n.outcome IS NOT DISTINCT FROM 'sent')::int - (o.outcome IS NOT DISTINCT FROM 'sent')::int) AS sent,
            sum((n.outcome IS NOT DISTINCT FROM 'maybe_sent')::int - (o.outcome IS NOT DISTINCT FROM 'maybe_sent')::int) AS maybe_sent,
            sum((n.outcome IS NOT DISTINCT FROM 'failed')::int - (o.outcome IS NOT DISTINCT FROM 'failed')::int) AS failed,
            sum((n.outcome IS NOT DISTINCT FROM 'suppressed')::int - (o.outcome IS NOT DISTINCT FROM 'suppressed')::int) AS suppressed,
            sum((n.outcome IS NOT DISTINCT FROM 'skipped')::int - (o.outcome IS NOT DISTINCT FROM 'skipped')::int) AS skipped,
            sum((n.outcome IS NOT DISTINCT FROM 'expired')::int - (o.outcome IS NOT DISTINCT FROM 'expired')::int) AS expired,
            sum((n.outcome IS NOT DISTINCT FROM 'cancelled')::int - (o.outcome IS NOT DISTINCT FROM 'cancelled')::int) AS cancelled,
            sum((n.delivery IN ('delivered', 'opened', 'clicked'))::int - (o.delivery IN ('delivered', 'opened', 'clicked'))::int) AS delivered,
            sum((n.delivery IN ('opened', 'clicked'))::int - (o.delivery IN ('opened', 'clicked'))::int) AS opened,
            sum(n.machine_opened::int - o.machine_opened::int) AS machine_opened,
            sum((n.delivery = 'clicked')::int - (o.delivery = 'clicked')::int) AS clicked,
            sum(n.bounced::int - o.bounced::int) AS bounced,
            sum(n.complained::int - o.complained::int) AS complained,
            sum(n.undeliverable::int - o.undeliverable::int) AS undeliverable,
            sum(n.unsubscribed::int - o.unsubscribed::int) AS unsubscribed,
            sum(n.converted::int - o.converted::int) AS converted
        FROM new_rows n JOIN old_rows o ON o.id = n.id AND o.tenant_id = n.tenant_id
        WHERE n.run_id IS NOT NULL AND (n.outcome, n.delivery, n.machine_opened, n.bounced, n.complained, n.undeliverable,
              n.unsubscribed, n.converted) IS DISTINCT FROM (o.outcome, o.delivery, o.machine_opened, o.bounced, o.complained,
              o.undeliverable, o.unsubscribed, o.converted)
        GROUP BY n.tenant_id, n.run_id, COALESCE(n.variant, 0)) changed;
    RETURN NULL;
END $$;
CREATE TRIGGER tally_runs AFTER UPDATE ON messages
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION tally_runs();

-- When a contact was last written to by campaigns and journeys, in the order of the claims, and on which channel: what
-- frequency caps count. One row a contact, so that one lock decides about caps of a channel and of all together.
CREATE TABLE cap_usage (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    sent_at timestamptz[] NOT NULL DEFAULT '{}',
    channels text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, contact_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id) ON DELETE CASCADE,
    CHECK (cardinality(sent_at) = cardinality(channels))
) WITH (fillfactor = 70);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['topics', 'topic_subscriptions', 'lists', 'list_members', 'segments', 'contact_events', 'imports',
                             'import_errors', 'import_keys', 'campaigns', 'campaign_runs', 'run_tally_additions', 'run_tallies', 'cap_usage'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_rows ON %I TO waypost_app USING (tenant_id = waypost_tenant()) '
                       'WITH CHECK (tenant_id = waypost_tenant())', t);
        EXECUTE format('CREATE POLICY all_rows ON %I TO waypost_relay USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO waypost_app', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO waypost_relay', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['topics', 'topic_subscriptions', 'lists', 'list_members', 'segments', 'contact_events'] LOOP
        EXECUTE format('CREATE POLICY read_rows ON %I FOR SELECT TO waypost_segments USING (true)', t);
        EXECUTE format('GRANT SELECT ON %I TO waypost_segments', t);
    END LOOP;
END $$;
REVOKE DELETE ON campaigns, campaign_runs, run_tallies, run_tally_additions FROM waypost_app;
GRANT DELETE ON run_tally_additions, run_tallies, imports, import_errors, import_keys, contact_events, cap_usage TO waypost_relay;

-- Segments: the moment that an attribute's text writes, and a text without its case. waypost/segments has the same two in
-- Python (moments.read_moment, comparing.fold), and a test holds the one against the other.
CREATE FUNCTION waypost_moment(said text) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE
        WHEN said ~ '^[12][0-9]{3}-[0-9]{2}-[0-9]{2}$'
            THEN CASE WHEN pg_input_is_valid(said || 'T00:00:00Z', 'timestamptz') THEN (said || 'T00:00:00Z')::timestamptz END
        WHEN said ~ '^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$'
            THEN CASE WHEN pg_input_is_valid(said || 'Z', 'timestamptz') THEN (said || 'Z')::timestamptz END
        WHEN said ~ '^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-5]):[0-5][0-9])$'
            THEN CASE WHEN pg_input_is_valid(said, 'timestamptz') THEN said::timestamptz END
    END;
DO $$
BEGIN
    -- Each letter by itself, the same on every machine; older servers know no such collation.
    EXECUTE format('CREATE FUNCTION waypost_fold(said text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN '
                   'lower(said %s)', CASE WHEN current_setting('server_version_num')::integer >= 170000
                                          THEN 'COLLATE pg_c_utf8' ELSE '' END);
END $$;

-- The segments' role finds a campaign's messages by the campaign's key.
CREATE POLICY read_rows ON campaigns FOR SELECT TO waypost_segments USING (true);
CREATE POLICY read_rows ON campaign_runs FOR SELECT TO waypost_segments USING (true);
GRANT SELECT (tenant_id, id, key) ON campaigns TO waypost_segments;
GRANT SELECT (tenant_id, id, campaign_id) ON campaign_runs TO waypost_segments;
