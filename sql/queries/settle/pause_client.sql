UPDATE target_profile.client c
SET paused_at = pg_catalog.clock_timestamp(), paused_by = 'unauthorized', pause_reason = $2
WHERE c.client_code = $1 AND c.paused_at IS NULL
