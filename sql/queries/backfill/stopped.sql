UPDATE target_profile.backfill_run r SET stopped_at = pg_catalog.clock_timestamp(), stop_requested = false
WHERE r.id = $1
