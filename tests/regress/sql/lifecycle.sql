-- CREATE EXTENSION and DROP EXTENSION: again, elsewhere, in the way of others.
CREATE EXTENSION target_profile;
SELECT extversion, extrelocatable, extnamespace::regnamespace FROM pg_extension WHERE extname = 'target_profile';
SELECT target_profile.add_client('acme');
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;

-- not without what uses it
CREATE TABLE customer (id text, tier text);
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
DROP EXTENSION target_profile;
\set VERBOSITY terse
DROP EXTENSION target_profile CASCADE;
\set VERBOSITY default
SELECT nspname FROM pg_namespace WHERE nspname = 'target_profile';
SELECT proname FROM pg_proc WHERE proname LIKE 'target_profile%';
-- the table is as before, and can be written
INSERT INTO customer VALUES ('1', 'x');
SELECT * FROM customer;

-- again, in the same session: nothing of the former one is left, neither stored nor cached
CREATE EXTENSION target_profile;
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}');
SELECT target_profile.add_client('acme', null_value => '-');
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('2', NULL), ('a.b.c', 'x');
SELECT profile_id, attrs FROM target_profile.outbox;
SELECT profile_id, reason FROM target_profile.dead_letter;
DROP TABLE customer;

-- with the days of response, which are no members of the extension
SELECT target_profile._ensure_response_partition('2020-01-02');
DROP EXTENSION target_profile;
SELECT relname FROM pg_class WHERE relname LIKE 'response%';

-- made and dropped in a transaction that is rolled back
BEGIN;
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;
ROLLBACK;
SELECT nspname FROM pg_namespace WHERE nspname = 'target_profile';
CREATE EXTENSION target_profile;
BEGIN;
DROP EXTENSION target_profile;
ROLLBACK;
SELECT target_profile.add_client('acme');
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;
DROP EXTENSION target_profile;

-- with the entry points in another schema
CREATE SCHEMA "Other Schema";
CREATE EXTENSION target_profile SCHEMA "Other Schema";
SELECT target_profile.add_client('acme');
SELECT "Other Schema".target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;
SELECT to_regproc('target_profile_update');
CREATE TABLE customer (id text, tier text);
CREATE TRIGGER t AFTER INSERT ON customer
    FOR EACH ROW EXECUTE FUNCTION "Other Schema".target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('2', 'x');
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id;
CREATE ROLE regress_tp_writer;
SELECT target_profile.grant_to('regress_tp_writer', 'writer');
SELECT has_function_privilege('regress_tp_writer', '"Other Schema".target_profile_update(text, text, text, jsonb, smallint)', 'EXECUTE');
SELECT target_profile.revoke_from('regress_tp_writer');
DROP ROLE regress_tp_writer;
SELECT obj_description('"Other Schema".target_profile_trigger'::regproc) IS NOT NULL AS commented;
-- not relocatable
ALTER EXTENSION target_profile SET SCHEMA public;
-- whatever the search_path
SET search_path = pg_temp;
INSERT INTO public.customer VALUES ('3', 'y');
SELECT "Other Schema".target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;
SELECT state FROM target_profile.status;
RESET search_path;
DROP TABLE customer;
DROP EXTENSION target_profile;
DROP SCHEMA "Other Schema";

-- the schema target_profile is the extension's own: it makes it, and takes none that is there. Only from PostgreSQL 18 on does
-- Postgres say where in the script an error was.
\set SHOW_CONTEXT never
CREATE EXTENSION target_profile SCHEMA target_profile;
CREATE SCHEMA target_profile;
CREATE EXTENSION target_profile SCHEMA target_profile;
DROP EXTENSION IF EXISTS target_profile;
DROP SCHEMA target_profile;

-- a schema of that name that is somebody else's: nothing happens to it
CREATE SCHEMA target_profile;
CREATE TABLE target_profile.client (mine text);
CREATE EXTENSION target_profile;
\d target_profile.client
SELECT count(*) FROM pg_extension WHERE extname = 'target_profile';
SELECT proname FROM pg_proc WHERE proname LIKE 'target_profile%';
DROP SCHEMA target_profile CASCADE;
\set SHOW_CONTEXT errors

-- not for others than superusers
CREATE ROLE regress_tp_owner;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_tp_owner', current_database()); END $$;
SET ROLE regress_tp_owner;
CREATE EXTENSION target_profile;
RESET ROLE;
DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM regress_tp_owner', current_database()); END $$;
DROP ROLE regress_tp_owner;
