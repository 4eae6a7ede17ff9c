-- The days of response. Built beside the table and attached, because CREATE TABLE … PARTITION OF would lock response against
-- everybody who reads it.
CREATE FUNCTION target_profile._ensure_response_partition(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    -- The bounds are written as text, and read again.
    SET datestyle = 'ISO, YMD' SET timezone = 'UTC'
    SET default_table_access_method = heap
AS $$
DECLARE
    partition_name text := 'response_' || to_char(day, 'YYYYMMDD');
    granted record;
BEGIN
    IF to_regclass('target_profile.' || quote_ident(partition_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE TABLE target_profile.%I (LIKE target_profile.response INCLUDING ALL, PRIMARY KEY (id))', partition_name);
    -- What became of an entry: nearly all requests carry one entry; merged ones are looked up in the second index.
    EXECUTE format('CREATE INDEX ON target_profile.%I ((outbox_ids[1]))', partition_name);
    EXECUTE format(
        'CREATE INDEX ON target_profile.%I USING gin (outbox_ids) WHERE cardinality(outbox_ids) > 1', partition_name);
    EXECUTE format(
        'ALTER TABLE target_profile.response ATTACH PARTITION target_profile.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    -- By the owner's default privileges: the days are read by way of response.
    FOR granted IN
        SELECT DISTINCT a.grantee
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'target_profile'::regnamespace AND c.relname = partition_name AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE target_profile.%I FROM %s', partition_name,
            CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END);
    END LOOP;
END
$$;

-- The days of response that end before the given point in time, oldest first.
CREATE FUNCTION target_profile._response_partitions_before(before timestamptz)
    RETURNS TABLE (partition_name name, day date)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.relname, to_date(substr(c.relname, 10), 'YYYYMMDD')
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'target_profile.response'::regclass
      AND c.relname ~ '^response_[0-9]{8}$'
      AND (to_date(substr(c.relname, 10), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= before
    ORDER BY 2
$$;

CREATE FUNCTION target_profile._drop_response_partitions(before timestamptz) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old record;
    dropped integer := 0;
BEGIN
    FOR old IN SELECT partition_name FROM target_profile._response_partitions_before(before) LOOP
        EXECUTE format('DROP TABLE target_profile.%I', old.partition_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
