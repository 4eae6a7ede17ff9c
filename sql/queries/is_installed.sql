-- The outbox, if the extension is there: another one after DROP EXTENSION and CREATE EXTENSION.
SELECT d.objid
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
  AND e.extname = 'target_profile'
  AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND d.objid = pg_catalog.to_regclass('target_profile.outbox')
  AND d.deptype = 'e'
