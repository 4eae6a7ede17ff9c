-- The condition of a watch's trigger for INSERT, as the catalog holds it. Run with the caller's rights.
SELECT t.tgqual::pg_catalog.text
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND t.tgname OPERATOR(pg_catalog.=) $2::pg_catalog.name
  AND n.nspname OPERATOR(pg_catalog.=) 'target_profile' AND p.proname OPERATOR(pg_catalog.=) '_watch_row'
