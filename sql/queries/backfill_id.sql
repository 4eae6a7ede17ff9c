-- Runs with the owner's rights under the caller's search_path.
SELECT r.id FROM target_profile.backfill_run r
WHERE r."table" OPERATOR(pg_catalog.=) $1 AND r.client_code OPERATOR(pg_catalog.=) $2 AND r.id_kind OPERATOR(pg_catalog.=) $3
