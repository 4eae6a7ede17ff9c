-- The days of response. A partition may also be somebody else's: moved to another schema, for another range, a foreign table.

-- What each partition takes. Without bounds: the default partition. A day is the worker's own if it has the name, the place and
-- the bounds that the worker gives.
CREATE FUNCTION target_profile._response_partitions()
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
CREATE FUNCTION target_profile._revoke_defaults(table_name name) RETURNS void
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
CREATE FUNCTION target_profile._ensure_response_partition(day date) RETURNS void
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
CREATE FUNCTION target_profile._ensure_response_stray() RETURNS void
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
CREATE FUNCTION target_profile._response_parts(since timestamptz) RETURNS TABLE (part text, is_day boolean)
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
CREATE FUNCTION target_profile._last_response(entry bigint, since timestamptz)
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
CREATE FUNCTION target_profile._response_partitions_before(before timestamptz)
    RETURNS TABLE (partition_name name, day date)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET TimeZone = 'UTC'
AS $$
    SELECT p.partition_name, p.takes_from::date
    FROM target_profile._response_partitions() p
    WHERE p.is_day AND p.takes_to <= before
    ORDER BY 2
$$;

CREATE FUNCTION target_profile._drop_response_partition(partition_name name) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('DROP TABLE target_profile.%I', partition_name);
END
$$;

-- For the library of 0.1.0, which knows no other; a few at a time.
CREATE FUNCTION target_profile._drop_response_partitions(before timestamptz) RETURNS integer
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
