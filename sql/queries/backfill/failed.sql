UPDATE target_profile.backfill_run r SET last_error = $2 WHERE r.id = $1
