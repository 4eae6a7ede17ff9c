-- The watches that a backfill can run for.
SELECT w.client_code, w.id_kind, w.id_column, w.id_expression, w.attrs, w.priority, w.on_invalid
FROM target_profile.watched_table w
WHERE w."table" = $1 AND w.client_code = coalesce($2, w.client_code)
  AND w.id_kind = coalesce($3, w.id_kind)
