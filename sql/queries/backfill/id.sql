SELECT r.id FROM target_profile.backfill_run r
WHERE r."table" = $1 AND r.client_code = $2 AND r.id_kind = $3
