-- Whether a watch or a run of a backfill is left of a table that was dropped; but not a watch of which another table has taken the name and
-- is not watched so: watch_state goes on to tell of it.
SELECT EXISTS (
    SELECT FROM target_profile.watched_table w
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = w."table")
      AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = w.schema_name AND c.relname = w.table_name AND c.relkind IN ('r', 'p')
          AND NOT EXISTS (
            SELECT FROM target_profile.watched_table o
            WHERE o."table" = c.oid AND o.client_code = w.client_code AND o.id_kind = w.id_kind))
) OR EXISTS (
    SELECT FROM target_profile.backfill_run r
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r."table")
)
