-- What is watched, as target_profile.watch has wired it. "table" follows a table that is renamed; schema_name and table_name tell
-- what it was when the table is gone. id_expression is the id where it is no column, as Postgres writes it; id_columns is what it is
-- made of.
CREATE TABLE target_profile.watched_table (
    "table" regclass,
    client_code text COLLATE "C",
    id_kind text COLLATE "C",
    id_column text NOT NULL,
    attrs text[] NOT NULL,
    send text NOT NULL,
    "when" text,
    priority smallint NOT NULL,
    on_invalid text NOT NULL,
    always boolean NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    statements text[] NOT NULL,
    id_expression text,
    id_columns text[] NOT NULL,
    watched_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY ("table", client_code, id_kind)
);
SELECT pg_catalog.pg_extension_config_dump('target_profile.watched_table', '');

-- Whether it is still so. A trigger is known by its function and its arguments, so one that was renamed is found.
CREATE VIEW target_profile.watch_state AS
WITH ours AS (
    SELECT t.tgrelid, t.tgenabled, p.proname,
        pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), E'\\000') AS args
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE p.pronamespace = 'target_profile'::pg_catalog.regnamespace AND p.proname IN ('_watch_row', '_watch_flush')
)
SELECT w."table", w.client_code, w.id_kind,
    CASE
        WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = w."table") THEN 'table dropped'
        WHEN NOT EXISTS (SELECT FROM target_profile.client c WHERE c.client_code = w.client_code) THEN 'client not registered'
        WHEN EXISTS (
            SELECT FROM (
                SELECT name, NULL FROM pg_catalog.unnest(w.id_columns) AS name
                UNION ALL
                SELECT name, CASE WHEN pg_catalog.strpos(name, '=') > 0
                    THEN pg_catalog.substr(name, pg_catalog.strpos(name, '=') + 1) END
                FROM pg_catalog.unnest(w.attrs) AS name
            ) AS given (name, renamed)
            WHERE NOT EXISTS (
                SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = w."table" AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN (given.name, given.renamed))
        ) THEN 'column missing'
        WHEN present.rows < 2 OR present.flushes < 1 THEN 'trigger missing'
        WHEN present.disabled THEN 'trigger disabled'
        ELSE 'ok'
    END AS state
FROM target_profile.watched_table w
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE o.proname = '_watch_row') AS rows,
        count(*) FILTER (WHERE o.proname = '_watch_flush') AS flushes,
        coalesce(pg_catalog.bool_or(o.tgenabled IN ('D', 'R')), false) AS disabled
    FROM ours o
    WHERE o.tgrelid = w."table"
      AND (o.proname = '_watch_flush' OR (o.args[1] = w.client_code AND o.args[2] = w.id_kind))
) present
ORDER BY w.schema_name, w.table_name, w.client_code, w.id_kind;
