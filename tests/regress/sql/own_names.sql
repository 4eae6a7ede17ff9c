-- The extension's own objects keep their names; and where somebody could change one all the same, writes go on.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE TABLE customer (id text, tier text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
CREATE VIEW of_mine AS SELECT * FROM target_profile.outbox;

ALTER SCHEMA target_profile RENAME TO other;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE target_profile.outbox RENAME TO queue;
ALTER TABLE target_profile.outbox RENAME profile_id TO id2;
ALTER TABLE target_profile.outbox SET SCHEMA public;
ALTER INDEX target_profile.outbox RENAME TO queue;
ALTER TABLE target_profile.client RENAME TO c;
ALTER SEQUENCE target_profile.outbox_id_seq RENAME TO s;
ALTER SEQUENCE target_profile.response_id_seq SET SCHEMA public;
ALTER VIEW target_profile.status RENAME TO standing;
ALTER VIEW target_profile.status RENAME COLUMN reason TO because;
ALTER FUNCTION target_profile.pause(text, text) RENAME TO stop;
ALTER FUNCTION target_profile_trigger() SET SCHEMA target_profile;
ALTER ROUTINE target_profile.backfill RENAME TO fill;
DO $$ BEGIN EXECUTE 'ALTER TABLE target_profile.dead_letter RENAME TO buried'; END $$;
SET search_path = target_profile, public;
ALTER TABLE outbox RENAME TO queue;
RESET search_path;
-- what is not the extension's, or is not there
ALTER VIEW of_mine RENAME TO mine;
ALTER TABLE mine RENAME id TO number;
ALTER TABLE target_profile.nothing RENAME TO something;
ALTER TABLE IF EXISTS target_profile.nothing RENAME TO something;

-- ids stay in the order in which they are drawn: of two updates of a profile, the one with the higher id is the later one
ALTER SEQUENCE target_profile.outbox_id_seq CACHE 50;
ALTER SEQUENCE target_profile.outbox_id_seq INCREMENT BY -1;
ALTER SEQUENCE target_profile.response_id_seq CYCLE;
ALTER SEQUENCE IF EXISTS target_profile.nothing CACHE 50;
ALTER SEQUENCE target_profile.outbox_id_seq CACHE 1 INCREMENT BY 1 NO CYCLE;
-- nor does it begin anew, by itself or with its table
BEGIN;
SELECT nextval('target_profile.outbox_id_seq') > 0 AS drawn;
SAVEPOINT drawn;
ALTER SEQUENCE target_profile.outbox_id_seq RESTART;
ROLLBACK TO drawn;
ALTER SEQUENCE target_profile.outbox_id_seq RESTART WITH 1;
ROLLBACK TO drawn;
TRUNCATE customer, target_profile.outbox RESTART IDENTITY;
ROLLBACK TO drawn;
TRUNCATE target_profile.outbox, target_profile.client RESTART IDENTITY CASCADE;
ROLLBACK TO drawn;
ALTER SEQUENCE target_profile.outbox_id_seq RESTART WITH 9223372036854775000;
TRUNCATE target_profile.client RESTART IDENTITY;
TRUNCATE target_profile.outbox CONTINUE IDENTITY;
ROLLBACK;
BEGIN;
CREATE SEQUENCE of_mine_too;
SELECT nextval('of_mine_too') AS drawn;
ALTER SEQUENCE of_mine_too CACHE 50 INCREMENT BY -1 CYCLE;
ALTER SEQUENCE of_mine_too RESTART;
TRUNCATE customer RESTART IDENTITY;
ROLLBACK;
ALTER FUNCTION target_profile.nothing() RENAME TO something;
ALTER SCHEMA nothing RENAME TO something;
CREATE SCHEMA a_schema;
ALTER SCHEMA a_schema RENAME TO another_schema;
ALTER TABLE customer SET SCHEMA another_schema;
ALTER TABLE another_schema.customer SET SCHEMA public;
DROP SCHEMA another_schema;
DROP VIEW mine;

-- whoever may change the catalog may; then every write goes on, by whichever way
SET allow_system_table_mods = on;
CREATE TABLE by_hand (LIKE customer);
CREATE TRIGGER to_target AFTER INSERT OR UPDATE ON by_hand FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
CREATE FUNCTION writes(what text) RETURNS text LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
    outbox regclass := (SELECT extconfig[3] FROM pg_extension WHERE extname = 'target_profile');
    dead_letter regclass := (SELECT extconfig[5] FROM pg_extension WHERE extname = 'target_profile');
    result text;
BEGIN
    EXECUTE format('DELETE FROM %s', outbox);
    EXECUTE format('DELETE FROM %s', dead_letter);
    INSERT INTO customer VALUES ('a', what), ('a/b', what);
    INSERT INTO by_hand VALUES ('c', what), ('c/d', what);
    PERFORM target_profile_update('acme', 'mboxPC', 'e', '{"a": 1}');
    EXECUTE format('SELECT string_agg(profile_id, '','' ORDER BY id) FROM %s', outbox) INTO result;
    RETURN result;
END
$$;
CREATE FUNCTION buried() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT string_agg(profile_id, '','' ORDER BY id) FROM %s',
        (SELECT extconfig[5] FROM pg_extension WHERE extname = 'target_profile')::regclass) INTO result;
    RETURN result;
END
$$;
SELECT writes('as made'), buried();
CREATE SCHEMA "El'sewhere";
CREATE SCHEMA "Else Where";
ALTER TABLE target_profile.outbox RENAME TO "Queue of outbox";
SELECT writes('outbox renamed'), buried();
-- an impostor is not written to
CREATE TABLE target_profile.outbox (LIKE target_profile."Queue of outbox");
SELECT writes('an impostor'), buried();
SELECT count(*) FROM target_profile.outbox;
DROP TABLE target_profile.outbox;
ALTER TABLE target_profile."Queue of outbox" RENAME TO outbox;
ALTER TABLE target_profile.outbox SET SCHEMA "Else Where";
SELECT writes('outbox moved'), buried();
ALTER TABLE "Else Where".outbox SET SCHEMA target_profile;
ALTER SEQUENCE target_profile.outbox_id_seq RENAME TO "Numbers";
SELECT writes('sequence renamed'), buried();
ALTER SEQUENCE target_profile."Numbers" RENAME TO outbox_id_seq;
ALTER TABLE target_profile.client RENAME TO clients;
SELECT writes('client renamed'), buried();
ALTER TABLE target_profile.dead_letter RENAME TO "dead letter";
SELECT writes('dead_letter and client renamed'), buried();
ALTER TABLE target_profile.clients RENAME TO client;
ALTER TABLE target_profile."dead letter" RENAME TO dead_letter;
ALTER SCHEMA target_profile RENAME TO tp;
\c -
SET allow_system_table_mods = on;
SELECT writes('schema renamed'), buried();
ALTER SCHEMA tp RENAME TO target_profile;
SELECT writes('as made again'), buried();
RESET allow_system_table_mods;

DROP TABLE customer, by_hand;
DROP FUNCTION writes, buried;
DROP SCHEMA "El'sewhere", "Else Where";
DROP EXTENSION target_profile;
