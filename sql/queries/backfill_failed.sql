-- Runs with the owner's rights under the caller's search_path.
UPDATE target_profile.backfill_run r SET last_error = $2 WHERE r.id OPERATOR(pg_catalog.=) $1
