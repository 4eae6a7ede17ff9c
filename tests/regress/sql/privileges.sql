-- What each level of grant_to may do, what it may not, and that revoke_from takes exactly that back.
CREATE EXTENSION target_profile;
\set SHOW_CONTEXT never
SELECT target_profile.add_client('acme', auth_token => 'SECRET');
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;
CREATE ROLE regress_tp_nobody;
CREATE ROLE regress_tp_writer;
CREATE ROLE regress_tp_reader;
CREATE ROLE regress_tp_admin;
CREATE ROLE regress_tp_monitor IN ROLE pg_monitor;
SELECT target_profile.grant_to('regress_tp_writer', 'writer');
SELECT target_profile.grant_to('regress_tp_reader', 'reader');
SELECT target_profile.grant_to('regress_tp_admin', 'admin');

-- an unknown level
SELECT target_profile.grant_to('regress_tp_nobody', 'owner');
SELECT target_profile.grant_to(NULL, 'writer');
SELECT target_profile.grant_to(4294967295::oid::regrole, 'writer');
SELECT target_profile.revoke_from(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.grant_to('regress_tp_nobody', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.revoke_from('regress_tp_nobody', 'owner');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.grant_to('regress_tp_unknown', 'writer');
\echo :LAST_ERROR_SQLSTATE

-- Whether a role may do something, by trying; whatever it does is undone.
CREATE FUNCTION pg_temp.may(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    EXECUTE statement;
    RAISE EXCEPTION USING ERRCODE = 'TP000';
EXCEPTION
    WHEN SQLSTATE 'TP000' THEN RETURN 'yes';
    WHEN invalid_parameter_value THEN RETURN 'none';
    WHEN insufficient_privilege THEN RETURN '';
END
$$;
SET client_min_messages = error;
SELECT
    pg_temp.may('regress_tp_nobody', statement) AS nobody,
    pg_temp.may('regress_tp_monitor', statement) AS monitor,
    pg_temp.may('regress_tp_writer', statement) AS writer,
    pg_temp.may('regress_tp_reader', statement) AS reader,
    pg_temp.may('regress_tp_admin', statement) AS admin,
    statement
FROM (VALUES
    (1, $$SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}')$$),
    (2, $$CREATE TEMP TABLE t (); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION target_profile_trigger()$$),
    (3, $$SELECT target_profile_preview('acme', 'mboxPC', '1', '{"a": 1}')$$),
    (4, $$SELECT target_profile.result(1)$$),
    (5, $$SELECT target_profile.wait(1, '0')$$),
    (10, $$SELECT FROM target_profile.status$$),
    (11, $$SELECT FROM target_profile.worker$$),
    (12, $$SELECT id FROM target_profile.outbox$$),
    (13, $$SELECT id FROM target_profile.response$$),
    (14, $$SELECT id FROM target_profile.dead_letter$$),
    (15, $$SELECT client_code FROM target_profile.backing_off$$),
    (16, $$SELECT client_code, endpoint, paused_by FROM target_profile.client$$),
    (17, $$SELECT auth_token FROM target_profile.client$$),
    (18, $$SELECT c FROM target_profile.client c$$),
    (19, $$SELECT database_oid FROM target_profile.binding$$),
    (20, $$SELECT target_profile.add_client('other')$$),
    (21, $$SELECT target_profile.set_client('acme', method => 'post')$$),
    (22, $$SELECT target_profile.pause('acme')$$),
    (23, $$SELECT target_profile.resume('acme')$$),
    (24, $$SELECT target_profile.remove_client('acme', true)$$),
    (25, $$SELECT target_profile.adopt()$$),
    (30, $$INSERT INTO target_profile.outbox (client_code, id_kind, profile_id, attrs) VALUES ('acme', 'mboxPC', '1', '{}')$$),
    (31, $$UPDATE target_profile.outbox SET priority = 1$$),
    (32, $$DELETE FROM target_profile.outbox$$),
    (33, $$TRUNCATE target_profile.outbox$$),
    (34, $$SELECT nextval('target_profile.outbox_id_seq')$$),
    (35, $$UPDATE target_profile.client SET endpoint = 'https://evil.example.com/'$$),
    (36, $$DELETE FROM target_profile.dead_letter$$),
    (37, $$CREATE TABLE target_profile.mine ()$$),
    (40, $$SELECT target_profile.grant_to('regress_tp_nobody', 'reader')$$),
    (41, $$SELECT target_profile.revoke_from('regress_tp_writer', 'writer')$$),
    (42, $$SELECT target_profile._bury_orphans('acme')$$),
    (43, $$SELECT target_profile._drop_response_partitions('infinity')$$),
    (44, $$SELECT target_profile._ensure_response_partition('2020-01-01')$$),
    (45, $$SELECT target_profile._wake()$$),
    (46, $$SELECT target_profile._drop_response_partition('response_20200101')$$),
    (47, $$SELECT target_profile._ensure_response_stray()$$),
    (48, $$SELECT * FROM target_profile._last_response(1, '-infinity')$$)) AS attempt (number, statement)
ORDER BY number;
RESET client_min_messages;

-- the columns that a reader may not read
SELECT attrelid::regclass, attname
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'target_profile'::regnamespace AND relkind IN ('r', 'p', 'v') AND attnum > 0 AND relname <> 'binding'
  AND NOT has_column_privilege('regress_tp_reader', attrelid, attnum, 'SELECT');

-- the SQLSTATE of what is refused
SET ROLE regress_tp_nobody;
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_tp_reader;
SELECT * FROM target_profile.client;
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- A table of somebody who is but a writer, updated by somebody who is nothing: the trigger writes as the extension's owner.
CREATE SCHEMA AUTHORIZATION regress_tp_writer;
SET ROLE regress_tp_writer;
CREATE TABLE regress_tp_writer.customer (id text PRIMARY KEY, tier text);
CREATE TRIGGER to_target AFTER INSERT OR UPDATE ON regress_tp_writer.customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
GRANT USAGE ON SCHEMA regress_tp_writer TO regress_tp_nobody;
GRANT SELECT, UPDATE ON regress_tp_writer.customer TO regress_tp_nobody;
INSERT INTO regress_tp_writer.customer VALUES ('c1', 'silver');
SET ROLE regress_tp_nobody;
UPDATE regress_tp_writer.customer SET tier = 'gold';
SELECT current_user;
-- one that cannot be sent
RESET ROLE;
INSERT INTO regress_tp_writer.customer VALUES ('a/b', 'silver');
SET ROLE regress_tp_nobody;
UPDATE regress_tp_writer.customer SET tier = 'gold' WHERE id = 'a/b';
RESET ROLE;
SELECT profile_id, attrs, source FROM target_profile.outbox ORDER BY id;
SELECT profile_id, attrs, source FROM target_profile.dead_letter ORDER BY id;

-- The owner keeps the trigger when the level is taken back; new ones are refused.
SELECT target_profile.revoke_from('regress_tp_writer', 'writer');
SET ROLE regress_tp_writer;
UPDATE regress_tp_writer.customer SET tier = 'bronze' WHERE id = 'c1';
CREATE TRIGGER again AFTER INSERT ON regress_tp_writer.customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
RESET ROLE;
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id DESC LIMIT 1;

-- What a role has been granted, object by object.
CREATE VIEW pg_temp.granted AS
SELECT pg_get_userbyid(acl.grantee) AS role, object, acl.privilege_type
FROM (
    SELECT oid::regprocedure::text, proacl FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT oid::regclass::text, relacl FROM pg_class WHERE oid >= 16384
    UNION ALL SELECT attrelid::regclass || '.' || attname, attacl FROM pg_attribute WHERE attrelid >= 16384 AND attacl IS NOT NULL
    UNION ALL SELECT nspname, nspacl FROM pg_namespace WHERE oid >= 16384) AS catalog (object, acls), aclexplode(acls) AS acl
WHERE acl.grantee <> 0 AND pg_get_userbyid(acl.grantee) LIKE 'regress_tp_%' AND object !~ 'regress_tp';
SELECT count(*) FROM pg_temp.granted WHERE role = 'regress_tp_writer';

-- each level given and taken back leaves what was before, whatever else the role has
CREATE FUNCTION pg_temp.leaves(held text[], level text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before text[];
    missing text[];
    extra text[];
BEGIN
    PERFORM target_profile.revoke_from('regress_tp_nobody');
    PERFORM target_profile.grant_to('regress_tp_nobody', one) FROM unnest(held) one;
    before := ARRAY(SELECT concat_ws(' ', object, privilege_type) FROM pg_temp.granted WHERE role = 'regress_tp_nobody');
    PERFORM target_profile.grant_to('regress_tp_nobody', level);
    PERFORM target_profile.revoke_from('regress_tp_nobody', level);
    missing := ARRAY(SELECT unnest(before) EXCEPT
        SELECT concat_ws(' ', object, privilege_type) FROM pg_temp.granted WHERE role = 'regress_tp_nobody' ORDER BY 1);
    extra := ARRAY(SELECT concat_ws(' ', object, privilege_type) FROM pg_temp.granted WHERE role = 'regress_tp_nobody'
        EXCEPT SELECT unnest(before) ORDER BY 1);
    RETURN CASE WHEN missing = '{}' AND extra = '{}' THEN 'the same' ELSE format('missing %s, extra %s', missing, extra) END;
END
$$;
SELECT held, level, pg_temp.leaves(held, level)
FROM (VALUES (1, '{}'::text[]), (2, '{writer}'), (3, '{reader}'), (4, '{admin}'), (5, '{writer,reader}')) AS h (number, held),
    unnest(ARRAY['writer', 'reader', 'admin']) AS level
WHERE level <> ALL (held) AND (level <> 'admin' OR held = '{}')
ORDER BY number, level;

-- without a level: all of them
SELECT target_profile.revoke_from('regress_tp_nobody');
SELECT target_profile.revoke_from('regress_tp_reader', 'reader');
SELECT target_profile.revoke_from('regress_tp_admin');
SELECT * FROM pg_temp.granted;

-- nothing is left that would hold the roles
DROP SCHEMA regress_tp_writer CASCADE;
DROP ROLE regress_tp_nobody, regress_tp_writer, regress_tp_reader, regress_tp_admin, regress_tp_monitor;
DROP EXTENSION target_profile;
