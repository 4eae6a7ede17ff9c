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
    ), buried AS (
        INSERT INTO target_profile.dead_letter
            (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, next_attempt_at,
             last_outcome, reason)
        SELECT CASE WHEN taken.taken THEN target_profile._spare_id() ELSE g.id END,
            g.client_code, g.id_kind, g.profile_id, g.attrs, g.priority, g.source, g.enqueued_at, g.attempts, g.next_attempt_at,
            g.last_outcome,
            CASE WHEN taken.taken THEN format('the client was removed; it was entry %s, an id that another dead letter has', g.id)
                ELSE 'the client was removed' END
        FROM gone g
        CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM target_profile.dead_letter l WHERE l.id = g.id)) taken (taken)
        RETURNING 1
    )
    SELECT count(*) FROM buried
$$;

-- Moves dead letters that were checked to the outbox. They keep their ids, so that entries which were written later and still
-- wait win over them, and their attempts and age count anew. One whose id another entry has (the sequence was set back) gets one below
-- all others; what newer updates have set since goes with it.
CREATE OR REPLACE FUNCTION target_profile._put_back(ids bigint[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH letter AS MATERIALIZED (
        SELECT d.*, CASE
            WHEN EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = d.id) THEN target_profile._spare_id()
            ELSE d.id END AS entry_id
        FROM target_profile.dead_letter d
        WHERE d.id = ANY ($1)
        ORDER BY d.id
    ), gone AS (
        DELETE FROM target_profile.dead_letter d WHERE d.id = ANY ($1)
    ), overtaken AS (
        INSERT INTO target_profile.overtaken (id, attr)
        SELECT l.entry_id, v.attr FROM letter l JOIN target_profile.overtaken v ON v.id = l.id WHERE l.entry_id <> l.id
        ON CONFLICT DO NOTHING
    )
    INSERT INTO target_profile.outbox
        (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, last_outcome, retried_at)
    SELECT l.entry_id, l.client_code,
        -- An alias, as a row was buried with by 0.1.0.
        CASE l.id_kind WHEN 'pcId' THEN 'mboxPC' WHEN 'tntId' THEN 'mboxPC' WHEN 'thirdPartyId' THEN 'mbox3rdPartyId' ELSE l.id_kind END,
        l.profile_id, c.attrs::jsonb, l.priority, l.source, l.enqueued_at, l.last_outcome, clock_timestamp()
    FROM letter l
    CROSS JOIN LATERAL target_profile._check_update(l.client_code, l.id_kind, l.profile_id, l.attrs, l.raw) c
    ORDER BY l.entry_id;
    SELECT target_profile._wake_for_all() WHERE cardinality($1) > 0;
$$;

REVOKE ALL ON FUNCTION target_profile._spare_id() FROM PUBLIC;
COMMENT ON FUNCTION target_profile._spare_id() IS 'Internal: an id below all that the sequence gives';

-- Dead letters of rows had the id kind as it was given.
UPDATE target_profile.dead_letter AS d
SET id_kind = CASE d.id_kind WHEN 'thirdPartyId' THEN 'mbox3rdPartyId' ELSE 'mboxPC' END
WHERE d.id_kind IN ('thirdPartyId', 'pcId', 'tntId');

COMMENT ON VIEW target_profile.worker IS 'Each database that has a worker or is meant to have one: process, state, what is wrong';
COMMENT ON COLUMN target_profile.worker.last_error IS 'What is wrong at present, or what an upgrade still needs; null when it is over';
COMMENT ON COLUMN target_profile.worker.last_error_at IS 'When an error happened last; stays when it is over';

-- The worker looks at the versions anew.
SELECT target_profile._wake();
