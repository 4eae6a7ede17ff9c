-- The condition of a watch's trigger for INSERT, as the catalog holds it. Run with the caller's rights.
SELECT t.tgqual::pg_catalog.text
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE t.tgrelid = $1 AND t.tgname = $2::pg_catalog.name
  AND n.nspname = 'target_profile' AND p.proname = '_watch_row'
