-- Target takes UTF-8, and so does everything here: in another encoding different ids could become the same profile.
DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = 'target_profile needs a database with encoding UTF8',
            DETAIL = pg_catalog.format('The encoding of this database is %s.', pg_catalog.current_setting('server_encoding')),
            HINT = 'Create it in a database made with ENCODING ''UTF8''.';
    END IF;
END
$$;

-- Text columns that are compared and indexed use the collation "C": codes and ids are bytes to Target, and no index may
-- depend on the operating system's locale.

-- Which database may send: written by the first add_client and by adopt, never by CREATE EXTENSION, so that a copy
-- of the database knows that it is one.
CREATE TABLE target_profile.binding (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

CREATE TABLE target_profile.client (
    client_code text COLLATE "C" PRIMARY KEY,
    endpoint text NOT NULL DEFAULT 'https://{client}.tt.omtrdc.net/m2/{client}/profile/update',
    auth_token text,
    method text NOT NULL DEFAULT 'auto',
    daily_quota bigint NOT NULL DEFAULT 1000000,
    backfill_share double precision NOT NULL DEFAULT 0.5,
    delay interval NOT NULL DEFAULT '0',
    arrays text NOT NULL DEFAULT 'json',
    null_value text,
    max_attempts integer NOT NULL DEFAULT 20,
    max_age interval NOT NULL DEFAULT '7 days',
    max_in_flight integer NOT NULL DEFAULT 64,
    timeout interval NOT NULL DEFAULT '10 s',
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    resumed_at timestamptz,
    registered_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- However a row is changed, its values are checked and the worker hears of it when the change commits.
CREATE TRIGGER check_values BEFORE INSERT OR UPDATE ON target_profile.client
    FOR EACH ROW EXECUTE FUNCTION target_profile._check_client();
CREATE TRIGGER tell_worker AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON target_profile.client
    FOR EACH STATEMENT EXECUTE FUNCTION target_profile._clients_changed();
-- For the worker's own changes, too, which are made with session_replication_role = replica.
ALTER TABLE target_profile.client ENABLE ALWAYS TRIGGER check_values, ENABLE ALWAYS TRIGGER tell_worker;

-- No foreign key to client: it would lock the client's row in every transaction that enqueues.
-- Fillfactor and the columns of the indexes: a retry updates attempts, next_attempt_at and last_outcome only, which no index
-- holds, so the new version fits beside the old one (HOT) and no index is written.
-- Autovacuum: rows live for milliseconds, so the share of dead rows says nothing about the table's size; vacuum by
-- number instead, and without the cost delay, since dead index entries are what slows a queue down.
-- enqueued_by is a role's name and no OID: a dump that is restored on another server has other OIDs.
-- The constraints are for rows that are written by hand, restored or replicated: what the extension writes meets them, so its own
-- insertion does not evaluate them, and knows them by their names. A constraint of somebody else's has another name.
CREATE SEQUENCE target_profile.outbox_id_seq;
CREATE TABLE target_profile.outbox (
    id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('target_profile.outbox_id_seq'),
    client_code text COLLATE "C" NOT NULL,
    id_kind text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    attrs jsonb NOT NULL,
    priority smallint NOT NULL DEFAULT 0,
    source text NOT NULL DEFAULT 'function',
    enqueued_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    last_outcome text,
    retried_at timestamptz,
    enqueued_by text COLLATE "C",
    CONSTRAINT client_code_is_a_label
        CHECK (pg_catalog.octet_length(client_code) <= 63 AND client_code ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'),
    CONSTRAINT id_kind_is_known CHECK (id_kind IN ('mboxPC', 'mbox3rdPartyId')),
    CONSTRAINT profile_id_fits CHECK (pg_catalog.char_length(profile_id) BETWEEN 1 AND 256),
    CONSTRAINT attrs_are_an_object CHECK (pg_catalog.jsonb_typeof(attrs) = 'object'),
    CONSTRAINT attempts_are_counted CHECK (attempts >= 0),
    CONSTRAINT times_are_finite
        CHECK (pg_catalog.isfinite(enqueued_at) AND pg_catalog.isfinite(next_attempt_at) AND pg_catalog.isfinite(retried_at))
) WITH (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 100000
);
ALTER SEQUENCE target_profile.outbox_id_seq OWNED BY target_profile.outbox.id;
-- One lane a client and priority, read in the order of ids.
CREATE INDEX outbox_lane ON target_profile.outbox (client_code, priority, id);
-- All entries of one profile, merged when its turn comes.
CREATE INDEX outbox_profile ON target_profile.outbox (client_code, id_kind, profile_id, id);

-- Dead letters that are sent again: few, and looked for whenever something is accepted.
CREATE INDEX outbox_retried ON target_profile.outbox (client_code, id_kind, profile_id, id) WHERE retried_at IS NOT NULL;

-- What could not be enqueued or delivered. Looser than outbox: a row of a table whose trigger is wired wrongly has no id. Its
-- constraints are such that no row can fail them that is buried.
CREATE TABLE target_profile.dead_letter (
    id bigint PRIMARY KEY,
    client_code text COLLATE "C",
    id_kind text COLLATE "C",
    profile_id text COLLATE "C",
    attrs jsonb,
    priority smallint NOT NULL,
    source text NOT NULL,
    enqueued_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    next_attempt_at timestamptz,
    last_outcome text,
    reason text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    response_id bigint,
    discarded_at timestamptz,
    raw boolean NOT NULL DEFAULT false,
    enqueued_by text COLLATE "C",
    CONSTRAINT attempts_are_counted CHECK (attempts >= 0),
    CONSTRAINT failed_at_is_finite CHECK (pg_catalog.isfinite(failed_at))
);
CREATE INDEX dead_letter_client ON target_profile.dead_letter (client_code, failed_at);
CREATE INDEX dead_letter_profile ON target_profile.dead_letter (client_code, id_kind, profile_id, id);

-- Attributes of dead letters that newer updates of the profile have set since: sent again, they are left out, so that no older
-- value follows a newer one. A table of its own and not a column: the worker must not wait for the lock of somebody who is
-- about to retry a dead letter. The rows here are those of version 0.1.0, and those of dead letters that have got another id.
-- No index holds a name: it may be longer than one takes.
CREATE TABLE target_profile.overtaken (
    id bigint NOT NULL,
    attr text COLLATE "C" NOT NULL
);
CREATE INDEX overtaken_id ON target_profile.overtaken (id);
-- Without a key, rows of a published table (FOR ALL TABLES) could not be deleted otherwise.
ALTER TABLE target_profile.overtaken REPLICA IDENTITY FULL;

-- The same of all dead letters of a profile at once, so that an update costs what it sets, however many dead letters its profile has: what
-- those with ids below before_id say about the attribute. A row speaks of dead letters with ids above 0 if before_id is above 1, and of
-- the others otherwise: their ids do not say when an entry was enqueued. A row is never updated, and nothing has to be unique, so that
-- nobody's lock on a row is ever waited for.
CREATE TABLE target_profile.superseded (
    client_code text COLLATE "C" NOT NULL,
    id_kind text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    attr text COLLATE "C" NOT NULL,
    before_id bigint NOT NULL
);
CREATE INDEX superseded_profile ON target_profile.superseded
    (client_code, id_kind, profile_id, pg_catalog.hashtextextended(attr, 0), before_id);
ALTER TABLE target_profile.superseded REPLICA IDENTITY FULL;

-- The quota's ledger and the time series in one. What a client may send is reserved here before it is sent; a crash turns all
-- that was reserved into sent. While requests go out a row is written about once a second, not once a request: a long snapshot
-- keeps every version. Fillfactor: those versions stay on one page (HOT), and vacuum is hardly needed.
-- counted_to: the last response that is part of the numbers, so that a restart can add what a crash has left out.
CREATE TABLE target_profile.activity (
    client_code text COLLATE "C",
    -- What can be moved along when the clock is set.
    minute timestamptz CHECK (minute >= '2000-01-01 00:00:00+00' AND minute < '3000-01-01 00:00:00+00'),
    reserved integer NOT NULL DEFAULT 0,
    reserved_backfill integer NOT NULL DEFAULT 0,
    sent integer NOT NULL DEFAULT 0,
    sent_backfill integer NOT NULL DEFAULT 0,
    accepted integer NOT NULL DEFAULT 0,
    rejected integer NOT NULL DEFAULT 0,
    unrecognised integer NOT NULL DEFAULT 0,
    unauthorized integer NOT NULL DEFAULT 0,
    throttled integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    counted_to bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (client_code, minute)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- One row a request. Partitioned by day (UTC), so that old rows go by dropping a table, not by DELETE; the partitions are
-- made by the worker and are not members of the extension, so that pg_dump keeps them. The indexes are the partitions' own:
-- an index of the parent would be there already when a dump attaches its partitions, and collide with theirs.
CREATE SEQUENCE target_profile.response_id_seq;
CREATE TABLE target_profile.response (
    id bigint NOT NULL DEFAULT pg_catalog.nextval('target_profile.response_id_seq'),
    client_code text COLLATE "C" NOT NULL,
    id_kind text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    outbox_ids bigint[] NOT NULL,
    part smallint NOT NULL DEFAULT 1,
    parts smallint NOT NULL DEFAULT 1,
    method text NOT NULL,
    request_bytes integer NOT NULL,
    attempt integer NOT NULL,
    sent_at timestamptz NOT NULL,
    duration interval NOT NULL,
    http_status integer,
    outcome text NOT NULL
        CHECK (outcome IN ('accepted', 'rejected', 'unrecognised', 'unauthorized', 'throttled', 'failed')),
    message text,
    body text,
    enqueued_by text[] COLLATE "C"
) PARTITION BY RANGE (sent_at);
ALTER SEQUENCE target_profile.response_id_seq OWNED BY target_profile.response.id;

-- Clients whose endpoint does not work, as the worker sees it; written only when that changes.
CREATE TABLE target_profile.backing_off (
    client_code text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL,
    next_try_at timestamptz NOT NULL,
    reason text NOT NULL
);

-- What pg_dump must keep, beside the partitions of response.
SELECT pg_catalog.pg_extension_config_dump('target_profile.binding', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.client', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.outbox_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.overtaken', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.activity', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.response_id_seq', '');
