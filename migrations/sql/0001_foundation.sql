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

-- The first day of a moment's UTC month: what partitioned tables are cut by.
CREATE FUNCTION waypost_month(at timestamptz) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN date_trunc('month', at AT TIME ZONE 'UTC')::date;

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

-- By month, so that what is over is dropped and not deleted (docs/decisions/0007). `month` is that of the message's
-- created_at: all attempts of a message are in one partition, and what is unique there is unique. Whoever knows the
-- message or its month says so; who knows the id alone looks into each month. No foreign key to messages: a month
-- outlives the messages of it that went before the last. An attempt is made from its message's row, by the claim alone, and
-- its account is the message's, which refers to it: a second look at the same row for every recipient would only cost.
CREATE TABLE attempts (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    message_id uuid NOT NULL,
    number integer NOT NULL,
    account_id uuid NOT NULL,
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
    month date NOT NULL,
    PRIMARY KEY (tenant_id, id, month)
) PARTITION BY RANGE (month);
-- The heart of the matter: at most one attempt of a message may ever be out there or accepted.
CREATE UNIQUE INDEX attempts_one_open ON attempts (tenant_id, message_id, month)
    WHERE state IN ('in_flight', 'unknown', 'accepted', 'assumed_sent');
CREATE UNIQUE INDEX attempts_of_message ON attempts (tenant_id, message_id, number, month);
-- An event knows the attempt's id alone; whose it is comes from here.
CREATE UNIQUE INDEX attempts_by_id ON attempts (id, month);
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

-- Raw provider events, unique by the provider's own event id; applied set-wise after they are safe. By the month they
-- happened in, which a copy says again; one that only knows when it came is looked for in the month before too.
CREATE TABLE provider_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id uuid NOT NULL,
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
    month date NOT NULL,
    PRIMARY KEY (id, month),
    UNIQUE (account_id, event_id, month)
) PARTITION BY RANGE (month);
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

-- Partitions by month. A table's DEFAULT partition takes what no month was made for, so that a missing month fails
-- nothing. Roles have no grant on a partition: all access is through the table, with its row security.
CREATE FUNCTION waypost_add_partition(parent text, part text, bound text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i record;
BEGIN
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE '
                   'INCLUDING COMPRESSION) '
                   'WITH (fillfactor = %s)', part, parent, CASE parent WHEN 'contact_events' THEN 100 ELSE 80 END);
    -- Named as the table's own, so that a plan says which.
    FOR i IN SELECT format('%I', part || substr(c.relname, length(parent) + 1)) AS name, x.indisunique,
                    pg_get_indexdef(x.indexrelid) AS made, pg_get_constraintdef(k.oid) AS rule
             FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
             LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u')
             WHERE x.indrelid = format('public.%I', parent)::regclass ORDER BY c.oid LOOP
        IF i.rule IS NULL THEN
            EXECUTE format('CREATE %s INDEX %s ON public.%I %s', CASE WHEN i.indisunique THEN 'UNIQUE' ELSE '' END, i.name,
                           part, substr(i.made, position(' USING ' IN i.made)));
        ELSE
            EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT %s %s', part, i.name, i.rule);
        END IF;
    END LOOP;
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I %s', parent, part, bound);
    -- What the end of 0001 says of all tables, of this one too.
    IF current_setting('server_version_num')::integer >= 180000 THEN
        PERFORM pg_restore_attribute_stats('schemaname', 'public', 'relname', part, 'attname', 'tenant_id',
            'inherited', false, 'null_frac', 0::real, 'avg_width', 16, 'n_distinct', 1::real);
    END IF;
END $$;
REVOKE ALL ON FUNCTION waypost_add_partition FROM PUBLIC;

-- Makes one month that is missing, of this one and those `ahead`, and says which; NULL: none is missing, or none can be
-- made just now. One a transaction, for it holds up whoever uses the table: no lock is waited for long. A month of which
-- the DEFAULT partition has rows already stays there.
CREATE FUNCTION waypost_make_month(ahead integer) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    m record;
    taken boolean;
BEGIN
    FOR m IN SELECT c.relname AS parent, format('%s_%s', c.relname, to_char(d, 'YYYY_MM')) AS part, d::date AS first,
                    (d + interval '1 month')::date AS next
             FROM pg_class c CROSS JOIN generate_series(0, LEAST(ahead, 12)) AS n
             CROSS JOIN LATERAL (SELECT public.waypost_month(public.waypost_now()) + make_interval(months => n) AS d) at
             WHERE c.relkind = 'p' AND c.relnamespace = 'public'::regnamespace ORDER BY d, c.relname LOOP
        CONTINUE WHEN to_regclass(format('public.%I', m.part)) IS NOT NULL;
        IF NOT pg_try_advisory_xact_lock(hashtextextended('waypost/months', 0)) THEN
            RETURN NULL;
        END IF;
        CONTINUE WHEN to_regclass(format('public.%I', m.part)) IS NOT NULL;
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE month >= %L AND month < %L)', m.parent || '_default',
                       m.first, m.next) INTO taken;
        CONTINUE WHEN taken;
        BEGIN
            PERFORM public.waypost_add_partition(m.parent, m.part,
                format('FOR VALUES FROM (%L) TO (%L)', m.first, m.next));
            RETURN m.part;
        EXCEPTION WHEN lock_not_available OR check_violation THEN
            NULL;  -- at the next look
        END;
    END LOOP;
    RETURN NULL;
END $$;

-- Whether a month holds what must stay: attempts whose message is there, or of which nobody knows what became of them;
-- events that came after `cut`, or that an account with such an attempt may need. Ids of events follow their arrival.
CREATE FUNCTION waypost_month_needed(parent text, part text, first timestamptz, next timestamptz, cut timestamptz)
    RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    needed boolean;
BEGIN
    IF parent = 'attempts' AND EXISTS (
        SELECT FROM public.tenants t CROSS JOIN unnest(ARRAY['live', 'test']) AS o (mode) CROSS JOIN LATERAL (
            SELECT FROM public.messages x WHERE x.tenant_id = t.id AND x.mode = o.mode AND x.created_at >= first
            AND x.created_at < next LIMIT 1) y) THEN
        RETURN true;
    END IF;
    EXECUTE format(CASE parent
        WHEN 'attempts' THEN
            'SELECT EXISTS (SELECT FROM public.%1$I WHERE state IN (''in_flight'', ''unknown'', ''abandoned''))'
        WHEN 'provider_events' THEN
            'SELECT COALESCE((SELECT received_at >= $1 FROM public.%1$I ORDER BY id DESC LIMIT 1), false) OR EXISTS ('
            'SELECT FROM public.attempts a WHERE a.state IN (''in_flight'', ''unknown'', ''abandoned'') '
            'AND a.state <> ''abandoned'' AND a.claimed_at < $1 '
            'AND EXISTS (SELECT FROM public.%1$I e WHERE e.account_id = a.account_id))'
        ELSE 'SELECT EXISTS (SELECT FROM public.%1$I WHERE received_at >= $1)' END, part) INTO needed USING cut;
    RETURN needed;
END $$;
REVOKE ALL ON FUNCTION waypost_month_needed FROM PUBLIC;

-- Drops one month that is past everybody's retention (these, in days, and each tenant's own; less than 15: for ever),
-- and says which; NULL: there is none, or not just now.
CREATE FUNCTION waypost_drop_month(message_days integer, event_days integer) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    of_messages timestamptz;
    of_events timestamptz;
    m record;
BEGIN
    SELECT CASE WHEN message_days >= 15 THEN public.waypost_now()
               - make_interval(days => GREATEST(max(message_retention_days), message_days)) END,
           CASE WHEN event_days >= 15 THEN public.waypost_now()
               - make_interval(days => GREATEST(max(event_retention_days), event_days)) END
    INTO of_messages, of_events FROM public.tenants;
    FOR m IN SELECT p.relname AS parent, c.relname AS part, d AT TIME ZONE 'UTC' AS first,
                    (d + interval '1 month') AT TIME ZONE 'UTC' AS next,
                    CASE p.relname WHEN 'attempts' THEN of_messages ELSE of_events END AS cut
             FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
             CROSS JOIN LATERAL (SELECT to_date(right(c.relname, 7), 'YYYY_MM')::timestamp AS d) at
             WHERE p.relname IN ('attempts', 'provider_events', 'contact_events') AND p.relkind = 'p'
               AND p.relnamespace = 'public'::regnamespace AND c.relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY d, p.relname LOOP
        CONTINUE WHEN m.cut IS NULL OR m.next > m.cut
            OR public.waypost_month_needed(m.parent, m.part, m.first, m.next, m.cut);
        BEGIN
            EXECUTE format('LOCK TABLE ONLY public.%I IN ACCESS EXCLUSIVE MODE', m.parent);
            CONTINUE WHEN public.waypost_month_needed(m.parent, m.part, m.first, m.next, m.cut);
            EXECUTE format('DROP TABLE public.%I', m.part);
            RETURN m.part;
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            NULL;
        END;
    END LOOP;
    RETURN NULL;
END $$;

-- How many rows each DEFAULT partition has, 10,000 at most.
CREATE FUNCTION waypost_default_rows() RETURNS TABLE (parent text, rows bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    FOR parent IN SELECT relname FROM pg_class WHERE relkind = 'p' AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT FROM public.%I LIMIT 10000) r', parent || '_default') INTO rows;
        RETURN NEXT;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION waypost_make_month, waypost_drop_month, waypost_default_rows FROM PUBLIC;
GRANT EXECUTE ON FUNCTION waypost_make_month, waypost_drop_month, waypost_default_rows TO waypost_relay;

SELECT waypost_add_partition(name, name || '_default', 'DEFAULT') FROM unnest(ARRAY['attempts', 'provider_events']) AS name;

-- The owner may be no superuser: forced row security would show its functions nothing, and nothing is no proof.
CREATE POLICY owner_reads ON tenants FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY owner_reads ON messages FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY owner_reads ON attempts FOR SELECT TO CURRENT_USER USING (true);

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
