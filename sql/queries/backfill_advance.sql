-- Runs with the owner's rights under the caller's search_path.
UPDATE target_profile.backfill_run r
SET last_id = $2, at_end = $3, locked_ids = $4, rows_done = r.rows_done OPERATOR(pg_catalog.+) $5,
    entries = r.entries OPERATOR(pg_catalog.+) $6, invalid = r.invalid OPERATOR(pg_catalog.+) $7,
    without_id = r.without_id OPERATOR(pg_catalog.+) $8, last_chunk_at = pg_catalog.clock_timestamp(),
    finished_at = CASE WHEN $9 THEN pg_catalog.clock_timestamp() END
WHERE r.id OPERATOR(pg_catalog.=) $1
