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

-- Whether it is still so. A trigger is known by its function and its arguments, so one that was renamed is found; a partition has a copy of
-- the row triggers. WHEN follows the columns that it was made of, and the trigger reads columns by their names: after columns have
-- swapped names it is not the same column any more. A watch of a dropped table that another table of this name has taken over is over.
CREATE OR REPLACE VIEW target_profile.watch_state AS
WITH ours AS (
    SELECT t.oid, t.tgrelid, t.tgenabled, t.tgtype, p.proname,
        pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), '\000') AS args
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
              AND NOT EXISTS (
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

COMMENT ON VIEW target_profile.worker IS 'Each database that has a worker or is meant to have one: process, state, what is wrong';
COMMENT ON COLUMN target_profile.worker.last_error IS 'What is wrong at present, or what an upgrade still needs; null when it is over';
COMMENT ON COLUMN target_profile.worker.last_error_at IS 'When an error happened last; stays when it is over';

-- The worker looks at the versions anew.
SELECT target_profile._wake();
