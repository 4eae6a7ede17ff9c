UPDATE target_profile.backfill_run r SET stop_requested = true
FROM target_profile.backfill_progress p
WHERE r."table" = $1 AND r.client_code = coalesce($2, r.client_code)
  AND r.id_kind = coalesce($3, r.id_kind)
  AND p."table" = r."table" AND p.client_code = r.client_code
  AND p.id_kind = r.id_kind AND p.state = ANY ('{running,stopping}'::pg_catalog.text[])
RETURNING r.id
