-- From 0.1.0 to 0.2.0. No table is rewritten, and no trigger is touched. Three tables get a column: nobody is using them at that moment,
-- for which this waits, and nobody waits for it longer than a tenth of a second. Then they are this transaction's until it ends: the
-- entries that wait to be sent are read once, to add constraints.
\echo Use "ALTER EXTENSION target_profile UPDATE" to load this file. \quit

-- First of all: every name is looked for in pg_catalog, and what is temporary is found by nobody.
SET LOCAL search_path = pg_catalog, pg_temp;
-- Whatever new tables of this database are stored as, these are read and written as heaps.
SET LOCAL default_table_access_method = heap;

-- What follows calls functions of 0.1.0 and writes to its tables, as the superuser who runs it: nobody of fewer rights may have put
-- code of his own there.
DO $$
DECLARE
    foreign_owner record;
BEGIN
    WITH RECURSIVE member AS (
        SELECT d.classid, d.objid
        FROM pg_depend d
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
        WHERE e.extname = 'target_profile' AND d.deptype = 'e'
    ), relation AS (
        SELECT m.objid AS oid FROM member m WHERE m.classid = 'pg_class'::regclass
        UNION
        SELECT i.inhrelid FROM relation r JOIN pg_inherits i ON i.inhparent = r.oid
    ), owned AS (
        SELECT 'pg_class'::regclass AS class, c.oid, c.relowner AS owner FROM relation r JOIN pg_class c ON c.oid = r.oid
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid, p.proowner
        FROM member m JOIN pg_proc p ON p.oid = m.objid WHERE m.classid = 'pg_proc'::regclass
    )
    SELECT pg_describe_object(o.class, o.oid, 0) AS object, r.rolname AS owner INTO foreign_owner
    FROM owned o JOIN pg_roles r ON r.oid = o.owner
    WHERE NOT r.rolsuper
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('%s belongs to role %I, which is no superuser', foreign_owner.object, foreign_owner.owner),
            DETAIL = 'The upgrade would run what that role has put into the functions and on the tables of target_profile, with your rights.',
            HINT = 'If you trust that role, make it a superuser until the upgrade is done (ALTER ROLE … SUPERUSER).';
    END IF;
END
$$;

-- Who enqueued an entry is kept with it, since only he may ask what became of it.

-- In the order in which the worker uses them. Whoever comes meanwhile waits behind this lock: so it is given up soon and tried again,
-- long before anybody takes it for a deadlock.
DO $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '30 seconds';
BEGIN
    PERFORM set_config('lock_timeout', '100ms', true);
    LOOP
        BEGIN
            LOCK TABLE target_profile.response, target_profile.outbox, target_profile.dead_letter, target_profile.overtaken,
                target_profile.activity IN ACCESS EXCLUSIVE MODE;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > deadline THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'lock_not_available',
                    MESSAGE = 'the tables of target_profile are in use',
                    DETAIL = 'Transactions that have written to target_profile.outbox, dead_letter or response, or read them, are open for 30 s.',
                    HINT = 'Run ALTER EXTENSION target_profile UPDATE again when they have ended; pg_locks and pg_stat_activity show them.';
            END IF;
        END;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
ALTER TABLE target_profile.outbox ADD COLUMN enqueued_by text COLLATE "C";
ALTER TABLE target_profile.dead_letter ADD COLUMN enqueued_by text COLLATE "C";
ALTER TABLE target_profile.response ADD COLUMN enqueued_by text[] COLLATE "C";
COMMENT ON COLUMN target_profile.outbox.enqueued_by IS 'The role that enqueued it or wrote the row, and may ask for its result; NULL: not known';
COMMENT ON COLUMN target_profile.dead_letter.enqueued_by IS 'As in outbox';
COMMENT ON COLUMN target_profile.response.enqueued_by IS 'Who enqueued each of outbox_ids; one role: all of them';

-- Days of response that are not as the worker makes them, and many of them.

-- The days of response. A partition may also be somebody else's: moved to another schema, for another range, a foreign table.

-- What each partition takes. Without bounds: the default partition. A day is the worker's own if it has the name, the place and
-- the bounds that the worker gives.
CREATE OR REPLACE FUNCTION target_profile._response_partitions()
    RETURNS TABLE (partition_schema name, partition_name name, takes_from timestamptz, takes_to timestamptz, is_day boolean)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET TimeZone = 'UTC'
AS $$
    SELECT p.nspname, p.relname, p.takes_from, p.takes_to,
        coalesce(p.nspname = 'target_profile' AND p.relkind = 'r'
            AND p.relname ~ ('^response_' || to_char(p.takes_from, 'YYYYMMDD') || '(_[0-9]+)?$')
            AND p.takes_from = date_trunc('day', p.takes_from) AND p.takes_to = p.takes_from + interval '1 day', false)
    FROM (
        SELECT n.nspname, c.relname, c.relkind,
            CASE b.bound[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(b.bound[1], '''') END::timestamptz AS takes_from,
            CASE b.bound[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE btrim(b.bound[2], '''') END::timestamptz AS takes_to
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM [(](.*)[)] TO [(](.*)[)]$')
            AS b (bound) ON true
        WHERE i.inhparent = 'target_profile.response'::regclass AND NOT i.inhdetachpending
    ) p
$$;

-- What the owner's default privileges grant on a table of responses: the days are read by way of response.
CREATE OR REPLACE FUNCTION target_profile._revoke_defaults(table_name name) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT a.grantee
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'target_profile'::regnamespace AND c.relname = table_name AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE target_profile.%I FROM %s', table_name,
            CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END);
    END LOOP;
END
$$;

-- Built beside the table and attached, because CREATE TABLE … PARTITION OF would lock response against everybody who reads it.
CREATE OR REPLACE FUNCTION target_profile._ensure_response_partition(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    -- The bounds are written as text, and read again.
    SET datestyle = 'ISO, YMD' SET timezone = 'UTC'
    SET default_table_access_method = heap
AS $$
DECLARE
    day_begins timestamptz := day::timestamp AT TIME ZONE 'UTC';
    day_ends timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    partition_name text := 'response_' || to_char(day, 'YYYYMMDD');
    number integer := 1;
BEGIN
    -- Whatever partition is there for the day, whoever made it.
    IF EXISTS (
        SELECT FROM target_profile._response_partitions() p WHERE p.takes_from <= day_begins AND p.takes_to >= day_ends)
    THEN
        RETURN;
    END IF;
    -- A table of that name that is no partition (any more) is somebody's.
    WHILE to_regclass(format('target_profile.%I', partition_name)) IS NOT NULL LOOP
        number := number + 1;
        partition_name := 'response_' || to_char(day, 'YYYYMMDD') || '_' || number;
    END LOOP;
    EXECUTE format(
        'CREATE TABLE target_profile.%I (LIKE target_profile.response INCLUDING ALL, PRIMARY KEY (id))', partition_name);
    -- What became of an entry: nearly all requests carry one entry; merged ones are looked up in the second index.
    EXECUTE format('CREATE INDEX ON target_profile.%I ((outbox_ids[1]))', partition_name);
    EXECUTE format(
        'CREATE INDEX ON target_profile.%I USING gin (outbox_ids) WHERE cardinality(outbox_ids) > 1', partition_name);
    EXECUTE format(
        'ALTER TABLE target_profile.response ATTACH PARTITION target_profile.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, day_begins, day_ends);
    PERFORM target_profile._revoke_defaults(partition_name);
END
$$;

-- Where responses go when response cannot take them: its partition for the day is a foreign table, or has constraints or triggers
-- of somebody's. It stays until somebody has moved the rows and drops it.
CREATE OR REPLACE FUNCTION target_profile._ensure_response_stray() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET default_table_access_method = heap
AS $$
BEGIN
    IF to_regclass('target_profile.response_stray') IS NOT NULL THEN
        RETURN;
    END IF;
    -- Column by column and not LIKE: what somebody has added to response, or dropped of it, may be why it cannot take them.
    CREATE TABLE target_profile.response_stray (
        id bigint NOT NULL,
        client_code text COLLATE "C" NOT NULL,
        id_kind text COLLATE "C" NOT NULL,
        profile_id text COLLATE "C" NOT NULL,
        outbox_ids bigint[] NOT NULL,
        part smallint NOT NULL,
        parts smallint NOT NULL,
        method text NOT NULL,
        request_bytes integer NOT NULL,
        attempt integer NOT NULL,
        sent_at timestamptz NOT NULL,
        duration interval NOT NULL,
        http_status integer,
        outcome text NOT NULL,
        message text,
        body text,
        enqueued_by text[] COLLATE "C");
    CREATE INDEX ON target_profile.response_stray ((outbox_ids[1]));
    CREATE INDEX ON target_profile.response_stray USING gin (outbox_ids) WHERE cardinality(outbox_ids) > 1;
    PERFORM target_profile._revoke_defaults('response_stray');
END
$$;

-- Where responses since that point in time may be, as quoted names: first what is no day, then the days, the newest first. A foreign
-- table is left out: it has none of the indexes, and may not answer.
CREATE OR REPLACE FUNCTION target_profile._response_parts(since timestamptz) RETURNS TABLE (part text, is_day boolean)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET TimeZone = 'UTC'
AS $$
    SELECT format('%I.%I', p.nspname, p.relname), p.is_day
    FROM (
        SELECT n.nspname, c.relname, c.relname ~ '^response_[0-9]{8}(_[0-9]+)?$' AS is_day
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE i.inhparent = 'target_profile.response'::regclass AND c.relkind <> 'f'
        UNION ALL
        SELECT n.nspname, c.relname, false
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'target_profile' AND c.relname = 'response_stray' AND c.relkind = 'r'
    ) p
    WHERE NOT p.is_day OR since = '-infinity'
       OR p.relname::text COLLATE "C" >= 'response_' || to_char(least(since, now()) - interval '1 day', 'YYYYMMDD')
    ORDER BY p.is_day, p.relname::text COLLATE "C" DESC
$$;

-- The last response to an entry. The days are looked through one by one, the newest first, and none stays locked: there may be more
-- of them than the server has locks.
CREATE OR REPLACE FUNCTION target_profile._last_response(entry bigint, since timestamptz)
    RETURNS TABLE (id bigint, http_status integer, message text, outcome text, answered_at timestamptz, enqueued_by text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    -- All that the index finds.
    SET gin_fuzzy_search_limit = 0
AS $$
#variable_conflict use_column
DECLARE
    place record;
    one record;
    found_id bigint;
BEGIN
    FOR place IN SELECT p.part, p.is_day FROM target_profile._response_parts(since) p LOOP
        BEGIN
            EXECUTE format($q$
                SELECT r.id, r.http_status, r.message || '' AS message, r.outcome || '' AS outcome,
                    r.sent_at + r.duration AS answered_at,
                    r.enqueued_by[CASE WHEN cardinality(r.enqueued_by) > 1 THEN array_position(r.outbox_ids, $1) ELSE 1 END] || ''
                        AS enqueued_by
                FROM (
                    SELECT alone.* FROM %1$s alone WHERE alone.outbox_ids[1] = $1
                    UNION ALL
                    SELECT merged.* FROM %1$s merged
                    WHERE cardinality(merged.outbox_ids) > 1 AND merged.outbox_ids @> ARRAY[$1] AND merged.outbox_ids[1] <> $1
                ) r
                ORDER BY r.id DESC
                LIMIT 1$q$, place.part) INTO one USING entry;
            -- Gives the locks back; what was found stays.
            RAISE SQLSTATE 'TP000';
        EXCEPTION
            WHEN SQLSTATE 'TP000' THEN
                IF one.id IS NOT NULL AND (found_id IS NULL OR one.id > found_id) THEN
                    found_id := one.id;
                    id := one.id;
                    http_status := one.http_status;
                    message := one.message;
                    outcome := one.outcome;
                    answered_at := one.answered_at;
                    enqueued_by := one.enqueued_by;
                END IF;
            WHEN undefined_table THEN
                -- Dropped meanwhile.
                NULL;
        END;
        EXIT WHEN found_id IS NOT NULL AND place.is_day;
    END LOOP;
    IF found_id IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END
$$;

-- The worker's own days that end before the given point in time, oldest first.
CREATE OR REPLACE FUNCTION target_profile._response_partitions_before(before timestamptz)
    RETURNS TABLE (partition_name name, day date)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET TimeZone = 'UTC'
AS $$
    SELECT p.partition_name, p.takes_from::date
    FROM target_profile._response_partitions() p
    WHERE p.is_day AND p.takes_to <= before
    ORDER BY 2
$$;

CREATE OR REPLACE FUNCTION target_profile._drop_response_partition(partition_name name) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('DROP TABLE target_profile.%I', partition_name);
END
$$;

-- For the library of 0.1.0, which knows no other; a few at a time.
CREATE OR REPLACE FUNCTION target_profile._drop_response_partitions(before timestamptz) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old record;
    dropped integer := 0;
BEGIN
    FOR old IN SELECT o.partition_name FROM target_profile._response_partitions_before(before) o LIMIT 8 LOOP
        PERFORM target_profile._drop_response_partition(old.partition_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- Responses that are in no number of activity yet, by client and minute. Only the worker that was there last can have left some, so
-- they are among the newest days; the others are not touched, and not locked.
CREATE OR REPLACE FUNCTION target_profile._uncounted_responses()
    RETURNS TABLE (client_code text, minute timestamptz, accepted integer, rejected integer, unrecognised integer,
        unauthorized integer, throttled integer, failed integer, counted_to bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    counted bigint;
    place text;
BEGIN
    SELECT coalesce(max(a.counted_to), 0) INTO counted FROM target_profile.activity a;
    FOR place IN SELECT p.part FROM target_profile._response_parts('-infinity') p LIMIT 3 LOOP
        RETURN QUERY EXECUTE format($q$
            SELECT r.client_code::text, date_trunc('minute', r.sent_at, 'UTC'),
                count(*) FILTER (WHERE r.outcome = 'accepted')::integer,
                count(*) FILTER (WHERE r.outcome = 'rejected')::integer,
                count(*) FILTER (WHERE r.outcome = 'unrecognised')::integer,
                count(*) FILTER (WHERE r.outcome = 'unauthorized')::integer,
                count(*) FILTER (WHERE r.outcome = 'throttled')::integer,
                count(*) FILTER (WHERE r.outcome = 'failed')::integer,
                max(r.id)
            FROM %s r
            WHERE r.id > $1
            GROUP BY 1, 2$q$, place) USING counted;
    END LOOP;
END
$$;

-- What a crash has left open in activity, when a worker starts: what was reserved may have been sent, and counts as sent; the
-- responses that were not yet counted are.
CREATE OR REPLACE FUNCTION target_profile._close_activity() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO target_profile.activity AS a
        (client_code, minute, accepted, rejected, unrecognised, unauthorized, throttled, failed, counted_to)
    SELECT r.client_code, r.minute, sum(r.accepted), sum(r.rejected), sum(r.unrecognised), sum(r.unauthorized),
        sum(r.throttled), sum(r.failed), max(r.counted_to)
    FROM target_profile._uncounted_responses() r
    GROUP BY 1, 2
    ON CONFLICT (client_code, minute) DO UPDATE SET
        accepted = least(a.accepted::bigint + excluded.accepted, 2147483647),
        rejected = least(a.rejected::bigint + excluded.rejected, 2147483647),
        unrecognised = least(a.unrecognised::bigint + excluded.unrecognised, 2147483647),
        unauthorized = least(a.unauthorized::bigint + excluded.unauthorized, 2147483647),
        throttled = least(a.throttled::bigint + excluded.throttled, 2147483647),
        failed = least(a.failed::bigint + excluded.failed, 2147483647),
        counted_to = greatest(a.counted_to, excluded.counted_to);
    UPDATE target_profile.activity AS a
    SET sent = greatest(a.sent, a.reserved), sent_backfill = greatest(a.sent_backfill, a.reserved_backfill)
    WHERE a.sent < a.reserved OR a.sent_backfill < a.reserved_backfill;
$$;

REVOKE ALL ON FUNCTION target_profile._response_partitions() FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._response_parts(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._last_response(bigint, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._ensure_response_stray() FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._drop_response_partition(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._uncounted_responses() FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._revoke_defaults(name) FROM PUBLIC;
COMMENT ON FUNCTION target_profile._response_partitions() IS 'Internal: what each partition of response takes';
COMMENT ON FUNCTION target_profile._revoke_defaults(name) IS 'Internal: takes back what default privileges grant on a table of responses';
COMMENT ON FUNCTION target_profile._response_parts(timestamptz) IS 'Internal: the tables that may hold responses since then, the newest first';
COMMENT ON FUNCTION target_profile._last_response(bigint, timestamptz) IS 'Internal: the last response to an entry';
COMMENT ON FUNCTION target_profile._ensure_response_stray() IS 'Internal: makes the table for responses that response cannot take';
COMMENT ON FUNCTION target_profile._drop_response_partition(name) IS 'Internal: drops a partition of response';
COMMENT ON FUNCTION target_profile._drop_response_partitions(timestamptz) IS 'Internal: drops some of those that are over, for the library of 0.1.0';
COMMENT ON FUNCTION target_profile._uncounted_responses() IS 'Internal: responses that activity does not count yet';

-- What can be moved along when the clock is set.
ALTER TABLE target_profile.activity
    ADD CHECK (minute >= '2000-01-01 00:00:00+00' AND minute < '3000-01-01 00:00:00+00');

-- What became of an entry, by the id that target_profile_update returned, as far as a role may know: its own entries, and all for
-- whoever may read the tables. No row: there never was such an entry, its records are older than target_profile.response_retention,
-- or it is another role's. Runs with the rights of whoever calls it, who must be able to read the tables.
CREATE OR REPLACE FUNCTION target_profile._fate(id bigint, asked_by oid)
    RETURNS TABLE (state text, response_id bigint, http_status integer, message text, finished_at timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    -- All that the index finds.
    SET gin_fuzzy_search_limit = 0
AS $$
    WITH last_response AS MATERIALIZED (
        SELECT r.id, r.http_status, r.message, r.outcome, r.answered_at, r.enqueued_by
        FROM target_profile._last_response($1, coalesce(
            (SELECT o.enqueued_at FROM target_profile.outbox o WHERE o.id = $1),
            (SELECT d.enqueued_at FROM target_profile.dead_letter d WHERE d.id = $1), '-infinity')) r
    ), waiting AS (
        SELECT CASE
                WHEN target_profile._in_flight(o.client_code, o.id_kind, o.profile_id, o.id) THEN 'in flight'
                ELSE 'waiting'
            END AS state,
            o.enqueued_by
        FROM target_profile.outbox o WHERE o.id = $1
    ), fate AS (
        SELECT w.state, l.id, l.http_status, l.message, NULL::timestamptz AS finished_at, w.enqueued_by
        FROM waiting w LEFT JOIN last_response l ON true
        UNION ALL
        SELECT CASE WHEN d.discarded_at IS NULL THEN 'dead' ELSE 'discarded' END, d.response_id, l.http_status, d.reason,
            coalesce(d.discarded_at, d.failed_at), d.enqueued_by
        FROM target_profile.dead_letter d LEFT JOIN last_response l ON l.id = d.response_id
        WHERE d.id = $1
        UNION ALL
        SELECT 'accepted', l.id, l.http_status, l.message, l.answered_at, l.enqueued_by
        FROM last_response l
        WHERE l.outcome = 'accepted'
          AND NOT EXISTS (SELECT FROM waiting)
          AND NOT EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = $1)
    )
    SELECT f.state, f.id, f.http_status, f.message, f.finished_at
    FROM fate f
    WHERE has_table_privilege($2, 'target_profile.response', 'SELECT')
       OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = f.enqueued_by AND pg_has_role($2, r.oid, 'USAGE'))
$$;

-- Whoever may read the tables does; for others wait looks, with the rights of the tables' owner, and at nothing but their own entries.
CREATE OR REPLACE FUNCTION target_profile.result(id bigint)
    RETURNS TABLE (state text, response_id bigint, http_status integer, message text, finished_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    asked_by oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user);
BEGIN
    IF has_function_privilege('target_profile._fate(bigint, oid)', 'EXECUTE')
        AND has_table_privilege('target_profile.outbox', 'SELECT')
        AND has_table_privilege('target_profile.dead_letter', 'SELECT')
        AND has_table_privilege('target_profile.response', 'SELECT')
    THEN
        RETURN QUERY SELECT f.* FROM target_profile._fate(result.id, asked_by) f;
    ELSE
        -- A time below zero: without waiting, and of an entry of this very transaction too.
        RETURN QUERY SELECT w.* FROM target_profile.wait(result.id, '-1 s') w;
    END IF;
END
$$;

COMMENT ON FUNCTION target_profile.result(bigint) IS
    'What became of an entry: waiting, in flight, accepted, dead or discarded; no row if there is no record of it, or it is another role''s';

-- What was installed with another search_path may have been bound to what somebody had put there: the views are made anew.

CREATE OR REPLACE VIEW target_profile.worker AS
SELECT database, pid, state, since, last_error, last_error_at FROM target_profile._workers();

-- What counts of the quota is the minutes whose end is not 24 hours old. How a client stands is decided in the library.
CREATE OR REPLACE VIEW target_profile.status AS
WITH waiting AS (
    SELECT o.client_code, count(*) AS backlog, count(*) FILTER (WHERE o.priority >= 0) AS fresh,
        min(o.enqueued_at) FILTER (WHERE pg_catalog.isfinite(o.enqueued_at)) AS oldest
    FROM target_profile.outbox o
    GROUP BY o.client_code
), used AS (
    SELECT a.client_code, array_agg(a.minute) AS minutes, array_agg(a.sent) AS sent, array_agg(a.sent_backfill) AS backfill
    FROM target_profile.activity a
    WHERE a.minute > pg_catalog.clock_timestamp() - interval '24 hours 1 minute'
    GROUP BY a.client_code
)
SELECT c.client_code, s.state, s.reason, s.since, s.next_try_at, coalesce(w.backlog, 0) AS backlog,
    pg_catalog.clock_timestamp() - w.oldest AS oldest_age, s.quota_used, s.quota_left, s.quota_resumes_at, s.forecast
FROM target_profile.client c
LEFT JOIN target_profile.backing_off b USING (client_code)
LEFT JOIN waiting w USING (client_code)
LEFT JOIN used u USING (client_code)
CROSS JOIN LATERAL target_profile._standing(
    adopted => target_profile._is_adopted(),
    paused_at => c.paused_at, paused_by => c.paused_by, pause_reason => c.pause_reason,
    failing_since => b.since, next_probe_at => b.next_try_at, failure => b.reason,
    waiting => coalesce(w.backlog, 0), waiting_fresh => coalesce(w.fresh, 0),
    daily_quota => c.daily_quota, backfill_share => c.backfill_share,
    minutes => u.minutes, sent => u.sent, sent_backfill => u.backfill) s
ORDER BY c.client_code;

-- Whether it is running is a lock of the session that runs it, and no flag: a crash leaves no lock. A condition and an error tell of
-- what is in the table: they are shown to whoever started the run, to the table's owner and to whoever may read backfill_run.
CREATE OR REPLACE VIEW target_profile.backfill_progress WITH (security_barrier) AS
SELECT r."table", r.client_code, r.id_kind, r."where",
    CASE
        WHEN r.finished_at IS NOT NULL THEN 'finished'
        WHEN is_running AND r.stop_requested THEN 'stopping'
        WHEN is_running THEN 'running'
        WHEN r.last_error IS NOT NULL THEN 'failed'
        WHEN r.stopped_at IS NOT NULL THEN 'stopped'
        ELSE 'interrupted'
    END AS state,
    r.rows_done,
    CASE WHEN r.finished_at IS NULL THEN greatest(r.total_estimate, r.rows_done) ELSE r.rows_done END AS total_estimate,
    rate.rows_per_second AS rate,
    CASE
        WHEN r.finished_at IS NULL AND is_running
        THEN pg_catalog.make_interval(secs => greatest(r.total_estimate - r.rows_done, 0) / nullif(rate.rows_per_second, 0))
    END AS time_left,
    r.entries, r.invalid, r.without_id, pg_catalog.cardinality(r.locked_ids) AS locked,
    r.started_by, r.started_at, r.last_chunk_at, r.stopped_at, r.finished_at, r.last_error
FROM target_profile.backfill_run r
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_locks l
        WHERE l.locktype = 'object' AND l.classid = 'target_profile.backfill_run'::pg_catalog.regclass
          AND l.objid = r.id::pg_catalog.oid AND l.objsubid = 0 AND l.granted
          AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
) alive (is_running)
CROSS JOIN LATERAL (
    SELECT pg_catalog.round(((r.rows_done - r.called_rows)
        / nullif(extract(epoch FROM r.last_chunk_at - r.called_at), 0))::numeric, 1)::double precision
) rate (rows_per_second)
WHERE pg_catalog.has_table_privilege('target_profile.backfill_run'::pg_catalog.regclass, 'SELECT')
    OR EXISTS (
        SELECT FROM pg_catalog.pg_roles o
        WHERE pg_catalog.pg_has_role(o.oid, 'USAGE')
          AND (o.rolname = r.started_by OR o.oid = (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = r."table")))
ORDER BY r.schema_name, r.table_name, r.client_code, r.id_kind;

-- The levels: a writer may read backfill_progress, and asks for his own entries only.

-- A role that can be granted something.
CREATE FUNCTION target_profile._check_role(role regrole) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'role must not be null',
            HINT = 'Name the role: target_profile.grant_to(''crm'', ''writer'').';
    ELSIF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_object',
            MESSAGE = format('role with OID %s does not exist', role::oid),
            HINT = 'Name the role: target_profile.grant_to(''crm'', ''writer'').';
    END IF;
END
$$;
COMMENT ON FUNCTION target_profile._check_role(regrole) IS 'Internal: refuses what is no role';
REVOKE ALL ON FUNCTION target_profile._check_role(regrole) FROM PUBLIC;

CREATE OR REPLACE FUNCTION target_profile.grant_to(role regrole, level text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p record;
BEGIN
    PERFORM target_profile._check_role(role);
    FOR p IN SELECT * FROM target_profile._privileges(level) LOOP
        EXECUTE format('GRANT %s ON %s TO %s', p.privilege, p.object, role);
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION target_profile.revoke_from(role regrole, level text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p record;
    held text[] := '{}';
    other text;
BEGIN
    PERFORM target_profile._check_role(role);
    FOREACH other IN ARRAY ARRAY['writer', 'reader', 'admin'] LOOP
        IF level IS NOT NULL AND other <> level AND target_profile._has_level(role, other) THEN
            held := held || other;
        END IF;
    END LOOP;
    FOR p IN
        SELECT DISTINCT q.privilege, q.object
        FROM unnest(CASE WHEN level IS NULL THEN ARRAY['writer', 'reader', 'admin'] ELSE ARRAY[level] END) l,
            target_profile._privileges(l) q
    LOOP
        EXECUTE format('REVOKE %s ON %s FROM %s', p.privilege, p.object, role);
    END LOOP;
    FOREACH other IN ARRAY held LOOP
        PERFORM target_profile.grant_to(role, other);
    END LOOP;
END
$$;

-- The grants of a level, as GRANT or REVOKE wants them, one a row.
CREATE OR REPLACE FUNCTION target_profile._privileges(level text) RETURNS TABLE (privilege text, object text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF level IS NULL OR level NOT IN ('writer', 'reader', 'admin') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'unrecognized level',
            DETAIL = format('The level is %L.', level),
            HINT = 'Levels are writer, reader and admin.';
    END IF;
    -- Every level: the schema's name, and what became of an entry of one's own.
    RETURN QUERY
    SELECT 'USAGE', 'SCHEMA target_profile'
    UNION ALL
    SELECT 'EXECUTE', 'FUNCTION ' || f::text
    FROM unnest(ARRAY['target_profile.result(bigint)', 'target_profile.wait(bigint, interval)']::regprocedure[]) f;
    IF level IN ('writer', 'admin') THEN
        RETURN QUERY
        SELECT 'EXECUTE', 'ROUTINE ' || f::text
        FROM unnest(target_profile._entry_points() || target_profile._watch_functions()) f;
    END IF;
    IF level = 'writer' THEN
        -- Whoever may backfill sees how far his own runs are, and those of his tables.
        RETURN QUERY
        SELECT 'SELECT', 'TABLE target_profile.backfill_progress';
    END IF;
    IF level IN ('reader', 'admin') THEN
        RETURN QUERY
        SELECT 'SELECT', 'TABLE target_profile.' || quote_ident(t)
        FROM unnest(ARRAY['outbox', 'response', 'dead_letter', 'overtaken', 'superseded', 'activity', 'backing_off', 'status', 'worker',
            'watched_table', 'watch_state', 'backfill_run', 'backfill_progress']) t;
        RETURN QUERY
        SELECT 'EXECUTE', 'FUNCTION ' || f::text
        FROM unnest(ARRAY['target_profile._workers()', 'target_profile._is_adopted()',
            'target_profile._system_identifier()', 'target_profile._fate(bigint, oid)',
            'target_profile._last_response(bigint, timestamptz)',
            'target_profile._in_flight(text, text, text, bigint)']::regprocedure[] || target_profile._standing_function()) f;
        RETURN QUERY
        SELECT 'EXECUTE', 'FUNCTION ' || f::text
        FROM unnest(target_profile._entry_points()) f
        WHERE f::oid IN (SELECT p.oid FROM pg_proc p WHERE p.proname = 'target_profile_preview');
    END IF;
    IF level = 'reader' THEN
        -- All of client but the token.
        RETURN QUERY
        SELECT format('SELECT (%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)),
            'TABLE target_profile.client'
        FROM pg_attribute a
        WHERE a.attrelid = 'target_profile.client'::regclass AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attname <> 'auth_token';
    END IF;
    IF level = 'admin' THEN
        RETURN QUERY
        SELECT 'SELECT', 'TABLE target_profile.client'
        UNION ALL
        SELECT 'SELECT', 'TABLE target_profile.binding'
        UNION ALL
        SELECT 'EXECUTE', 'FUNCTION ' || p.oid::regprocedure
        FROM pg_proc p
        WHERE p.pronamespace = 'target_profile'::regnamespace
          AND p.proname IN ('add_client', 'set_client', 'remove_client', 'pause', 'resume', 'adopt', 'retry', 'retry_all', 'discard');
    END IF;
END
$$;

-- What overtaken says of one dead letter, of all of a profile at once, so that an update costs what it sets, however many dead letters its profile has: what
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
-- No index holds a name: it may be longer than one takes.
ALTER TABLE target_profile.overtaken DROP CONSTRAINT overtaken_pkey;
CREATE INDEX overtaken_id ON target_profile.overtaken (id);
-- Without a key, rows of a published table (FOR ALL TABLES) could not be deleted otherwise.
ALTER TABLE target_profile.overtaken REPLICA IDENTITY FULL;
COMMENT ON TABLE target_profile.superseded IS
    'Attributes that newer updates of a profile have set since its dead letters were enqueued; retry leaves them out';
COMMENT ON COLUMN target_profile.superseded.before_id IS 'Dead letters with ids below this one leave the attribute out: those above 0 if it is above 1, and the others otherwise';
COMMENT ON TABLE target_profile.overtaken IS
    'As superseded, of single dead letters: those that have got another id, and those of version 0.1.0';
SELECT target_profile._revoke_defaults('superseded');
SELECT pg_extension_config_dump('target_profile.superseded', '');

-- Who has a level has what it now comprises.
DO $$
DECLARE
    holder record;
BEGIN
    EXECUTE 'REVOKE ALL ON FUNCTION target_profile._fate(bigint, oid), target_profile._last_response(bigint, timestamptz) FROM PUBLIC';
    FOR holder IN
        SELECT DISTINCT a.grantee::regrole AS name
        FROM pg_proc p, aclexplode(p.proacl) a
        WHERE p.oid IN ('target_profile._in_flight(text, text, text, bigint)'::regprocedure, 'target_profile._fate(bigint, oid)'::regprocedure,
        'target_profile._last_response(bigint, timestamptz)'::regprocedure)
          AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION target_profile._in_flight(text, text, text, bigint), '
            'target_profile._fate(bigint, oid), target_profile._last_response(bigint, timestamptz) FROM %s', holder.name);
    END LOOP;
    FOR holder IN
        SELECT r.oid::regrole AS name, target_profile._has_level(r.oid::regrole, 'writer') AS writes,
            target_profile._has_level(r.oid::regrole, 'reader') OR target_profile._has_level(r.oid::regrole, 'admin') AS reads
        FROM pg_roles r
    LOOP
        IF holder.writes THEN
            EXECUTE format('GRANT SELECT ON target_profile.backfill_progress TO %s', holder.name);
        END IF;
        IF holder.reads THEN
            EXECUTE format('GRANT SELECT ON target_profile.superseded TO %s', holder.name);
            EXECUTE format('GRANT EXECUTE ON FUNCTION target_profile._in_flight(text, text, text, bigint), '
                'target_profile._fate(bigint, oid), target_profile._last_response(bigint, timestamptz) TO %s', holder.name);
        END IF;
    END LOOP;
END
$$;

-- Nothing is for everybody, whatever the default privileges of the role that installed 0.1.0 were.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT 'pg_namespace'::regclass AS class, n.oid, 'SCHEMA ' || n.oid::regnamespace AS object
        FROM pg_namespace n, aclexplode(n.nspacl) a
        WHERE n.oid = 'target_profile'::regnamespace AND a.grantee = 0
        UNION
        SELECT 'pg_class'::regclass, c.oid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'target_profile'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND a.grantee = 0
        UNION
        SELECT 'pg_proc'::regclass, p.oid, 'ROUTINE ' || p.oid::regprocedure
        FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE (p.pronamespace = 'target_profile'::regnamespace OR p.oid = ANY (ARRAY(SELECT unnest(target_profile._entry_points())))) AND a.grantee = 0
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', granted.object);
        DELETE FROM pg_shdepend d
        WHERE d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()) AND d.deptype = 'i'
          AND d.classid = granted.class AND d.objid = granted.oid;
        DELETE FROM pg_init_privs p WHERE p.classoid = granted.class AND p.objoid = granted.oid;
    END LOOP;
END
$$;

-- What is granted in an extension's script counts as part of the extension, with all that was granted on the object before, and
-- pg_dump leaves it out. These are grants to the roles of this server: a dump must have them. (pg_shdepend has something of it from
-- PostgreSQL 17 on.)
DELETE FROM pg_shdepend d
WHERE d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()) AND d.deptype = 'i'
  AND ((d.classid = 'pg_class'::regclass AND d.objid IN ('target_profile.backfill_progress'::regclass, 'target_profile.superseded'::regclass))
    OR (d.classid = 'pg_proc'::regclass AND d.objid IN (
        'target_profile._in_flight(text, text, text, bigint)'::regprocedure, 'target_profile._fate(bigint, oid)'::regprocedure,
        'target_profile._last_response(bigint, timestamptz)'::regprocedure)));
DELETE FROM pg_init_privs p
WHERE p.classoid = 'pg_class'::regclass AND p.objoid IN ('target_profile.backfill_progress'::regclass, 'target_profile.superseded'::regclass);
UPDATE pg_init_privs i
SET initprivs = ARRAY(
    SELECT kept FROM unnest(i.initprivs) kept
    WHERE (SELECT a.grantee FROM aclexplode(ARRAY[kept]) a LIMIT 1) = (SELECT p.proowner FROM pg_proc p WHERE p.oid = i.objoid))
WHERE i.classoid = 'pg_proc'::regclass AND i.objoid IN (
    'target_profile._in_flight(text, text, text, bigint)'::regprocedure, 'target_profile._fate(bigint, oid)'::regprocedure,
        'target_profile._last_response(bigint, timestamptz)'::regprocedure);

ALTER TABLE target_profile.watched_table ADD COLUMN when_columns text[];
COMMENT ON COLUMN target_profile.watched_table.when_columns IS 'The columns that "when" names; NULL: watched by version 0.1.0';

-- Whether it is still so. A trigger is known by its function and its arguments, so one that was renamed is found; a partition has a copy of
-- the row triggers. WHEN follows the columns that it was made of, and the trigger reads columns by their names: after columns have
-- swapped names it is not the same column any more. Which columns WHEN compares is read from its definition, in which each comparison of
-- src/pg/triggers/watch/table.rs names the old and the new value side by side; the triggers of 0.1.0 compare by IS DISTINCT FROM, and there any
-- mention has to do. A watch of a dropped table that another table of this name has taken over is over.
CREATE OR REPLACE VIEW target_profile.watch_state AS
WITH ours AS (
    SELECT t.oid, t.tgrelid, t.tgenabled, t.tgtype, p.proname,
        pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), E'\\000') AS args
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE p.pronamespace = 'target_profile'::pg_catalog.regnamespace AND p.proname IN ('_watch_row', '_watch_flush')
), named AS (
    SELECT w."table", w.client_code, w.id_kind, given.name, given.renamed
    FROM target_profile.watched_table w
    CROSS JOIN LATERAL (
        SELECT id.name, NULL FROM pg_catalog.unnest(w.id_columns) AS id (name)
        UNION ALL
        SELECT attr.name, CASE WHEN pg_catalog.strpos(attr.name, '=') > 0
            THEN pg_catalog.substr(attr.name, pg_catalog.strpos(attr.name, '=') + 1) END
        FROM pg_catalog.unnest(w.attrs) AS attr (name)
    ) AS given (name, renamed)
)
SELECT w."table", w.client_code, w.id_kind,
    CASE
        WHEN c.oid IS NULL THEN 'table dropped'
        WHEN NOT EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = w.client_code) THEN 'client not registered'
        WHEN EXISTS (
            SELECT FROM named n
            WHERE n."table" = w."table" AND n.client_code = w.client_code AND n.id_kind = w.id_kind
              AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = w."table" AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN (n.name, n.renamed))
        ) THEN 'column missing'
        WHEN present.rows < 2 OR present.flushes < 1 OR parts.missing THEN 'trigger missing'
        WHEN present.disabled OR parts.disabled THEN 'trigger disabled'
        WHEN EXISTS (
            SELECT FROM named n
            JOIN pg_catalog.pg_attribute a
                ON a.attrelid = w."table" AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN (n.name, n.renamed)
            WHERE n."table" = w."table" AND n.client_code = w.client_code AND n.id_kind = w.id_kind
              -- A column whose own name holds an equals sign is taken by its whole name.
              AND (a.attname = n.name OR NOT EXISTS (
                SELECT FROM pg_catalog.pg_attribute whole
                WHERE whole.attrelid = w."table" AND whole.attnum > 0 AND NOT whole.attisdropped AND whole.attname = n.name))
              -- A virtual column is compared by the columns that it is made of.
              AND a.attgenerated <> 'v'
              AND NOT (
                EXISTS (
                    SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = present.on_update
                      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = w."table"
                      AND d.refobjsubid = a.attnum)
                AND (pg_catalog.strpos(definition.text, 'IS DISTINCT FROM') > 0
                    OR pg_catalog.strpos(definition.text, pg_catalog.format('(%1$I.%3$I IS NULL) AND (%2$I.%3$I IS NULL)', 'old', 'new', a.attname)) > 0
                    OR pg_catalog.strpos(definition.text, pg_catalog.format('ROW(%1$I.%3$I), ROW(%2$I.%3$I)', 'old', 'new', a.attname)) > 0))
        ) THEN 'column renamed'
        WHEN EXISTS (
            SELECT FROM pg_catalog.unnest(w.when_columns) AS named_there (name)
            JOIN pg_catalog.pg_attribute a
                ON a.attrelid = w."table" AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = named_there.name
            WHERE NOT EXISTS (
                SELECT FROM pg_catalog.pg_depend d
                WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = present.on_update
                  AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = w."table"
                  AND d.refobjsubid = a.attnum)
        ) THEN 'column renamed'
        WHEN EXISTS (
            SELECT FROM pg_catalog.pg_class other
            JOIN pg_catalog.pg_namespace s ON s.oid = other.relnamespace
            WHERE s.nspname = w.schema_name AND other.relname = w.table_name AND other.oid <> c.oid AND other.relkind IN ('r', 'p')
              AND NOT EXISTS (
                SELECT FROM target_profile.watched_table o
                WHERE o."table" = other.oid AND o.client_code = w.client_code AND o.id_kind = w.id_kind)
        ) THEN 'table replaced'
        ELSE 'ok'
    END AS state
FROM target_profile.watched_table w
LEFT JOIN pg_catalog.pg_class c ON c.oid = w."table"
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE o.proname = '_watch_row') AS rows,
        count(*) FILTER (WHERE o.proname = '_watch_flush') AS flushes,
        coalesce(pg_catalog.bool_or(o.tgenabled IN ('D', 'R')), false) AS disabled,
        -- The bit of UPDATE.
        pg_catalog.max(o.oid) FILTER (WHERE o.proname = '_watch_row' AND o.tgtype::integer & 16 <> 0) AS on_update
    FROM ours o
    WHERE o.tgrelid = w."table"
      AND (o.proname = '_watch_flush' OR (o.args[1] = w.client_code AND o.args[2] = w.id_kind))
) present
CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_triggerdef(present.on_update) AS text) definition
CROSS JOIN LATERAL (
    SELECT coalesce(pg_catalog.bool_or(copies.rows < 2), false) AS missing,
        coalesce(pg_catalog.bool_or(copies.disabled), false) AS disabled
    FROM pg_catalog.pg_partition_tree(CASE WHEN c.relkind = 'p' THEN w."table" END) part
    CROSS JOIN LATERAL (
        SELECT count(*) AS rows, coalesce(pg_catalog.bool_or(o.tgenabled IN ('D', 'R')), false) AS disabled
        FROM ours o
        WHERE o.tgrelid = part.relid AND o.proname = '_watch_row'
          AND o.args[1] = w.client_code AND o.args[2] = w.id_kind
    ) copies
    WHERE part.isleaf
) parts
WHERE c.oid IS NOT NULL OR NOT EXISTS (
    SELECT FROM target_profile.watched_table o
    JOIN pg_catalog.pg_class successor ON successor.oid = o."table"
    WHERE o.schema_name = w.schema_name AND o.table_name = w.table_name
      AND o.client_code = w.client_code AND o.id_kind = w.id_kind)
ORDER BY w.schema_name, w.table_name, w.client_code, w.id_kind;
COMMENT ON COLUMN target_profile.watch_state.state IS
    'table dropped, client not registered, column missing, trigger missing, trigger disabled, column renamed, table replaced or ok: the first that applies';
-- What these refuse is raised without their statements as context.

-- Raises an error that was caught, without the context that it had. An empty detail or hint is none.
CREATE OR REPLACE FUNCTION target_profile._raise(state text, message text, detail text, hint text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF detail = '' AND hint = '' THEN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message;
    ELSIF detail = '' THEN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, HINT = hint;
    ELSIF hint = '' THEN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail;
    END IF;
    RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail, HINT = hint;
END
$$;
COMMENT ON FUNCTION target_profile._raise(text, text, text, text) IS 'Internal: raises an error that was caught, without its context';
REVOKE ALL ON FUNCTION target_profile._raise(text, text, text, text) FROM PUBLIC;

-- What a function with its owner's rights writes to must belong to a role that has those rights: whoever owns a table attaches code to it
-- that runs in whatever writes there. The tables to be written are locked first, so that none is given away between this and the write.
CREATE FUNCTION target_profile._check_owners(VARIADIC locked name[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    written name;
    other record;
BEGIN
    FOREACH written IN ARRAY locked LOOP
        EXECUTE format('LOCK TABLE target_profile.%I IN ACCESS SHARE MODE', written);
    END LOOP;
    WITH RECURSIVE member AS (
        SELECT d.classid, d.objid
        FROM pg_depend d
        JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'target_profile'
    ), relation AS (
        SELECT m.objid AS oid FROM member m WHERE m.classid = 'pg_class'::regclass
        UNION
        SELECT i.inhrelid FROM relation r JOIN pg_inherits i ON i.inhparent = r.oid
    ), owned AS (
        SELECT 'pg_class'::regclass AS classid, c.oid, c.relowner AS owner
        FROM relation r
        JOIN pg_class c ON c.oid = r.oid AND c.relkind IN ('r', 'p', 'f', 'S')
        UNION ALL
        SELECT m.classid, p.oid, p.proowner
        FROM member m
        JOIN pg_proc p ON p.oid = m.objid
        WHERE m.classid = 'pg_proc'::regclass
    )
    SELECT pg_describe_object(o.classid, o.oid, 0) AS object, pg_get_userbyid(o.owner) AS owner
    INTO other
    FROM owned o
    WHERE NOT pg_has_role(o.owner, current_user, 'USAGE')
    ORDER BY o.classid, o.oid
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('%s belongs to role %s, which does not have the rights of role %s',
                other.object, quote_ident(other.owner), quote_ident(current_user)),
            DETAIL = 'What its owner has attached to it would run with the rights of the owner of the extension''s functions.',
            HINT = 'Give all objects of target_profile to one role with ALTER … OWNER TO.';
    END IF;
END
$$;
COMMENT ON FUNCTION target_profile._check_owners(name[]) IS 'Internal: refuses what would run code of another role with the rights of the extension''s owner';
REVOKE ALL ON FUNCTION target_profile._check_owners(name[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION target_profile.adopt() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT target_profile._check_owners('binding');
    INSERT INTO target_profile.binding (system_identifier, database_oid)
    SELECT target_profile._system_identifier(), d.oid FROM pg_database d WHERE d.datname = current_database()
    ON CONFLICT (one) DO UPDATE
        SET system_identifier = excluded.system_identifier,
            database_oid = excluded.database_oid,
            adopted_at = clock_timestamp();
    SELECT target_profile._wake();
$$;

CREATE OR REPLACE FUNCTION target_profile.pause(client_code text, reason text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM target_profile._check_owners('client');
    UPDATE target_profile.client AS c
    SET paused_at = clock_timestamp(), paused_by = 'admin', pause_reason = pause.reason
    WHERE c.client_code = pause.client_code;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_unregistered(pause.client_code);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION target_profile.resume(client_code text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM target_profile._check_owners('client');
    -- Also closes a breaker that is open: the worker sees that resumed_at has changed.
    UPDATE target_profile.client AS c
    SET paused_at = NULL, paused_by = NULL, pause_reason = NULL, resumed_at = clock_timestamp()
    WHERE c.client_code = resume.client_code;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_unregistered(resume.client_code);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION target_profile.remove_client(client_code text, dead_letter_waiting boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM target_profile._check_owners('client', 'outbox', 'dead_letter', 'overtaken', 'superseded', 'backing_off');
    DELETE FROM target_profile.client AS c WHERE c.client_code = remove_client.client_code;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_unregistered(remove_client.client_code);
    END IF;
    IF dead_letter_waiting THEN
        PERFORM target_profile._bury_orphans(remove_client.client_code);
    ELSIF EXISTS (SELECT FROM target_profile.outbox o WHERE o.client_code = remove_client.client_code) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('client "%s" has entries that wait to be sent', remove_client.client_code),
            HINT = 'Wait until they are sent, or call target_profile.remove_client(…, dead_letter_waiting => true), '
                'which moves them to target_profile.dead_letter.';
    END IF;
    DELETE FROM target_profile.backing_off AS b WHERE b.client_code = remove_client.client_code;
END
$$;

-- Attributes that newer updates of the profile have set since: whoever sends the dead letter again leaves them out.
CREATE FUNCTION target_profile._overtaken(id bigint, client_code text, id_kind text, profile_id text)
    RETURNS TABLE (attr text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT o.attr FROM target_profile.overtaken o WHERE o.id = $1
    UNION
    SELECT s.attr
    FROM target_profile.superseded s
    WHERE s.client_code = $2 AND s.id_kind = $3 AND s.profile_id = $4
      AND s.before_id > $1 AND (s.before_id > 1) = ($1 > 0);
$$;
REVOKE ALL ON FUNCTION target_profile._overtaken(bigint, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION target_profile._overtaken(bigint, text, text, text) IS 'Internal: attributes that newer updates have set since';

CREATE OR REPLACE FUNCTION target_profile.retry(id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    letter target_profile.dead_letter;
    checked record;
BEGIN
    PERFORM target_profile._check_owners('dead_letter', 'overtaken', 'superseded', 'outbox');
    SELECT * INTO letter FROM target_profile.dead_letter d WHERE d.id = retry.id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_no_dead_letter(retry.id);
    END IF;
    IF letter.discarded_at IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'the dead letter was discarded',
            DETAIL = format('The id is %s; it was discarded at %s.', retry.id, letter.discarded_at),
            HINT = 'If its values are to be sent all the same, enqueue them anew with target_profile_update.';
    END IF;
    SELECT * INTO checked FROM target_profile._check_update(
        letter.client_code, letter.id_kind, letter.profile_id, letter.attrs, letter.raw);
    IF checked.fault IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the dead letter cannot be sent as it is',
            DETAIL = checked.fault,
            HINT = 'Fix the cause and call target_profile.retry again, write the row again, or discard the dead letter with target_profile.discard.';
    END IF;
    IF NOT EXISTS (
        SELECT name COLLATE "C" FROM jsonb_object_keys(checked.attrs::jsonb) name
        EXCEPT
        SELECT target_profile._overtaken(letter.id, letter.client_code, letter.id_kind, letter.profile_id))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'newer updates of the profile have set all attributes of the dead letter',
            DETAIL = format('The id is %s.', retry.id),
            HINT = 'Discard it with target_profile.discard. If its older values are to replace the newer ones, '
                'enqueue them anew with target_profile_update.';
    END IF;
    IF EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = retry.id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'an entry of the outbox has the id of the dead letter',
            DETAIL = format('The id is %s; the sequence was set back.', retry.id),
            HINT = 'Call target_profile.retry again once that entry is sent.';
    END IF;
    PERFORM target_profile._put_back(ARRAY[retry.id]);
END
$$;

CREATE OR REPLACE FUNCTION target_profile.retry_all(client_code text, since timestamptz DEFAULT '-infinity') RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    ids bigint[];
    asked bigint;
    fault text;
BEGIN
    PERFORM target_profile._check_owners('dead_letter', 'overtaken', 'superseded', 'outbox');
    IF NOT EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = retry_all.client_code) THEN
        PERFORM target_profile._raise_unregistered(retry_all.client_code);
    END IF;
    WITH letter AS (
        SELECT d.id, d.client_code, d.id_kind, d.profile_id, d.attrs, d.raw
        FROM target_profile.dead_letter d
        WHERE d.client_code = retry_all.client_code AND d.failed_at >= retry_all.since AND d.discarded_at IS NULL
        FOR UPDATE
    ), checked AS (
        SELECT l.id, coalesce(c.fault, CASE
            WHEN NOT EXISTS (
                SELECT name COLLATE "C" FROM jsonb_object_keys(c.attrs::jsonb) name
                EXCEPT
                SELECT target_profile._overtaken(l.id, l.client_code, l.id_kind, l.profile_id))
            THEN 'newer updates of the profile have set all of its attributes'
            WHEN EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = l.id)
            THEN 'an entry of the outbox has its id' END) AS fault
        FROM letter l
        CROSS JOIN LATERAL target_profile._check_update(l.client_code, l.id_kind, l.profile_id, l.attrs, l.raw) c
    )
    SELECT array_agg(c.id ORDER BY c.id) FILTER (WHERE c.fault IS NULL), count(*), min(c.fault)
    INTO ids, asked, fault
    FROM checked c;
    PERFORM target_profile._put_back(ids);
    IF fault IS NOT NULL THEN
        RAISE WARNING USING
            MESSAGE = format('%s of %s dead letters stay where they are', asked - coalesce(cardinality(ids), 0), asked),
            DETAIL = format('One of the reasons: %s.', fault),
            HINT = 'target_profile.retry(id) says the reason of each.';
    END IF;
    RETURN coalesce(cardinality(ids), 0);
END
$$;

CREATE OR REPLACE FUNCTION target_profile.discard(id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM target_profile._check_owners('dead_letter');
    -- The first time counts.
    UPDATE target_profile.dead_letter AS d SET discarded_at = coalesce(d.discarded_at, clock_timestamp())
    WHERE d.id = discard.id;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_no_dead_letter(discard.id);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION target_profile.add_client(
    client_code text,
    endpoint text DEFAULT NULL,
    auth_token text DEFAULT NULL,
    method text DEFAULT NULL,
    daily_quota bigint DEFAULT NULL,
    backfill_share double precision DEFAULT NULL,
    delay interval DEFAULT NULL,
    arrays text DEFAULT NULL,
    null_value text DEFAULT NULL,
    max_attempts integer DEFAULT NULL,
    max_age interval DEFAULT NULL,
    max_in_flight integer DEFAULT NULL,
    timeout interval DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    PERFORM target_profile._check_owners('client', 'binding');
    IF EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = add_client.client_code) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = format('client "%s" is registered already', add_client.client_code),
            HINT = 'Change it with target_profile.set_client.';
    END IF;
    INSERT INTO target_profile.client (client_code) VALUES (add_client.client_code);
    -- In the same transaction, so the row is seen with its settings or not at all.
    PERFORM target_profile.set_client(
        add_client.client_code, add_client.endpoint, add_client.auth_token, add_client.method, add_client.daily_quota,
        add_client.backfill_share, add_client.delay, add_client.arrays, add_client.null_value, add_client.max_attempts,
        add_client.max_age, add_client.max_in_flight, add_client.timeout);
    INSERT INTO target_profile.binding (system_identifier, database_oid)
    SELECT target_profile._system_identifier(), d.oid FROM pg_database d WHERE d.datname = current_database()
    ON CONFLICT (one) DO NOTHING;
EXCEPTION WHEN invalid_parameter_value OR program_limit_exceeded THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    state := target_profile._raise(state, message, detail, hint);
WHEN integrity_constraint_violation THEN
    -- Its DETAIL has the row, and the token in it.
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    state := target_profile._raise(state, message, '', 'Give a value that the constraint admits, or change the constraint.');
END
$$;

-- NULL leaves a setting as it is; reset names settings that go back to their defaults.
CREATE OR REPLACE FUNCTION target_profile.set_client(
    client_code text,
    endpoint text DEFAULT NULL,
    auth_token text DEFAULT NULL,
    method text DEFAULT NULL,
    daily_quota bigint DEFAULT NULL,
    backfill_share double precision DEFAULT NULL,
    delay interval DEFAULT NULL,
    arrays text DEFAULT NULL,
    null_value text DEFAULT NULL,
    max_attempts integer DEFAULT NULL,
    max_age interval DEFAULT NULL,
    max_in_flight integer DEFAULT NULL,
    timeout interval DEFAULT NULL,
    reset text[] DEFAULT '{}'
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    setting text;
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    PERFORM target_profile._check_owners('client');
    UPDATE target_profile.client AS c SET
        endpoint = coalesce(set_client.endpoint, c.endpoint),
        auth_token = coalesce(set_client.auth_token, c.auth_token),
        method = coalesce(set_client.method, c.method),
        daily_quota = coalesce(set_client.daily_quota, c.daily_quota),
        backfill_share = coalesce(set_client.backfill_share, c.backfill_share),
        delay = coalesce(set_client.delay, c.delay),
        arrays = coalesce(set_client.arrays, c.arrays),
        null_value = coalesce(set_client.null_value, c.null_value),
        max_attempts = coalesce(set_client.max_attempts, c.max_attempts),
        max_age = coalesce(set_client.max_age, c.max_age),
        max_in_flight = coalesce(set_client.max_in_flight, c.max_in_flight),
        timeout = coalesce(set_client.timeout, c.timeout)
    WHERE c.client_code = set_client.client_code;
    IF NOT FOUND THEN
        PERFORM target_profile._raise_unregistered(set_client.client_code);
    END IF;
    FOREACH setting IN ARRAY coalesce(reset, '{}') LOOP
        IF setting IS NULL OR setting NOT IN (
            'endpoint', 'auth_token', 'method', 'daily_quota', 'backfill_share', 'delay', 'arrays', 'null_value',
            'max_attempts', 'max_age', 'max_in_flight', 'timeout')
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'reset names a setting that does not exist',
                DETAIL = format('The name is %L.', setting),
                HINT = 'Settings are the columns of target_profile.client from endpoint to timeout.';
        END IF;
        EXECUTE format('UPDATE target_profile.client SET %I = DEFAULT WHERE client_code = $1', setting)
            USING set_client.client_code;
    END LOOP;
    -- A new token is the cure for a client that was paused because the old one was refused.
    IF set_client.auth_token IS NOT NULL OR 'auth_token' = ANY (reset) THEN
        UPDATE target_profile.client AS c SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
        WHERE c.client_code = set_client.client_code AND c.paused_by = 'unauthorized';
    END IF;
-- The CONTEXT of the error would show the statements of this function, which are longer than what is wrong.
EXCEPTION WHEN invalid_parameter_value OR program_limit_exceeded THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    state := target_profile._raise(state, message, detail, hint);
WHEN integrity_constraint_violation THEN
    -- Its DETAIL has the row, and the token in it.
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    state := target_profile._raise(state, message, '', 'Give a value that the constraint admits, or change the constraint.');
END
$$;

-- Dead letters always fit, and their ids never collide.
-- An id that neither an entry nor a dead letter has, below all that the sequence gives: what is buried or sent again under it is older
-- than whatever is enqueued from now on. A later one is higher.
CREATE FUNCTION target_profile._spare_id() RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    spare bigint;
BEGIN
    LOOP
        spare := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1024 + floor(random() * 1024)::bigint
            - 4611686018427387904;
        EXIT WHEN NOT EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = spare)
            AND NOT EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = spare)
            AND NOT EXISTS (SELECT FROM target_profile.overtaken v WHERE v.id = spare);
    END LOOP;
    RETURN spare;
END
$$;

-- The number of rows that were moved into a table, if it has taken all of them.
CREATE FUNCTION target_profile._check_moved(table_name name, asked bigint, moved bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF moved < asked THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('INSERT into target_profile.%I left out rows: a trigger or rule on the table suppresses them', table_name),
            DETAIL = format('%s of %s rows were written.', moved, asked),
            HINT = 'psql''s \d shows the triggers and rules of the table. Drop it, or have the trigger return the row.';
    END IF;
    RETURN moved;
END
$$;
COMMENT ON FUNCTION target_profile._check_moved(name, bigint, bigint) IS 'Internal: refuses to lose rows that a trigger keeps out of a table';
REVOKE ALL ON FUNCTION target_profile._check_moved(name, bigint, bigint) FROM PUBLIC;

-- Moves the entries of a client that is not registered to the dead letters: called when it is removed, and by the worker for
-- entries of transactions that committed after the removal. An id that another dead letter has already is left to that one.
CREATE OR REPLACE FUNCTION target_profile._bury_orphans(client_code text) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM target_profile.outbox o
        WHERE o.client_code = $1
          AND NOT EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = $1)
        RETURNING o.*
    ), placed AS MATERIALIZED (
        SELECT g.id, taken.taken, CASE WHEN taken.taken THEN target_profile._spare_id() ELSE g.id END AS letter_id
        FROM gone g
        CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM target_profile.dead_letter l WHERE l.id = g.id)) taken (taken)
    ), overtaken AS (
        INSERT INTO target_profile.overtaken (id, attr)
        SELECT p.letter_id, since.attr
        FROM placed p JOIN gone g USING (id)
        CROSS JOIN LATERAL target_profile._overtaken(g.id, g.client_code, g.id_kind, g.profile_id) since
        WHERE p.taken AND g.retried_at IS NOT NULL
    ), buried AS (
        INSERT INTO target_profile.dead_letter
            (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, next_attempt_at,
             last_outcome, reason, enqueued_by)
        SELECT p.letter_id,
            g.client_code, g.id_kind, g.profile_id, g.attrs, g.priority, g.source, g.enqueued_at, greatest(g.attempts, 0),
            g.next_attempt_at, g.last_outcome,
            CASE WHEN p.taken THEN format('the client was removed; it was entry %s, an id that another dead letter has', g.id)
                ELSE 'the client was removed' END,
            g.enqueued_by
        FROM gone g JOIN placed p USING (id)
        RETURNING 1
    )
    SELECT target_profile._check_moved('dead_letter', (SELECT count(*) FROM gone), (SELECT count(*) FROM buried))
$$;

-- Moves dead letters that were checked to the outbox. They keep their ids, so that entries which were written later and still
-- wait win over them, and their attempts and age count anew.
CREATE OR REPLACE FUNCTION target_profile._put_back(ids bigint[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH letter AS (
        DELETE FROM target_profile.dead_letter d WHERE d.id = ANY ($1) RETURNING d.*
    ), back AS (
        INSERT INTO target_profile.outbox
            (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, last_outcome, retried_at,
             enqueued_by)
        SELECT l.id, l.client_code,
            -- An alias, as a row was buried with by 0.1.0.
            CASE l.id_kind WHEN 'pcId' THEN 'mboxPC' WHEN 'tntId' THEN 'mboxPC' WHEN 'thirdPartyId' THEN 'mbox3rdPartyId' ELSE l.id_kind END,
            l.profile_id, c.attrs::jsonb, l.priority, l.source,
            CASE WHEN isfinite(l.enqueued_at) THEN l.enqueued_at ELSE clock_timestamp() END,
            l.last_outcome, clock_timestamp(), l.enqueued_by
        FROM letter l
        CROSS JOIN LATERAL target_profile._check_update(l.client_code, l.id_kind, l.profile_id, l.attrs, l.raw) c
        ORDER BY l.id
        RETURNING 1
    )
    SELECT target_profile._check_moved('outbox', coalesce(cardinality($1), 0), (SELECT count(*) FROM back));
    SELECT target_profile._wake_for_all() WHERE cardinality($1) > 0;
$$;

REVOKE ALL ON FUNCTION target_profile._spare_id() FROM PUBLIC;
COMMENT ON FUNCTION target_profile._spare_id() IS 'Internal: an id below all that the sequence gives';

-- Dead letters of rows had the id kind as it was given.
UPDATE target_profile.dead_letter AS d
SET id_kind = CASE d.id_kind WHEN 'thirdPartyId' THEN 'mbox3rdPartyId' ELSE 'mboxPC' END
WHERE d.id_kind IN ('thirdPartyId', 'pcId', 'tntId');

-- What no row of these tables may hold, whoever writes it.

UPDATE target_profile.dead_letter AS d
SET attempts = greatest(d.attempts, 0), failed_at = CASE WHEN isfinite(d.failed_at) THEN d.failed_at ELSE clock_timestamp() END
WHERE d.attempts < 0 OR NOT isfinite(d.failed_at);
ALTER TABLE target_profile.dead_letter
    ADD CONSTRAINT attempts_are_counted CHECK (attempts >= 0),
    ADD CONSTRAINT failed_at_is_finite CHECK (isfinite(failed_at));

-- The rows are read once, under the lock that is held already, and once more if one of them fails: then they are mended where that
-- changes nothing of what will be sent, and buried otherwise.
DO $$
BEGIN
    FOR attempt IN 1..2 LOOP
        BEGIN
            ALTER TABLE target_profile.outbox
                ADD CONSTRAINT client_code_is_a_label
                    CHECK (octet_length(client_code) <= 63 AND client_code ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'),
                ADD CONSTRAINT id_kind_is_known CHECK (id_kind IN ('mboxPC', 'mbox3rdPartyId')),
                ADD CONSTRAINT profile_id_fits CHECK (char_length(profile_id) BETWEEN 1 AND 256),
                ADD CONSTRAINT attrs_are_an_object CHECK (jsonb_typeof(attrs) = 'object'),
                ADD CONSTRAINT attempts_are_counted CHECK (attempts >= 0),
                ADD CONSTRAINT times_are_finite
                    CHECK (isfinite(enqueued_at) AND isfinite(next_attempt_at) AND isfinite(retried_at));
            EXIT;
        EXCEPTION WHEN check_violation THEN
            IF attempt = 2 THEN
                RAISE;
            END IF;
        END;
        UPDATE target_profile.outbox AS o SET
            id_kind = CASE WHEN o.id_kind IN ('pcId', 'tntId') THEN 'mboxPC'
                WHEN o.id_kind = 'thirdPartyId' THEN 'mbox3rdPartyId' ELSE o.id_kind END,
            attempts = greatest(o.attempts, 0),
            enqueued_at = CASE WHEN isfinite(o.enqueued_at) THEN o.enqueued_at ELSE clock_timestamp() END,
            next_attempt_at = CASE WHEN isfinite(o.next_attempt_at) THEN o.next_attempt_at END,
            retried_at = CASE WHEN isfinite(o.retried_at) THEN o.retried_at ELSE clock_timestamp() END
        WHERE o.id_kind IN ('pcId', 'tntId', 'thirdPartyId') OR o.attempts < 0
           OR NOT (isfinite(o.enqueued_at) AND isfinite(coalesce(o.next_attempt_at, now())) AND isfinite(coalesce(o.retried_at, now())));
        WITH gone AS (
            DELETE FROM target_profile.outbox o
            WHERE octet_length(o.client_code) > 63 OR o.client_code !~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'
               OR o.id_kind NOT IN ('mboxPC', 'mbox3rdPartyId')
               OR char_length(o.profile_id) NOT BETWEEN 1 AND 256 OR jsonb_typeof(o.attrs) <> 'object'
            RETURNING o.*
        )
        INSERT INTO target_profile.dead_letter
            (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, next_attempt_at, last_outcome, reason)
        SELECT CASE WHEN EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = g.id) THEN target_profile._spare_id() ELSE g.id END,
            g.client_code, g.id_kind, g.profile_id, g.attrs, g.priority, g.source, g.enqueued_at, g.attempts, g.next_attempt_at,
            g.last_outcome, format('entry %s was no update that can be sent, when target_profile was brought to 0.2.0', g.id)
        FROM gone g;
    END LOOP;
END
$$;

COMMENT ON VIEW target_profile.worker IS 'Each database that has a worker or is meant to have one: process, state, what is wrong';
COMMENT ON COLUMN target_profile.worker.last_error IS 'What is wrong at present, or what an upgrade still needs; null when it is over';
COMMENT ON COLUMN target_profile.worker.last_error_at IS 'When an error happened last; stays when it is over';

-- What runs as the owner sees all rows of his tables, or says why not: policies that are forced on them must not make them look empty.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'target_profile'::regnamespace AND p.prosecdef
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET row_security = off', f);
    END LOOP;
END
$$;

-- Nothing that is left may be bound to what is neither Postgres' own nor the extension's.
DO $$
DECLARE
    bound record;
BEGIN
    FOR bound IN
        WITH member AS (
            SELECT d.classid, d.objid
            FROM pg_depend d
            JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
            WHERE e.extname = 'target_profile' AND d.deptype = 'e'
        ), part AS (
            SELECT m.classid, m.objid FROM member m
            UNION ALL
            SELECT 'pg_rewrite'::regclass, w.oid
            FROM pg_rewrite w JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = w.ev_class
            UNION ALL
            SELECT 'pg_attrdef'::regclass, a.oid
            FROM pg_attrdef a JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = a.adrelid
            UNION ALL
            SELECT 'pg_constraint'::regclass, c.oid
            FROM pg_constraint c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.conrelid
            UNION ALL
            SELECT 'pg_class'::regclass, i.indexrelid
            FROM pg_index i JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = i.indrelid
        )
        SELECT DISTINCT pg_describe_object(p.classid, p.objid, 0) AS ours, pg_describe_object(d.refclassid, d.refobjid, 0) AS others
        FROM part p
        JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
        CROSS JOIN LATERAL pg_identify_object(d.refclassid, d.refobjid, 0) o
        WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_class'::regclass,
                'pg_cast'::regclass, 'pg_collation'::regclass, 'pg_opclass'::regclass)
          AND o.schema NOT IN ('pg_catalog', 'target_profile')
          AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid)
    LOOP
        RAISE WARNING USING
            MESSAGE = format('%s depends on %s', bound.ours, bound.others),
            DETAIL = 'That is part of neither PostgreSQL nor target_profile.',
            HINT = 'If you have not made it so, somebody has had it run by others: look at what it does, and drop it.';
    END LOOP;
END
$$;

-- The worker looks at the versions anew.
SELECT target_profile._wake();
