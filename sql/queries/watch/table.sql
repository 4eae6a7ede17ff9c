-- The table that is to be watched: its kind and its owner. Run with the caller's rights.
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
    pg_catalog.pg_has_role(c.relowner, 'USAGE'), c.relpersistence::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1
