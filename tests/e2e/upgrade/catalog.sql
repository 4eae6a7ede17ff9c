-- What the catalogs say of the extension, a line for each property of each object: without OIDs, and without what the extension's
-- users have made (the days of response, the triggers of watched tables).
WITH extension AS (
    SELECT e.* FROM pg_extension e WHERE e.extname = 'target_profile'
), member AS (
    SELECT d.classid, d.objid
    FROM pg_depend d
    WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM extension) AND d.deptype = 'e'
), relation AS (
    SELECT c.*, c.oid::regclass::text AS name FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
), index AS (
    SELECT i.*, c.reloptions, c.oid::regclass::text AS name, r.name AS of
    FROM pg_index i JOIN relation r ON r.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
), trigger AS (
    SELECT t.*, r.name AS of FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
), part AS (
    SELECT classid, objid FROM member
    UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM index
    UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c JOIN relation r ON r.oid = c.conrelid
    UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM trigger t
    UNION ALL SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a JOIN relation r ON r.oid = a.adrelid
    UNION ALL SELECT 'pg_rewrite'::regclass, w.oid FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
    UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext s JOIN relation r ON r.oid = s.stxrelid
    UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
), part_of AS (
    SELECT p.*, pg_describe_object(p.classid, p.objid, 0) AS name FROM part p
), said (object, property, value) AS (
    SELECT name, 'exists', 'yes' FROM part_of
    UNION ALL
    SELECT 'extension', 'settings', concat_ws(' ', extversion, extrelocatable, extnamespace::regnamespace) FROM extension
    UNION ALL
    SELECT 'extension', 'dumps ' || c.oid::regclass, quote_literal(c.condition)
    FROM extension, unnest(extconfig, extcondition) AS c (oid, condition)
    UNION ALL
    SELECT 'extension', 'comment', obj_description(oid, 'pg_extension') FROM extension
    UNION ALL
    SELECT name, 'storage', concat_ws(' ', relkind, relpersistence, relreplident, relrowsecurity, relforcerowsecurity, relispartition,
        (SELECT amname FROM pg_am WHERE pg_am.oid = relam), reltablespace,
        (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) o),
        (SELECT array_agg(o ORDER BY o) FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = reltoastrelid))
    FROM relation
    UNION ALL
    SELECT name, 'owner', CASE WHEN relowner = (SELECT extowner FROM extension) THEN 'the extension''s' ELSE relowner::regrole::text END
    FROM relation
    UNION ALL
    SELECT name, 'partitioned by', pg_get_partkeydef(oid) FROM relation WHERE relkind = 'p'
    UNION ALL
    SELECT name, 'view', pg_get_viewdef(oid) FROM relation WHERE relkind IN ('v', 'm')
    UNION ALL
    SELECT name, 'rows', concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle)
    FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
    UNION ALL
    SELECT r.name || '.' || a.attname, 'column', concat_ws(' ',
        (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = r.oid AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped),
        format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
        (SELECT collname FROM pg_collation WHERE pg_collation.oid = a.attcollation), a.attidentity, a.attgenerated, a.attstorage,
        a.attcompression, a.attstattarget,
        -- (with which some builds of the server stamp each column)
        (SELECT array_agg(o ORDER BY o) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg_attver=%'), 'default ' || pg_get_expr(d.adbin, d.adrelid))
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind <> 'S'
    UNION ALL
    SELECT r.name, 'constraint ' || c.conname, concat_ws(' ', pg_get_constraintdef(c.oid), c.convalidated, c.condeferrable)
    FROM pg_constraint c JOIN relation r ON r.oid = c.conrelid
    UNION ALL
    SELECT of, 'index ' || name, concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid, indisclustered, indisreplident, reloptions) FROM index
    UNION ALL
    SELECT of, 'trigger ' || tgname, tgenabled::text || ' ' || pg_get_triggerdef(oid) FROM trigger
    UNION ALL
    SELECT r.name, 'statistics ' || s.stxname, pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s JOIN relation r ON r.oid = s.stxrelid
    UNION ALL
    SELECT r.name, 'rule ' || w.rulename, concat_ws(' ', w.ev_type, w.ev_enabled, w.is_instead) FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
    UNION ALL
    SELECT r.name, 'policy ' || p.polname, concat_ws(' ', p.polcmd, p.polroles, pg_get_expr(p.polqual, p.polrelid)) FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT p.oid::regprocedure::text, 'definition', pg_get_functiondef(p.oid) || concat_ws(' ', '', p.probin, p.prosrc) FROM pg_proc p
    JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    UNION ALL
    SELECT p.oid::regprocedure::text, 'owner',
        CASE WHEN p.proowner = (SELECT extowner FROM extension) THEN 'the extension''s' ELSE p.proowner::regrole::text END
    FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    UNION ALL
    SELECT p.name || coalesce('.' || a.attname, ''), 'comment', d.description
    FROM part_of p
    JOIN pg_description d ON d.classoid = p.classid AND d.objoid = p.objid
    LEFT JOIN pg_attribute a ON p.classid = 'pg_class'::regclass AND a.attrelid = p.objid AND a.attnum = d.objsubid AND d.objsubid > 0
    UNION ALL
    SELECT g.object, 'may ' || pg_get_userbyid(acl.grantee), string_agg(acl.privilege_type || CASE WHEN acl.is_grantable THEN '*' ELSE '' END, ' ' ORDER BY acl.privilege_type)
    FROM (
        SELECT name, relacl FROM relation
        UNION ALL SELECT r.name || '.' || a.attname, a.attacl FROM pg_attribute a JOIN relation r ON r.oid = a.attrelid
        UNION ALL SELECT p.oid::regprocedure::text, p.proacl FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
        UNION ALL SELECT 'schema ' || n.nspname, n.nspacl FROM pg_namespace n JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
    ) AS g (object, acls), aclexplode(g.acls) acl
    GROUP BY g.object, acl.grantee
    UNION ALL
    SELECT pg_describe_object(i.classoid, i.objoid, i.objsubid), 'at first ' || pg_get_userbyid(acl.grantee), string_agg(acl.privilege_type, ' ' ORDER BY acl.privilege_type)
    FROM pg_init_privs i JOIN member m ON m.classid = i.classoid AND m.objid = i.objoid, aclexplode(i.initprivs) acl
    GROUP BY 1, acl.grantee
    UNION ALL
    SELECT DISTINCT p.name, 'needs ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), d.deptype::text
    FROM part_of p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
)
SELECT object, property, value FROM said ORDER BY 1, 2, 3
