-- The watches that a backfill may be of. Runs with the owner's rights under the caller's search_path: every operator is qualified.
SELECT w.client_code, w.id_kind, w.id_column, w.id_expression, w.attrs, w.priority, w.on_invalid
FROM target_profile.watched_table w
WHERE w."table" OPERATOR(pg_catalog.=) $1 AND w.client_code OPERATOR(pg_catalog.=) coalesce($2, w.client_code)
  AND w.id_kind OPERATOR(pg_catalog.=) coalesce($3, w.id_kind)
