-- Registering, changing, pausing and removing clients. They run as the extension's owner; who may call them is a grant.

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

CREATE FUNCTION target_profile.adopt() RETURNS void
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

CREATE FUNCTION target_profile._is_adopted() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM target_profile.binding b
        JOIN pg_database d ON d.oid = b.database_oid
        WHERE d.datname = current_database() AND b.system_identifier = target_profile._system_identifier())
$$;

CREATE FUNCTION target_profile.add_client(
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
CREATE FUNCTION target_profile.set_client(
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

CREATE FUNCTION target_profile.pause(client_code text, reason text DEFAULT NULL) RETURNS void
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

CREATE FUNCTION target_profile.resume(client_code text) RETURNS void
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

-- Entries that wait are not thrown away by the way: either there are none, or the caller says that they go to the dead letters.
CREATE FUNCTION target_profile.remove_client(client_code text, dead_letter_waiting boolean DEFAULT false) RETURNS void
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

-- Moves the entries of a client that is not registered to the dead letters: called when it is removed, and by the worker for
-- entries of transactions that committed after the removal. An id that another dead letter has already is left to that one.
CREATE FUNCTION target_profile._bury_orphans(client_code text) RETURNS bigint
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

CREATE FUNCTION target_profile._raise_unregistered(client_code text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value',
        MESSAGE = 'client is not registered',
        DETAIL = format('The client code is %L.', client_code),
        HINT = 'Register it with target_profile.add_client; target_profile.client lists the clients that are.';
END
$$;

-- Raises an error that was caught, without the context that it had. An empty detail or hint is none.
CREATE FUNCTION target_profile._raise(state text, message text, detail text, hint text) RETURNS text
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
