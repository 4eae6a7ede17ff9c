-- Whether the caller could run a backfill of the table. Run with the caller's rights.
SELECT coalesce(pg_catalog.has_table_privilege($1, 'SELECT') OR pg_catalog.has_any_column_privilege($1, 'SELECT'), true)
