-- Replaces the record of a dropped table of the same name.
WITH gone AS (
    DELETE FROM target_profile.watched_table w
    WHERE w.schema_name = $11 AND w.table_name = $12
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = w."table")
)
INSERT INTO target_profile.watched_table
    ("table", client_code, id_kind, id_column, attrs, send, "when", priority, on_invalid, always, schema_name, table_name,
     statements, id_expression, id_columns)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT ("table", client_code, id_kind) DO UPDATE SET
    id_column = excluded.id_column, attrs = excluded.attrs, send = excluded.send, "when" = excluded."when",
    priority = excluded.priority, on_invalid = excluded.on_invalid, always = excluded.always,
    schema_name = excluded.schema_name, table_name = excluded.table_name, statements = excluded.statements,
    id_expression = excluded.id_expression, id_columns = excluded.id_columns,
    watched_at = pg_catalog.clock_timestamp()
