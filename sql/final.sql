-- Last of all, when everything is there.

-- What pg_dump must keep of the tables that an upgrade adds: behind all others, as the upgrade adds them.
SELECT pg_catalog.pg_extension_config_dump('target_profile.superseded', '');

-- What PUBLIC may do with new functions, and what the default privileges of the installing role grant, to whomever: nobody but the owner
-- is to read a token because new tables are readable here.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT 'SCHEMA ' || n.oid::regnamespace AS object, a.grantee
        FROM pg_namespace n, aclexplode(n.nspacl) a
        WHERE n.oid = 'target_profile'::regnamespace AND a.grantee <> n.nspowner
        UNION
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, a.grantee
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'target_profile'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND a.grantee <> c.relowner
        UNION
        SELECT 'ROUTINE ' || p.oid::regprocedure, a.grantee
        FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE (p.pronamespace = 'target_profile'::regnamespace OR p.oid = ANY (ARRAY(SELECT unnest(target_profile._entry_points()))))
          AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', granted.object,
            CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END);
    END LOOP;
END
$$;

-- What runs as the owner sees all rows of his tables, or says why not: policies that are forced on them must not make them look empty.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'target_profile'::regnamespace AND p.prosecdef
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET row_security = off', f);
    END LOOP;
END
$$;

-- Monitoring sees how it goes, not what is sent.
GRANT USAGE ON SCHEMA target_profile TO pg_monitor;
GRANT SELECT ON target_profile.status, target_profile.worker, target_profile.activity, target_profile.watch_state TO pg_monitor;
GRANT EXECUTE ON FUNCTION target_profile._workers(), target_profile._is_adopted(), target_profile._system_identifier()
    TO pg_monitor;
DO $$
BEGIN
    EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_monitor', target_profile._standing_function());
END
$$;

-- A worker that waits for the extension hears of it.
SELECT target_profile._wake();
