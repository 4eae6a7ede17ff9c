UPDATE target_profile.backfill_run r
SET sorts = $2, schema_name = $3, table_name = $4, called_at = pg_catalog.clock_timestamp(), called_rows = r.rows_done,
    stop_requested = false, stopped_at = NULL, last_error = NULL
WHERE r.id = $1
