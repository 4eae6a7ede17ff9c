-- Runs with the owner's rights under the caller's search_path: every operator is qualified.
DELETE FROM target_profile.watched_table w
WHERE w."table" OPERATOR(pg_catalog.=) $1 AND w.client_code OPERATOR(pg_catalog.=) coalesce($2, w.client_code)
  AND w.id_kind OPERATOR(pg_catalog.=) coalesce($3, w.id_kind)
RETURNING w.client_code, w.id_kind
