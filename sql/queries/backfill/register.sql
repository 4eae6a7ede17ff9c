-- Replaces the record of a dropped table of the same name.
WITH gone AS (
    DELETE FROM target_profile.backfill_run r
    WHERE r.schema_name = $4 AND r.table_name = $5
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r."table")
)
INSERT INTO target_profile.backfill_run ("table", client_code, id_kind, schema_name, table_name, ordered_by, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp())
ON CONFLICT ("table", client_code, id_kind) DO NOTHING
