-- What is watched, as target_profile.watch has wired it. "table" follows a table that is renamed; schema_name and table_name tell
-- what it was when the table is gone. id_expression is the id where it is no column, as Postgres writes it; id_columns is what it is
-- made of. when_columns are the columns that "when" names.
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
    when_columns text[],
    PRIMARY KEY ("table", client_code, id_kind)
);
SELECT pg_catalog.pg_extension_config_dump('target_profile.watched_table', '');

-- Whether it is still so. A trigger is known by its function and its arguments, so one that was renamed is found; a partition has a copy of
-- the row triggers. WHEN follows the columns that it was made of, and the trigger reads columns by their names: after columns have
-- swapped names it is not the same column any more. Which columns WHEN compares is read from its definition, in which each comparison of
-- src/pg/triggers/watch/table.rs names the old and the new value side by side; the triggers of 0.1.0 compare by IS DISTINCT FROM, and there any
-- mention has to do. A watch of a dropped table that another table of this name has taken over is over.
CREATE VIEW target_profile.watch_state AS
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
