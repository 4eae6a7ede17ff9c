-- Which of these triggers the table has from target_profile.watch, each with whether it is a partition's copy.
SELECT t.tgname::pg_catalog.text, t.tgparentid <> 0::pg_catalog.oid
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE t.tgrelid = $1 AND t.tgname = ANY ($2::pg_catalog.name[])
  AND n.nspname = 'target_profile' AND p.proname ~ '^_watch_'
