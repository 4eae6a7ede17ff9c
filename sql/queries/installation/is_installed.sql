-- The outbox, if the extension is installed. It is another one after DROP EXTENSION and CREATE EXTENSION. And whether its name resolves to it:
-- a worker that a commit wakes may see the table before its caches of names are invalidated.
SELECT c.oid, c.oid = pg_catalog.to_regclass('target_profile.outbox')
FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'outbox'
JOIN pg_catalog.pg_depend d
    ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
JOIN pg_catalog.pg_extension e
    ON e.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.extname = 'target_profile'
WHERE n.nspname = 'target_profile'
