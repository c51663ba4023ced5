-- Journeys: documents, their published versions, and the people who walk them. What an enrollment waits for is a row
-- here; its execution (journey/<enrollment id>) asks for decisions that read these rows, and holds references alone.

CREATE TABLE journeys (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    draft text NOT NULL,                       -- the document as it was written, YAML or JSON
    draft_revision integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'active', 'paused', 'archived')),
    version integer NOT NULL DEFAULT 0,        -- the number that people enter in; 0: none was published
    entering integer NOT NULL DEFAULT 0,       -- the number that is published last: not yet `version` while one drains
    pauses integer NOT NULL DEFAULT 0,         -- how often it was paused
    entry_kind text CHECK (entry_kind IN ('event', 'segment', 'api', 'schedule', 'contact_date')),
    entry_event text,                          -- while it is active and entered by an event: that event's name
    watches_contacts boolean NOT NULL DEFAULT false,  -- while active: a contact's change may bring somebody in
    next_entry_at timestamptz,                 -- when its entries are looked at next: a schedule's, a segment's as time goes by
    created_at timestamptz NOT NULL DEFAULT waypost_now(),
    updated_at timestamptz NOT NULL DEFAULT waypost_now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);
CREATE INDEX journeys_by_creation ON journeys (tenant_id, created_at, id);
CREATE INDEX journeys_by_event ON journeys (tenant_id, entry_event) WHERE entry_event IS NOT NULL;
CREATE INDEX journeys_watching ON journeys (tenant_id) WHERE watches_contacts;
CREATE INDEX journeys_entering ON journeys (next_entry_at) WHERE next_entry_at IS NOT NULL;

-- Immutable. `watches` are the events that anything in it may wait for; `conditions`: any change of the contact may matter.
CREATE TABLE journey_versions (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    journey_id uuid NOT NULL,
    number integer NOT NULL,
    source text NOT NULL,
    definition jsonb NOT NULL,
    plan text NOT NULL,
    watches text[] NOT NULL,
    conditions boolean NOT NULL,
    published_at timestamptz NOT NULL DEFAULT waypost_now(),
    published_by text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, journey_id, number),
    FOREIGN KEY (tenant_id, journey_id) REFERENCES journeys (tenant_id, id)
);

-- A pause is no row of each enrollment: an enrollment takes note of those it has not seen when it next decides.
CREATE TABLE journey_pauses (
    tenant_id uuid NOT NULL,
    journey_id uuid NOT NULL,
    number integer NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT waypost_now(),
    resumed_at timestamptz,
    policy text CHECK (policy IN ('continue', 'skip_late', 'shift')),
    woken_until uuid,                          -- waking those it held: enrollments up to here are done; NULL with resumed_at: all
    PRIMARY KEY (tenant_id, journey_id, number),
    FOREIGN KEY (tenant_id, journey_id) REFERENCES journeys (tenant_id, id)
);
CREATE INDEX journey_pauses_waking ON journey_pauses (resumed_at) WHERE woken_until IS NOT NULL;

-- One contact's run of a journey. `place` is what else a decision needs to go on (activities/journeys says what).
CREATE TABLE enrollments (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    journey_id uuid NOT NULL,
    version_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    entry_key text NOT NULL DEFAULT '',
    number integer NOT NULL,                   -- the contact's n-th of this journey and key
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    source text NOT NULL CHECK (source IN ('event', 'segment', 'api', 'schedule', 'contact_date', 'journey')),
    depth smallint NOT NULL DEFAULT 0,         -- how many journeys led to it, one by another
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'ended')),
    data jsonb NOT NULL DEFAULT '{}',
    step text,
    visits integer NOT NULL DEFAULT 0,
    resting_since timestamptz,
    wakes_at timestamptz,
    awaits text[] NOT NULL DEFAULT '{}',       -- events that would move it now
    awaits_any boolean NOT NULL DEFAULT false, -- any change of the contact might
    place jsonb NOT NULL DEFAULT '{}',
    pauses_seen integer NOT NULL DEFAULT 0,
    paused_at timestamptz,
    entered_at timestamptz NOT NULL DEFAULT waypost_now(),
    started_at timestamptz,                    -- when its execution was last asked for; a hint, never a proof
    decided_at timestamptz,
    ended_at timestamptz,
    how text CHECK (how IN ('completed', 'exit', 'goal', 'exit_rule', 'removed', 'contact_deleted', 'stopped', 'tenant_closed')),
    reason text,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, contact_id, journey_id, entry_key, number),
    FOREIGN KEY (tenant_id, version_id) REFERENCES journey_versions (tenant_id, id),
    CHECK ((state = 'ended') = (how IS NOT NULL)),
    CHECK ((state = 'ended') = (ended_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX enrollments_one_open ON enrollments (tenant_id, journey_id, contact_id, entry_key) WHERE state = 'open';
CREATE INDEX enrollments_of_contact ON enrollments (tenant_id, contact_id) WHERE state = 'open';
CREATE INDEX enrollments_by_entry ON enrollments (tenant_id, journey_id, entered_at, id);
CREATE INDEX enrollments_of_version ON enrollments (tenant_id, version_id, id) WHERE state = 'open';
CREATE INDEX enrollments_to_start ON enrollments (entered_at) WHERE state = 'open' AND started_at IS NULL;
CREATE INDEX enrollments_undecided ON enrollments (started_at) WHERE state = 'open' AND decided_at IS NULL;
CREATE INDEX enrollments_held ON enrollments (tenant_id, journey_id, id) WHERE state = 'open' AND paused_at IS NOT NULL;
CREATE INDEX enrollments_kept ON enrollments (tenant_id, ended_at) WHERE state = 'ended' AND (visits > 0 OR data <> '{}');
CREATE INDEX enrollments_overdue ON enrollments (wakes_at) WHERE state = 'open' AND wakes_at IS NOT NULL;

-- The steps that were taken, and why they led where they did.
CREATE TABLE enrollment_visits (
    tenant_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    number integer NOT NULL,
    step text NOT NULL,
    kind text NOT NULL,
    entered_at timestamptz NOT NULL,
    left_at timestamptz,
    waited_until timestamptz,
    edge text,
    why jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, enrollment_id, number),
    FOREIGN KEY (tenant_id, enrollment_id) REFERENCES enrollments (tenant_id, id) ON DELETE CASCADE
);

-- What an enrollment is to be told, in the order of receipt; the next decision takes it away. Events are referred to.
CREATE TABLE enrollment_inbox (
    tenant_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT waypost_now(),
    kind text NOT NULL CHECK (kind IN ('event', 'look', 'receipt', 'answer', 'skip_wait', 'move', 'remove')),
    event_id uuid,
    event_month date,
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, enrollment_id, id),
    FOREIGN KEY (tenant_id, enrollment_id) REFERENCES enrollments (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX enrollment_inbox_by_arrival ON enrollment_inbox (at) WHERE NOT (detail ? 'held');

-- Who did what to a journey or to one enrollment of it.
CREATE TABLE journey_audit (
    tenant_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    journey_id uuid NOT NULL,
    enrollment_id uuid,
    at timestamptz NOT NULL DEFAULT waypost_now(),
    action text NOT NULL,
    actor text NOT NULL,                       -- the id of the key that did
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, journey_id, id),
    FOREIGN KEY (tenant_id, journey_id) REFERENCES journeys (tenant_id, id)
);
CREATE INDEX journey_audit_of_enrollment ON journey_audit (tenant_id, enrollment_id, id) WHERE enrollment_id IS NOT NULL;

-- Of journeys entered by segment, date or schedule: who is inside, and who enters when. Kept up with each change of a contact.
CREATE TABLE journey_watched (
    tenant_id uuid NOT NULL,
    journey_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    next_at timestamptz,                       -- when it enters; NULL: it is inside the segment; -infinity: to be found out
    PRIMARY KEY (tenant_id, journey_id, contact_id),
    FOREIGN KEY (tenant_id, journey_id) REFERENCES journeys (tenant_id, id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX journey_watched_due ON journey_watched (tenant_id, journey_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX journey_watched_of_contact ON journey_watched (tenant_id, contact_id);

-- Contacts whose journeys must look at them again: written with the change, taken away by a loop. Only while the tenant
-- has a journey that watches its contacts, so that nobody else pays for it.
CREATE TABLE contact_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT waypost_now()
);
CREATE INDEX contact_changes_of_tenant ON contact_changes (tenant_id, id);

CREATE FUNCTION note_contact_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO contact_changes (tenant_id, contact_id)
    SELECT DISTINCT n.tenant_id, (to_jsonb(n) ->> TG_ARGV[0])::uuid FROM changed_rows n
    WHERE EXISTS (SELECT FROM journeys j WHERE j.tenant_id = n.tenant_id AND j.watches_contacts);
    RETURN NULL;
END $$;
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT * FROM (VALUES ('contacts', 'INSERT', 'NEW', 'id'), ('contacts', 'UPDATE', 'NEW', 'id'),
            ('list_members', 'INSERT', 'NEW', 'contact_id'), ('list_members', 'DELETE', 'OLD', 'contact_id'),
            ('topic_subscriptions', 'INSERT', 'NEW', 'contact_id'), ('topic_subscriptions', 'UPDATE', 'NEW', 'contact_id'),
            ('contact_events', 'INSERT', 'NEW', 'contact_id')) AS v (tab, what, which, col) LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %I REFERENCING %s TABLE AS changed_rows FOR EACH STATEMENT '
                       'EXECUTE FUNCTION note_contact_changes(%L)', 'note_contact_' || lower(t.what), t.what, t.tab, t.which, t.col);
    END LOOP;
END $$;

-- A message of a visit: its primary is driven by the enrollment's execution and waits as `waiting`, where the dispatcher
-- does not look; what that execution cannot send now is put back and goes the way of every message.
ALTER TABLE messages
    ADD COLUMN enrollment_id uuid,
    ADD COLUMN topic_id uuid,
    ADD CONSTRAINT messages_of_enrollments CHECK ((enrollment_id IS NULL) = (source <> 'journey'));
CREATE INDEX messages_of_enrollment ON messages (tenant_id, enrollment_id, created_at) WHERE enrollment_id IS NOT NULL;

-- The furthest that anybody looked back who counted a use: a journey's own cap may reach further than its tenant's.
ALTER TABLE cap_usage ADD COLUMN keep interval NOT NULL DEFAULT '0';

-- Hints are looked up by their execution: at most one to each waits.
CREATE INDEX outbox_by_execution ON outbox (workflow_id);

-- Hints to executions of enrollments, in the transaction of what they hint at. With its owner's rights: nobody else reads
-- whom others are told of. A hint that is being delivered now (its row is locked) comes too early for what is not committed
-- yet; one that is not is locked, so that it is delivered after the commit.
CREATE FUNCTION waypost_wake(enrollments uuid[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO public.outbox (workflow_id, signal)
    SELECT 'journey/' || e, 'wake' FROM unnest(enrollments) AS e
    WHERE NOT EXISTS (SELECT FROM public.outbox o WHERE o.workflow_id = 'journey/' || e FOR KEY SHARE SKIP LOCKED)
$$;
REVOKE ALL ON FUNCTION waypost_wake FROM PUBLIC;
GRANT EXECUTE ON FUNCTION waypost_wake TO waypost_app, waypost_relay;

-- Whose contact is gone leaves at once. No enrollment is locked here: its decision may want the contact.
CREATE FUNCTION wake_of_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    woken uuid[];
BEGIN
    WITH told AS (
        INSERT INTO enrollment_inbox (tenant_id, enrollment_id, kind)
        SELECT e.tenant_id, e.id, 'look' FROM gone_rows g
        JOIN enrollments e ON e.tenant_id = g.tenant_id AND e.contact_id = g.id AND e.state = 'open'
        RETURNING enrollment_id
    )
    SELECT array_agg(enrollment_id) INTO woken FROM told;
    IF woken IS NOT NULL THEN
        PERFORM waypost_wake(woken);
        PERFORM pg_notify('waypost_outbox', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER wake_of_deleted AFTER DELETE ON contacts REFERENCING OLD TABLE AS gone_rows FOR EACH STATEMENT
    EXECUTE FUNCTION wake_of_deleted();

-- A message that ended by somebody else's hand than its enrollment's execution, which would wait for it in vain.
CREATE FUNCTION wake_enrollment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM waypost_wake(ARRAY[NEW.enrollment_id]);
    PERFORM pg_notify('waypost_outbox', '');
    RETURN NULL;
END $$;
CREATE TRIGGER wake_enrollment AFTER UPDATE OF outcome ON messages FOR EACH ROW
    WHEN (NEW.enrollment_id IS NOT NULL AND NEW.primary_id IS NULL AND OLD.outcome IS NULL AND NEW.outcome IS NOT NULL
          AND (OLD.phase <> 'dispatched' OR NEW.dispatches > 0))
    EXECUTE FUNCTION wake_enrollment();

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['journeys', 'journey_versions', 'journey_pauses', 'enrollments', 'enrollment_visits',
                             'enrollment_inbox', 'journey_audit', 'journey_watched', 'contact_changes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_rows ON %I TO waypost_app USING (tenant_id = waypost_tenant()) '
                       'WITH CHECK (tenant_id = waypost_tenant())', t);
        EXECUTE format('CREATE POLICY all_rows ON %I TO waypost_relay USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO waypost_app, waypost_relay', t);
    END LOOP;
END $$;
GRANT DELETE ON enrollment_inbox, journey_watched, contact_changes TO waypost_app, waypost_relay;
GRANT DELETE ON journeys TO waypost_app;  -- drafts that were never published
GRANT DELETE ON enrollments, enrollment_visits, journey_audit TO waypost_relay;
GRANT INSERT ON contact_events, topic_subscriptions, list_members TO waypost_relay;
