-- What the default privileges of the role that installs the extension grant is no part of it: nobody reads a token by them.
CREATE ROLE regress_tp_analyst;
CREATE ROLE "regress_tp Else";
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_tp_analyst, "regress_tp Else" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, regress_tp_analyst;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO regress_tp_analyst, "regress_tp Else";
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, "regress_tp Else";
CREATE VIEW pg_temp.granted AS
SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS grantee, a.privilege_type, kind
FROM (
    SELECT 'relation ' || c.relkind::text, c.relacl, c.relowner FROM pg_class c WHERE c.relnamespace = to_regnamespace('target_profile')
    UNION ALL
    SELECT 'routine', coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner FROM pg_proc p
    WHERE p.pronamespace = to_regnamespace('target_profile') OR p.proname LIKE 'target_profile%'
    UNION ALL
    SELECT 'schema', n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname = 'target_profile'
) AS o (kind, acls, owner), aclexplode(o.acls) a
WHERE a.grantee <> o.owner AND pg_get_userbyid(a.grantee) <> 'pg_monitor';
CREATE VIEW pg_temp.at_first AS
SELECT DISTINCT a.grantee FROM pg_init_privs i, aclexplode(i.initprivs) a
WHERE i.objoid >= 16384 AND a.grantee <> 10 AND pg_get_userbyid(a.grantee) <> 'pg_monitor';

CREATE EXTENSION target_profile;
SELECT target_profile._ensure_response_partition('2020-01-01');
SELECT * FROM pg_temp.granted;
SELECT * FROM pg_temp.at_first;
DROP EXTENSION target_profile;

-- Of 0.1.0 an upgrade takes back what everybody got; what a role has may have been meant.
CREATE EXTENSION target_profile VERSION '0.1.0';
SELECT count(*) > 0 AS everybody_may FROM pg_temp.granted WHERE grantee = 'PUBLIC';
SELECT target_profile.grant_to('regress_tp_analyst', 'writer');
ALTER EXTENSION target_profile UPDATE;
SELECT * FROM pg_temp.granted WHERE grantee = 'PUBLIC';
SELECT grantee, kind, count(*) > 0 FROM pg_temp.granted GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) AS everybody_at_first FROM pg_temp.at_first WHERE grantee = 0;
DROP EXTENSION target_profile;

DROP VIEW pg_temp.granted, pg_temp.at_first;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC, regress_tp_analyst, "regress_tp Else";
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM PUBLIC, regress_tp_analyst;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM regress_tp_analyst, "regress_tp Else";
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC, "regress_tp Else";
DROP ROLE regress_tp_analyst, "regress_tp Else";
