-- The SQL surface: a change here is a change for users, and wants an upgrade script. Names that start with _ are internal.
CREATE EXTENSION target_profile;
SET search_path = pg_catalog;
\pset format unaligned
\pset tuples_only on

-- the members of the extension, but for the types that come with relations, which are members from PostgreSQL 17 on
CREATE VIEW public.member AS
SELECT d.classid::regclass AS class, d.objid, o.type, o.schema, o.identity,
    o.identity ~ '^(target_profile\.)?_' AS internal
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'target_profile',
    pg_identify_object(d.classid, d.objid, 0) o
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    AND (d.classid <> 'pg_type'::regclass OR d.objid IN (SELECT oid FROM pg_type WHERE typrelid = 0 AND typelem = 0));

-- functions, with arguments and results
SELECT p.oid::regproc || '(' || pg_get_function_arguments(p.oid) || ')' || coalesce(' → ' || pg_get_function_result(p.oid), ', a procedure')
FROM public.member m JOIN pg_proc p ON m.class = 'pg_proc'::regclass AND p.oid = m.objid
WHERE NOT internal
ORDER BY m.schema, p.proname COLLATE "C";

-- tables and views, with columns
SELECT m.type || ' ' || m.identity || ' (' || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) || ')'
FROM public.member m JOIN pg_attribute a ON m.class = 'pg_class'::regclass AND a.attrelid = m.objid
WHERE a.attnum > 0 AND NOT a.attisdropped AND m.type <> 'sequence'
GROUP BY m.type, m.identity
ORDER BY m.type, m.identity;

-- whatever else there is
SELECT type, identity FROM public.member
WHERE class NOT IN ('pg_class'::regclass, 'pg_proc'::regclass) OR type = 'sequence'
ORDER BY type, identity;

-- objects for users that have no comment: none
SELECT type, identity FROM public.member m
WHERE NOT internal AND obj_description(objid, class::text) IS NULL
ORDER BY type, identity;
SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'target_profile';

-- what everybody may do with them: nothing
SELECT m.type, m.identity, acl.privilege_type
FROM public.member m
LEFT JOIN pg_proc p ON m.class = 'pg_proc'::regclass AND p.oid = m.objid
LEFT JOIN pg_class c ON m.class = 'pg_class'::regclass AND c.oid = m.objid
LEFT JOIN pg_namespace n ON m.class = 'pg_namespace'::regclass AND n.oid = m.objid,
    aclexplode(coalesce(
        p.proacl, c.relacl, n.nspacl,
        acldefault('f', p.proowner), acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner), acldefault('n', n.nspowner))) acl
WHERE acl.grantee = 0;
SELECT attrelid::regclass, attname, attacl FROM pg_attribute WHERE attrelid IN (SELECT objid FROM public.member) AND attacl IS NOT NULL;

-- functions that run with the rights of the extension's owner: each with its own search_path
SELECT p.oid::regprocedure, p.proconfig
FROM public.member m JOIN pg_proc p ON m.class = 'pg_proc'::regclass AND p.oid = m.objid
WHERE p.prosecdef
ORDER BY p.oid::regprocedure::text;
-- (but for a procedure that commits, which cannot have one)
SELECT p.oid::regprocedure
FROM public.member m JOIN pg_proc p ON m.class = 'pg_proc'::regclass AND p.oid = m.objid
JOIN pg_language l ON l.oid = p.prolang
WHERE l.lanname <> 'c' AND NOT coalesce(p.proconfig @> '{"search_path=pg_catalog, pg_temp"}', false);

-- what pg_dump keeps
SELECT c.oid::regclass, c.condition
FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS c (oid, condition)
WHERE e.extname = 'target_profile'
ORDER BY c.oid::regclass::text;

-- settings
SELECT name, vartype, unit, context, boot_val, min_val, max_val FROM pg_settings WHERE name LIKE 'target_profile.%' ORDER BY name;

DROP VIEW public.member;
DROP EXTENSION target_profile;
