-- Runs with the owner's rights under the caller's search_path.
UPDATE target_profile.backfill_run r SET stopped_at = pg_catalog.clock_timestamp(), stop_requested = false
WHERE r.id OPERATOR(pg_catalog.=) $1
