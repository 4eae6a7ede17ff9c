-- The last run of target_profile.backfill for each watch. It is written once a chunk, in the transaction of the chunk's entries, so
-- whatever ends a run, it goes on where it stopped. Fillfactor: the versions stay on one page (HOT).
-- ordered_by is the id in whose order the rows are read, and its type. "where" is the condition as it was given, condition as Postgres writes it. last_id is the id, as text, up to which the rows are
-- done; locked_ids are ids among them whose rows others had locked. sorts: no index gives the order of the ids.
CREATE SEQUENCE target_profile.backfill_run_id_seq AS integer;
CREATE TABLE target_profile.backfill_run (
    "table" regclass,
    client_code text COLLATE "C",
    id_kind text COLLATE "C",
    id integer NOT NULL UNIQUE DEFAULT pg_catalog.nextval('target_profile.backfill_run_id_seq'),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    ordered_by text NOT NULL,
    "where" text,
    condition text,
    sorts boolean NOT NULL DEFAULT false,
    total_estimate bigint NOT NULL DEFAULT 0,
    last_id text,
    at_end boolean NOT NULL DEFAULT false,
    locked_ids text[] NOT NULL DEFAULT '{}',
    rows_done bigint NOT NULL DEFAULT 0,
    entries bigint NOT NULL DEFAULT 0,
    invalid bigint NOT NULL DEFAULT 0,
    without_id bigint NOT NULL DEFAULT 0,
    started_by text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    called_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    called_rows bigint NOT NULL DEFAULT 0,
    last_chunk_at timestamptz,
    stop_requested boolean NOT NULL DEFAULT false,
    stopped_at timestamptz,
    finished_at timestamptz,
    last_error text,
    PRIMARY KEY ("table", client_code, id_kind)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER SEQUENCE target_profile.backfill_run_id_seq OWNED BY target_profile.backfill_run.id;
SELECT pg_catalog.pg_extension_config_dump('target_profile.backfill_run', '');
SELECT pg_catalog.pg_extension_config_dump('target_profile.backfill_run_id_seq', '');

-- Whether it is running is a lock of the session that runs it, and no flag: a crash leaves no lock. A condition and an error tell of
-- what is in the table: they are shown to whoever started the run, to the table's owner and to whoever may read backfill_run.
CREATE VIEW target_profile.backfill_progress WITH (security_barrier) AS
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

-- Commits as it goes, so it can have no SET clause: every name and operator is qualified. What it reads it reads with the caller's rights.
CREATE PROCEDURE target_profile.backfill(
    "table" regclass, "where" text DEFAULT NULL, client_code text DEFAULT NULL, id_kind text DEFAULT NULL,
    chunk integer DEFAULT 1000, restart boolean DEFAULT false)
LANGUAGE plpgsql AS $$
DECLARE
    run pg_catalog.int4;
    outcome pg_catalog.text;
    sqlstate_of pg_catalog.text;
    message pg_catalog.text;
    detail pg_catalog.text;
    hint pg_catalog.text;
    told pg_catalog.bool := false;
BEGIN
    run := target_profile._backfill_begin("table", "where", client_code, id_kind, chunk, restart);
    LOOP
        COMMIT;
        -- A row that somebody has changed since is read as it is now, and is no serialization failure.
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        BEGIN
            outcome := target_profile._backfill_chunk(run, chunk);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS sqlstate_of = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            outcome := 'failed';
            PERFORM target_profile._backfill_failed(run, message);
        END;
        IF outcome OPERATOR(pg_catalog.=) 'wait'::pg_catalog.text THEN
            IF NOT told THEN
                RAISE NOTICE 'waiting for rows that other transactions have locked'
                    USING HINT = 'The column locked of target_profile.backfill_progress counts them.';
                told := true;
            END IF;
            -- Without a lock on the table or on any row.
            COMMIT;
            PERFORM pg_catalog.pg_sleep(0.2);
        END IF;
        EXIT WHEN outcome OPERATOR(pg_catalog.=) ANY ('{finished,stopped,failed}'::pg_catalog.text[]);
    END LOOP;
    COMMIT;
    IF outcome OPERATOR(pg_catalog.=) 'failed'::pg_catalog.text THEN
        RAISE EXCEPTION USING
            ERRCODE = sqlstate_of,
            MESSAGE = message,
            DETAIL = CASE WHEN detail OPERATOR(pg_catalog.=) ''::pg_catalog.text THEN 'The chunk was undone.' ELSE detail END,
            HINT = CASE WHEN hint OPERATOR(pg_catalog.=) ''::pg_catalog.text
                THEN 'The same call goes on where this one has stopped.' ELSE hint END;
    END IF;
    PERFORM target_profile._backfill_end(run);
END
$$;
