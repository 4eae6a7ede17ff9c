-- Whether there is a watch, or a run of a backfill, of a table that was dropped. A watch whose name another table has taken does not count, if
-- that table is not watched: watch_state keeps showing it.
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
