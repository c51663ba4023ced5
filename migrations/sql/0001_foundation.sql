-- The ledger and what surrounds it. Every tenant's table has the key (tenant_id, id) and forced row security.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['waypost_app', 'waypost_relay', 'waypost_segments'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles belong to the cluster, not to this database
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role);
    END LOOP;
END $$;

-- The one clock. A simulation sets app.now for its transaction; production reads the statement's time.
CREATE FUNCTION waypost_now() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN COALESCE(NULLIF(current_setting('app.now', true), '')::timestamptz, statement_timestamp());

CREATE FUNCTION waypost_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('app.tenant', true), '')::uuid;

CREATE TABLE tenants (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'closing', 'closed')),
    placement text NOT NULL DEFAULT 'own' CHECK (placement = 'own' OR placement ~ '^pool-[0-9]{2}$'),
    weight real NOT NULL DEFAULT 1 CHECK (weight > 0 AND weight <= 100),
    window_fast integer NOT NULL DEFAULT 200 CHECK (window_fast BETWEEN 1 AND 2000),
    window_bulk integer NOT NULL DEFAULT 50 CHECK (window_bulk BETWEEN 1 AND 2000),
    requests_per_second integer NOT NULL DEFAULT 500 CHECK (requests_per_second BETWEEN 1 AND 100000),
    backlog_bound integer NOT NULL DEFAULT 1000000 CHECK (backlog_bound BETWEEN 1 AND 100000000),
    unknown_policy text NOT NULL DEFAULT 'wait' CHECK (unknown_policy IN ('wait', 'at_most_once')),
    late_policy text NOT NULL DEFAULT 'send' CHECK (late_policy IN ('send', 'skip', 'ask')),
    late_after interval NOT NULL DEFAULT '1 day',
    soft_bounce_limit integer NOT NULL DEFAULT 5 CHECK (soft_bounce_limit BETWEEN 1 AND 100),
    idempotency_retention interval NOT NULL DEFAULT '30 days',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    state_changed_at timestamptz NOT NULL DEFAULT waypost_now()
);

CREATE TABLE api_keys (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key_id text NOT NULL UNIQUE,
    name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    secret_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    rotated_from uuid,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE provider_accounts (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('ses', 'twilio')),
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    region text NOT NULL DEFAULT 'us-east-1',
    endpoint text,
    credentials jsonb NOT NULL,
    feed text NOT NULL CHECK (feed IN ('durable', 'lossy')),
    topic_arn text,
    certificate_origin text,
    queue_url text,
    callback_base text,
    rate_per_second real NOT NULL DEFAULT 14 CHECK (rate_per_second > 0),
    daily_quota bigint CHECK (daily_quota > 0),
    fast_share real NOT NULL DEFAULT 0.2 CHECK (fast_share >= 0 AND fast_share < 1),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paused')),
    pause_reason text,
    paused_at timestamptz,
    resume_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now()
);

-- One send budget an account over all processes: a token bucket, a day's count, and the back-off after a throttle.
CREATE TABLE account_budgets (
    account_id uuid PRIMARY KEY REFERENCES provider_accounts (id),
    tokens double precision NOT NULL DEFAULT 0,
    filled_at timestamptz NOT NULL DEFAULT waypost_now(),
    day date NOT NULL DEFAULT (waypost_now() AT TIME ZONE 'UTC')::date,
    used_today bigint NOT NULL DEFAULT 0,
    slow_until timestamptz,
    slow_factor real NOT NULL DEFAULT 1
) WITH (fillfactor = 50);

-- What is known of an account's feed; the reconcile loop's proof of absence rests on it.
CREATE TABLE feeds (
    account_id uuid PRIMARY KEY REFERENCES provider_accounts (id),
    last_event_at timestamptz,
    last_polled_at timestamptz,
    last_empty_at timestamptz,
    last_error text,
    silent_since timestamptz,
    last_probe_at timestamptz
) WITH (fillfactor = 50);

CREATE TABLE senders (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
    address text NOT NULL,
    name text,
    reply_to text,
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    configuration_set text,
    messaging_service text,
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);
CREATE INDEX senders_by_address ON senders (account_id, address);
CREATE UNIQUE INDEX senders_one_default ON senders (tenant_id, channel, mode) WHERE is_default;

CREATE TABLE contacts (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    external_id text NOT NULL,
    email text,
    phone text,
    time_zone text,
    locale text,
    attributes jsonb NOT NULL DEFAULT '{}',
    consent jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, external_id)
);
CREATE INDEX contacts_by_creation ON contacts (tenant_id, created_at, id);

CREATE TABLE suppressions (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
    address text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('bounce', 'complaint', 'stop', 'unsubscribed', 'manual')),
    note text,
    message_id uuid,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, channel, address)
);
CREATE INDEX suppressions_by_creation ON suppressions (tenant_id, created_at, id);

-- Soft bounces in a row; a delivery clears them, the tenant's limit turns them into a suppression.
CREATE TABLE soft_bounces (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    channel text NOT NULL,
    address text NOT NULL,
    count integer NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, channel, address)
);

CREATE TABLE templates (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
    current_version integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);

CREATE TABLE template_versions (
    tenant_id uuid NOT NULL,
    template_id uuid NOT NULL,
    version integer NOT NULL,
    content jsonb NOT NULL,
    content_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, template_id, version),
    FOREIGN KEY (tenant_id, template_id) REFERENCES templates (tenant_id, id)
);

-- Who asked for what: the same key and body get the same answer until expires_at.
CREATE TABLE requests (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    idempotency_key text NOT NULL,
    generation integer NOT NULL DEFAULT 0,
    body_hash bytea NOT NULL,
    message_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, idempotency_key)
);
CREATE INDEX requests_by_expiry ON requests (expires_at);

CREATE TABLE messages (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    source text NOT NULL CHECK (source IN ('transactional', 'campaign', 'journey', 'probe')),
    source_id uuid NOT NULL,
    part text NOT NULL DEFAULT 'primary',
    primary_id uuid,
    lane text NOT NULL CHECK (lane IN ('fast', 'bulk')),
    class text NOT NULL CHECK (class IN ('login_code', 'transactional')),
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    channel text NOT NULL CHECK (channel IN ('email', 'sms', 'whatsapp')),
    contact_id uuid,
    address text NOT NULL,
    sender_id uuid NOT NULL,
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    template_id uuid,
    template_version integer,
    payload jsonb,
    tags text[],
    metadata jsonb,
    fallback_after interval,
    unknown_policy text CHECK (unknown_policy IN ('wait', 'at_most_once')),
    phase text NOT NULL DEFAULT 'ready' CHECK (phase IN ('waiting', 'ready', 'dispatched', 'held', 'closed')),
    hold_reason text,
    due_at timestamptz,
    send_at timestamptz,
    late_approved_at timestamptz,
    expires_at timestamptz NOT NULL,
    dispatched_at timestamptz,
    dispatches integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    cancel_requested_at timestamptz,
    outcome text CHECK (outcome IN ('sent', 'maybe_sent', 'failed', 'suppressed', 'skipped', 'expired', 'cancelled')),
    outcome_reason text,
    outcome_at timestamptz,
    delivery text NOT NULL DEFAULT 'none' CHECK (delivery IN ('none', 'delayed', 'delivered', 'opened', 'clicked')),
    bounced boolean NOT NULL DEFAULT false,
    complained boolean NOT NULL DEFAULT false,
    undeliverable boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, source, source_id, part),
    FOREIGN KEY (tenant_id, sender_id) REFERENCES senders (tenant_id, id),
    CHECK ((outcome IS NULL) = (phase <> 'closed')),
    CHECK ((outcome IS NULL) = (outcome_reason IS NULL)),
    CHECK (phase = 'waiting' OR due_at IS NOT NULL)
) WITH (fillfactor = 80);
CREATE INDEX messages_ready ON messages (lane, tenant_id, account_id, due_at) WHERE phase = 'ready';
CREATE INDEX messages_waiting ON messages (tenant_id, due_at) WHERE phase = 'waiting';
CREATE UNIQUE INDEX messages_fallback ON messages (tenant_id, primary_id) WHERE primary_id IS NOT NULL;
CREATE INDEX messages_dispatched ON messages (lane, tenant_id, dispatched_at) WHERE phase = 'dispatched';
CREATE INDEX messages_held ON messages (tenant_id, id) WHERE phase = 'held';
CREATE INDEX messages_expiring ON messages (expires_at) WHERE phase <> 'closed';
CREATE INDEX messages_by_creation ON messages (tenant_id, mode, created_at, id);
CREATE INDEX messages_by_hold ON messages (tenant_id, hold_reason, created_at, id) WHERE hold_reason IS NOT NULL;
CREATE INDEX messages_by_contact ON messages (tenant_id, contact_id, created_at, id) WHERE contact_id IS NOT NULL;
CREATE INDEX messages_not_sent ON messages (tenant_id, outcome, created_at, id) WHERE outcome <> 'sent';
CREATE INDEX messages_by_tag ON messages USING gin (tags) WHERE tags IS NOT NULL;

CREATE TABLE attempts (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    message_id uuid NOT NULL,
    number integer NOT NULL,
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    state text NOT NULL DEFAULT 'in_flight' CHECK (state IN
        ('in_flight', 'accepted', 'void', 'rejected', 'unknown', 'abandoned', 'assumed_sent')),
    claimed_at timestamptz NOT NULL,
    recorded_at timestamptz,
    provider_message_id text,
    code text,
    content_hash bytea,
    process text NOT NULL,
    resolution text,
    resolved_at timestamptz,
    send_event_at timestamptz,
    looked_up_at timestamptz,
    dup_accept boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
) WITH (fillfactor = 80);
-- The heart of the matter: at most one attempt of a message may ever be out there or accepted.
CREATE UNIQUE INDEX attempts_one_open ON attempts (tenant_id, message_id)
    WHERE state IN ('in_flight', 'unknown', 'accepted', 'assumed_sent');
CREATE UNIQUE INDEX attempts_of_message ON attempts (tenant_id, message_id, number);
-- An event knows the attempt's id alone; whose it is comes from here.
CREATE UNIQUE INDEX attempts_by_id ON attempts (id);
CREATE INDEX attempts_by_claim ON attempts (account_id, claimed_at);
CREATE INDEX attempts_unresolved ON attempts (account_id, claimed_at) WHERE state IN ('in_flight', 'unknown', 'abandoned');
CREATE INDEX attempts_without_event ON attempts (account_id, claimed_at) WHERE state = 'accepted' AND send_event_at IS NULL;
CREATE INDEX attempts_late ON attempts (claimed_at) WHERE dup_accept OR resolution = 'late_acceptance';

-- Traffic that a quiet account makes itself, to the mailbox simulator: no tenant's, no message's. A probe is claimed like
-- an attempt and its Send event counts like one in the proof of absence.
CREATE TABLE probes (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    state text NOT NULL DEFAULT 'in_flight' CHECK (state IN ('in_flight', 'accepted', 'unknown', 'failed')),
    claimed_at timestamptz NOT NULL DEFAULT waypost_now(),
    send_event_at timestamptz,
    code text
);
CREATE INDEX probes_by_claim ON probes (account_id, claimed_at);

-- Every verdict of the gate that was not a plain "send" (which the attempt itself records).
CREATE TABLE verdicts (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT waypost_now(),
    verdict text NOT NULL CHECK (verdict IN ('defer', 'refuse')),
    reason text NOT NULL,
    outcome text,
    until timestamptz,
    PRIMARY KEY (tenant_id, message_id, id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE INDEX verdicts_by_time ON verdicts (at);

-- Raw provider events, unique by the provider's own event id; applied set-wise after they are safe.
CREATE TABLE provider_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    event_id text NOT NULL,
    kind text NOT NULL,
    tenant_id uuid,
    message_id uuid,
    attempt_id uuid,
    provider_message_id text,
    recipient text,
    permanent boolean NOT NULL DEFAULT false,
    machine boolean NOT NULL DEFAULT false,
    code text,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT waypost_now(),
    applied_at timestamptz,
    apply_error text,
    raw text NOT NULL,
    UNIQUE (account_id, event_id)
) WITH (fillfactor = 80);
CREATE INDEX provider_events_unapplied ON provider_events (id) WHERE applied_at IS NULL AND apply_error IS NULL;
-- What could not be read or applied: kept for a person to look at, and never tried in a circle.
CREATE INDEX provider_events_unusable ON provider_events (received_at) WHERE kind = 'unparsable' OR apply_error IS NOT NULL;
CREATE INDEX provider_events_of_attempt ON provider_events (attempt_id) WHERE attempt_id IS NOT NULL;

-- Inbound texts (replies, STOP), unique by the provider's id.
CREATE TABLE inbound_messages (
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    provider_message_id text NOT NULL,
    tenant_id uuid REFERENCES tenants (id),
    channel text NOT NULL,
    from_address text NOT NULL,
    to_address text NOT NULL,
    keyword text,
    body text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (account_id, provider_message_id)
);
CREATE INDEX inbound_messages_by_arrival ON inbound_messages (received_at);

-- Hints for waiting executions, written with what they hint at. Losing one only delays: waiters re-read at their deadline.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workflow_id text NOT NULL,
    signal text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT waypost_now()
);

CREATE TABLE alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule text NOT NULL,
    subject text NOT NULL,
    since timestamptz NOT NULL DEFAULT waypost_now(),
    seen_at timestamptz NOT NULL DEFAULT waypost_now(),
    ended_at timestamptz,
    evidence jsonb NOT NULL DEFAULT '{}',
    advice text NOT NULL
);
CREATE UNIQUE INDEX alerts_firing ON alerts (rule, subject) WHERE ended_at IS NULL;

-- Worker processes that beat; rendezvous hashing shares the tenants of a lane out among them.
CREATE TABLE worker_processes (
    id uuid PRIMARY KEY,
    lane text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT waypost_now(),
    beat_at timestamptz NOT NULL DEFAULT waypost_now()
);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['api_keys', 'senders', 'contacts', 'suppressions', 'soft_bounces', 'templates', 'template_versions',
                             'requests', 'messages', 'attempts', 'verdicts', 'provider_events', 'inbound_messages'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_rows ON %I TO waypost_app USING (tenant_id = waypost_tenant()) '
                       'WITH CHECK (tenant_id = waypost_tenant())', t);
        EXECUTE format('CREATE POLICY all_rows ON %I TO waypost_relay USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY own_row ON tenants TO waypost_app USING (id = waypost_tenant());
CREATE POLICY all_rows ON tenants TO waypost_relay USING (true) WITH CHECK (true);

-- waypost_app: one tenant's own data, and what of an account a tenant may know.
GRANT SELECT ON tenants TO waypost_app;
GRANT UPDATE (version) ON tenants TO waypost_app;  -- row locks need a column to update; FOR KEY SHARE only
GRANT SELECT (id, name, kind, mode, region, feed, state, pause_reason, resume_at) ON provider_accounts TO waypost_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON senders, contacts, suppressions, soft_bounces, templates TO waypost_app;
GRANT SELECT, INSERT, UPDATE ON requests, messages, attempts TO waypost_app;
GRANT SELECT, INSERT ON template_versions, verdicts TO waypost_app;
GRANT SELECT ON provider_events, api_keys TO waypost_app;
GRANT INSERT ON outbox TO waypost_app;

-- waypost_relay: the loops, ingestion and administration.
GRANT SELECT, INSERT, UPDATE ON tenants, api_keys, provider_accounts, account_budgets, feeds, messages, attempts,
    probes, provider_events, inbound_messages, suppressions, soft_bounces, alerts, worker_processes, verdicts, senders, contacts
    TO waypost_relay;
GRANT SELECT ON templates, template_versions, requests TO waypost_relay;
GRANT SELECT, INSERT, DELETE ON outbox TO waypost_relay;
GRANT UPDATE (created_at) ON outbox TO waypost_relay;  -- row locks need a column to update
GRANT UPDATE (expires_at) ON requests TO waypost_relay;  -- the same
GRANT DELETE ON worker_processes, alerts, probes, soft_bounces, suppressions, requests, provider_accounts, account_budgets, feeds
    TO waypost_relay;
GRANT DELETE ON provider_events, inbound_messages, verdicts, messages, attempts TO waypost_relay;  -- retention

-- waypost_segments: read only, whole tables; the segment compiler names the tenant in every scan.
CREATE POLICY read_rows ON contacts FOR SELECT TO waypost_segments USING (true);
CREATE POLICY read_rows ON messages FOR SELECT TO waypost_segments USING (true);
GRANT SELECT ON contacts, messages TO waypost_segments;

-- Until the first ANALYZE the planner guesses that a tenant_id finds two rows, as good as a whole key, and takes any index
-- that begins with it: hot statements prepared in a new database would read all of a tenant's messages each time. Told that
-- all rows are one tenant's, it takes the key. ANALYZE replaces these numbers; older servers wait for it.
DO $$
DECLARE
    c record;
BEGIN
    IF current_setting('server_version_num')::integer < 180000 THEN
        RETURN;
    END IF;
    FOR c IN SELECT table_name, column_name, CASE column_name WHEN 'tenant_id' THEN 1 ELSE -1 END AS n
             FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name IN ('tenant_id', 'created_at') LOOP
        PERFORM pg_restore_attribute_stats('schemaname', 'public', 'relname', c.table_name::text, 'attname',
            c.column_name::text, 'inherited', false, 'null_frac', 0::real, 'avg_width', 16, 'n_distinct', c.n::real);
    END LOOP;
END $$;
