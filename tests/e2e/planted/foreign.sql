-- What the extension and the parts of its tables and views depend on beside Postgres' own and the extension's.
WITH member AS (
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
    WHERE e.extname = 'target_profile' AND d.deptype = 'e'
), part AS (
    SELECT m.classid, m.objid FROM member m
    UNION ALL SELECT 'pg_rewrite'::regclass, w.oid
    FROM pg_rewrite w JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = w.ev_class
    UNION ALL SELECT 'pg_attrdef'::regclass, a.oid
    FROM pg_attrdef a JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = a.adrelid
    UNION ALL SELECT 'pg_constraint'::regclass, c.oid
    FROM pg_constraint c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.conrelid
    UNION ALL SELECT 'pg_trigger'::regclass, t.oid
    FROM pg_trigger t JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = t.tgrelid
    UNION ALL SELECT 'pg_class'::regclass, i.indexrelid
    FROM pg_index i JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = i.indrelid
)
SELECT DISTINCT pg_describe_object(p.classid, p.objid, 0) || ': ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
FROM part p
JOIN pg_catalog.pg_depend d ON d.classid = p.classid AND d.objid = p.objid
CROSS JOIN LATERAL pg_identify_object(d.refclassid, d.refobjid, 0) o
WHERE coalesce(o.schema, '') NOT IN ('pg_catalog', 'target_profile')
  AND o.type NOT IN ('extension', 'language', 'schema')
  AND NOT EXISTS (SELECT FROM part m WHERE m.classid = d.refclassid AND m.objid = d.refobjid)
ORDER BY 1
