UPDATE target_profile.backfill_run r
SET last_id = $2, at_end = $3, locked_ids = $4, rows_done = r.rows_done + $5,
    entries = r.entries + $6, invalid = r.invalid + $7,
    without_id = r.without_id + $8, last_chunk_at = pg_catalog.clock_timestamp(),
    finished_at = CASE WHEN $9 THEN pg_catalog.clock_timestamp() END
WHERE r.id = $1
