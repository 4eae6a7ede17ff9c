-- Runs with the owner's rights under the caller's search_path.
UPDATE target_profile.backfill_run r SET stop_requested = true
FROM target_profile.backfill_progress p
WHERE r."table" OPERATOR(pg_catalog.=) $1 AND r.client_code OPERATOR(pg_catalog.=) coalesce($2, r.client_code)
  AND r.id_kind OPERATOR(pg_catalog.=) coalesce($3, r.id_kind)
  AND p."table" OPERATOR(pg_catalog.=) r."table" AND p.client_code OPERATOR(pg_catalog.=) r.client_code
  AND p.id_kind OPERATOR(pg_catalog.=) r.id_kind AND p.state OPERATOR(pg_catalog.=) ANY ('{running,stopping}'::pg_catalog.text[])
RETURNING r.id
