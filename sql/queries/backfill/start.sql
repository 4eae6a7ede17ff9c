UPDATE target_profile.backfill_run r
SET ordered_by = $2, "where" = $3, condition = $4, sorts = $5, total_estimate = $6, started_by = $7, schema_name = $8, table_name = $9,
    last_id = NULL, at_end = false, locked_ids = '{}', rows_done = 0, entries = 0, invalid = 0, without_id = 0,
    started_at = pg_catalog.clock_timestamp(), called_at = pg_catalog.clock_timestamp(), called_rows = 0, last_chunk_at = NULL,
    stop_requested = false, stopped_at = NULL, finished_at = NULL, last_error = NULL
WHERE r.id = $1
