-- From 0.1.0 to 0.2.0. No table is locked or rewritten, and no trigger is touched: writers and the worker go on beside it.
\echo Use "ALTER EXTENSION target_profile UPDATE" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- A writer may read backfill_progress.

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
    -- Every level: the schema's name, and what became of an entry whose id one has.
    RETURN QUERY
    SELECT 'USAGE', 'SCHEMA target_profile'
    UNION ALL
    SELECT 'EXECUTE', 'FUNCTION ' || f::text
    FROM unnest(ARRAY['target_profile.result(bigint)', 'target_profile.wait(bigint, interval)',
        'target_profile._in_flight(text, text, text, bigint)']::regprocedure[]) f;
    IF level IN ('writer', 'admin') THEN
        RETURN QUERY
        SELECT 'EXECUTE', 'ROUTINE ' || f::text
        FROM unnest(target_profile._entry_points() || target_profile._watch_functions()) f;
    END IF;
    IF level = 'writer' THEN
        -- Whoever may backfill sees how far it is.
        RETURN QUERY
        SELECT 'SELECT', 'TABLE target_profile.backfill_progress';
    END IF;
    IF level IN ('reader', 'admin') THEN
        RETURN QUERY
        SELECT 'SELECT', 'TABLE target_profile.' || quote_ident(t)
        FROM unnest(ARRAY['outbox', 'response', 'dead_letter', 'overtaken', 'activity', 'backing_off', 'status', 'worker',
            'watched_table', 'watch_state', 'backfill_run', 'backfill_progress']) t;
        RETURN QUERY
        SELECT 'EXECUTE', 'FUNCTION ' || f::text
        FROM unnest(ARRAY['target_profile._workers()', 'target_profile._is_adopted()',
            'target_profile._system_identifier()']::regprocedure[] || target_profile._standing_function()) f;
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

-- Who has the level has what it now comprises.
DO $$
DECLARE
    writer regrole;
BEGIN
    FOR writer IN SELECT r.oid::regrole FROM pg_roles r WHERE target_profile._has_level(r.oid::regrole, 'writer') LOOP
        EXECUTE format('GRANT SELECT ON target_profile.backfill_progress TO %s', writer);
    END LOOP;
END
$$;

-- What is granted in an extension's script counts as part of the extension, with all that was granted on the object before, and
-- pg_dump leaves it out. These are grants to the roles of this server: a dump must have them. (pg_shdepend has something of it from
-- PostgreSQL 17 on.)
DELETE FROM pg_shdepend d
WHERE d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()) AND d.deptype = 'i'
  AND d.classid = 'pg_class'::regclass AND d.objid = 'target_profile.backfill_progress'::regclass;
DELETE FROM pg_init_privs p
WHERE p.classoid = 'pg_class'::regclass AND p.objoid = 'target_profile.backfill_progress'::regclass;

COMMENT ON VIEW target_profile.worker IS 'Each database that has a worker or is meant to have one: process, state, what is wrong';
COMMENT ON COLUMN target_profile.worker.last_error IS 'What is wrong at present, or what an upgrade still needs; null when it is over';
COMMENT ON COLUMN target_profile.worker.last_error_at IS 'When an error happened last; stays when it is over';

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
        LEFT JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$')
            AS b (bound) ON true
        WHERE i.inhparent = 'target_profile.response'::regclass AND NOT i.inhdetachpending
    ) p
$$;

-- Built beside the table and attached, because CREATE TABLE … PARTITION OF would lock response against everybody who reads it.
CREATE OR REPLACE FUNCTION target_profile._ensure_response_partition(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET TimeZone = 'UTC'
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
END
$$;

-- Where responses go when response cannot take them: its partition for the day is a foreign table, or has constraints or triggers
-- of somebody's. It stays until somebody has moved the rows and drops it.
CREATE OR REPLACE FUNCTION target_profile._ensure_response_stray() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF to_regclass('target_profile.response_stray') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE target_profile.response_stray (LIKE target_profile.response INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    CREATE INDEX ON target_profile.response_stray ((outbox_ids[1]));
    CREATE INDEX ON target_profile.response_stray USING gin (outbox_ids) WHERE cardinality(outbox_ids) > 1;
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
    RETURNS TABLE (id bigint, http_status integer, message text, outcome text, answered_at timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
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
                    r.sent_at + r.duration AS answered_at
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

CREATE OR REPLACE FUNCTION target_profile.result(id bigint)
    RETURNS TABLE (state text, response_id bigint, http_status integer, message text, finished_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH last_response AS MATERIALIZED (
        SELECT r.id, r.http_status, r.message, r.outcome, r.answered_at
        FROM target_profile._last_response($1, coalesce(
            (SELECT o.enqueued_at FROM target_profile.outbox o WHERE o.id = $1),
            (SELECT d.enqueued_at FROM target_profile.dead_letter d WHERE d.id = $1), '-infinity')) r
    ), waiting AS (
        SELECT CASE
                WHEN target_profile._in_flight(o.client_code, o.id_kind, o.profile_id, o.id) THEN 'in flight'
                ELSE 'waiting'
            END AS state
        FROM target_profile.outbox o WHERE o.id = $1
    )
    SELECT w.state, l.id, l.http_status, l.message, NULL::timestamptz
    FROM waiting w LEFT JOIN last_response l ON true
    UNION ALL
    SELECT CASE WHEN d.discarded_at IS NULL THEN 'dead' ELSE 'discarded' END, d.response_id, l.http_status, d.reason,
        coalesce(d.discarded_at, d.failed_at)
    FROM target_profile.dead_letter d LEFT JOIN last_response l ON l.id = d.response_id
    WHERE d.id = $1
    UNION ALL
    SELECT 'accepted', l.id, l.http_status, l.message, l.answered_at
    FROM last_response l
    WHERE l.outcome = 'accepted'
      AND NOT EXISTS (SELECT FROM waiting)
      AND NOT EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = $1)
$$;

REVOKE ALL ON FUNCTION target_profile._response_partitions() FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._response_parts(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._last_response(bigint, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._ensure_response_stray() FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._drop_response_partition(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION target_profile._uncounted_responses() FROM PUBLIC;
COMMENT ON FUNCTION target_profile._response_partitions() IS 'Internal: what each partition of response takes';
COMMENT ON FUNCTION target_profile._response_parts(timestamptz) IS 'Internal: the tables that may hold responses since then, the newest first';
COMMENT ON FUNCTION target_profile._last_response(bigint, timestamptz) IS 'Internal: the last response to an entry';
COMMENT ON FUNCTION target_profile._ensure_response_stray() IS 'Internal: makes the table for responses that response cannot take';
COMMENT ON FUNCTION target_profile._drop_response_partition(name) IS 'Internal: drops a partition of response';
COMMENT ON FUNCTION target_profile._drop_response_partitions(timestamptz) IS 'Internal: drops some of those that are over, for the library of 0.1.0';
COMMENT ON FUNCTION target_profile._uncounted_responses() IS 'Internal: responses that activity does not count yet';

-- What can be moved along when the clock is set.
ALTER TABLE target_profile.activity
    ADD CHECK (minute >= '2000-01-01 00:00:00+00' AND minute < '3000-01-01 00:00:00+00');

-- The worker looks at the versions anew.
SELECT target_profile._wake();
