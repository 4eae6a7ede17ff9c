-- Nothing is for everybody. Who may do what is granted by target_profile.grant_to.

-- The grants of a level, as GRANT or REVOKE wants them, one a row.
CREATE FUNCTION target_profile._privileges(level text) RETURNS TABLE (privilege text, object text)
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

-- The functions that live in the schema which CREATE EXTENSION names.
CREATE FUNCTION target_profile._entry_points() RETURNS regprocedure[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(p.oid::regprocedure)
    FROM pg_depend d
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'target_profile'
    JOIN pg_proc p ON p.oid = d.objid
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND p.pronamespace <> 'target_profile'::regnamespace
$$;

-- What wiring a table takes, what its triggers run, and what sends the rows that are there already.
CREATE FUNCTION target_profile._watch_functions() RETURNS regprocedure[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(p.oid::regprocedure)
    FROM pg_proc p
    WHERE p.pronamespace = 'target_profile'::regnamespace
      AND p.proname IN ('watch', 'unwatch', '_watch_row', '_watch_flush', 'backfill', 'stop_backfill',
          '_backfill_begin', '_backfill_chunk', '_backfill_failed', '_backfill_end')
$$;

-- What decides for the view status how a client stands; by its name, because its arguments are many.
CREATE FUNCTION target_profile._standing_function() RETURNS regprocedure
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'target_profile'::regnamespace AND p.proname = '_standing'
$$;

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

-- Not SECURITY DEFINER: whoever hands out rights must have them.
CREATE FUNCTION target_profile.grant_to(role regrole, level text) RETURNS void
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

-- What another level of the role also needs is granted again.
CREATE FUNCTION target_profile.revoke_from(role regrole, level text DEFAULT NULL) RETURNS void
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

-- Whether the role itself has been granted the level: each has a right that tells it from the others, but for writer, which is
-- part of admin and goes with it.
CREATE FUNCTION target_profile._has_level(role regrole, level text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE level
        WHEN 'admin' THEN EXISTS (
            SELECT FROM pg_proc p, aclexplode(p.proacl) a
            WHERE p.oid = 'target_profile.pause(text, text)'::regprocedure AND a.grantee = role)
        WHEN 'writer' THEN NOT target_profile._has_level(role, 'admin') AND EXISTS (
            SELECT FROM pg_proc p, aclexplode(p.proacl) a
            WHERE p.oid = ANY (target_profile._entry_points()) AND p.prorettype = 'trigger'::regtype
              AND a.grantee = role)
        WHEN 'reader' THEN EXISTS (
            SELECT FROM pg_attribute t, aclexplode(t.attacl) a
            WHERE t.attrelid = 'target_profile.client'::regclass AND t.attname = 'client_code' AND a.grantee = role)
    END
$$;
