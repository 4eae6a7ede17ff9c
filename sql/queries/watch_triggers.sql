-- Which of these triggers the table has from target_profile.watch, each with whether it is a partition's copy.
SELECT t.tgname::pg_catalog.text, t.tgparentid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND t.tgname OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.name[])
  AND n.nspname OPERATOR(pg_catalog.=) 'target_profile' AND p.proname OPERATOR(pg_catalog.~) '^_watch_'
