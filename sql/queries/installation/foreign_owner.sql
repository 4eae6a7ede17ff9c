-- The tables, partitions, sequences and functions of the extension $1 whose owner does not have the rights of $2, the owner of the outbox: what
-- that owner attaches to them must not run with the rights of $2. A function runs with the rights of its own owner, which must not exceed
-- those of $2 either.
WITH RECURSIVE member AS (
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend d
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = $1 AND d.deptype = 'e'
), relation AS (
    SELECT m.objid AS oid FROM member m WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    UNION
    SELECT i.inhrelid FROM relation r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid
)
SELECT c.oid,
    CASE WHEN NOT pg_catalog.pg_has_role(c.relowner, $2, 'USAGE') THEN
        pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, c.oid, 0)
    END AS foreign_object,
    pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text AS owner
FROM relation r JOIN pg_catalog.pg_class c ON c.oid = r.oid AND c.relkind IN ('r', 'p', 'f', 'S')
UNION ALL
SELECT p.oid,
    CASE WHEN NOT (pg_catalog.pg_has_role(p.proowner, $2, 'USAGE') AND pg_catalog.pg_has_role($2, p.proowner, 'USAGE')) THEN
        pg_catalog.pg_describe_object('pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 0)
    END,
    pg_catalog.pg_get_userbyid(p.proowner)::pg_catalog.text
FROM member m JOIN pg_catalog.pg_proc p ON p.oid = m.objid
WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
