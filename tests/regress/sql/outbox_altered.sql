-- The outbox with something of a user's on it: entries are written all the same, and what the user put there does its work.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE TABLE customer (id integer PRIMARY KEY, tier text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
CREATE FUNCTION enqueue(tier text) RETURNS TABLE (profile_id text, attrs jsonb, source text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM target_profile_update('acme', 'mbox3rdPartyId', 'f', jsonb_build_object('tier', tier));
    INSERT INTO customer SELECT n, tier FROM generate_series(1, 3) n;
    UPDATE customer SET tier = 'new ' || customer.tier;
    RETURN QUERY SELECT o.profile_id, o.attrs, o.source FROM target_profile.outbox o ORDER BY o.id;
    DELETE FROM customer;
    DELETE FROM target_profile.outbox;
END
$$;
SELECT * FROM enqueue('as it was made');

-- a column
ALTER TABLE target_profile.outbox ADD COLUMN noted text NOT NULL DEFAULT 'by default';
SELECT * FROM enqueue('a column');
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'f', '{"a": 1}') > 0 AS enqueued;
SELECT noted FROM target_profile.outbox;
DELETE FROM target_profile.outbox;
ALTER TABLE target_profile.outbox DROP COLUMN noted;
-- where it was there is a hole
SELECT * FROM enqueue('a dropped column');
SET client_min_messages = warning;
DROP EXTENSION target_profile CASCADE;
RESET client_min_messages;
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
DROP TABLE customer;
CREATE TABLE customer (id integer PRIMARY KEY, tier text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}');

-- triggers: they run as the owner, so no name in them is looked up in the caller's search_path
CREATE TABLE seen (what text, profile_id text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.seen VALUES (TG_WHEN || ' ' || TG_LEVEL, NEW.profile_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER before BEFORE INSERT ON target_profile.outbox FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER after AFTER INSERT ON target_profile.outbox FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER statement AFTER INSERT ON target_profile.outbox FOR EACH STATEMENT EXECUTE FUNCTION see();
SELECT * FROM enqueue('triggers');
SELECT what, profile_id, count(*) FROM seen GROUP BY what, profile_id ORDER BY what COLLATE "C", profile_id;
DROP TRIGGER before ON target_profile.outbox;
DROP TRIGGER after ON target_profile.outbox;
DROP TRIGGER statement ON target_profile.outbox;
TRUNCATE seen;
SELECT * FROM enqueue('no more triggers');
SELECT count(*) FROM seen;

-- a constraint, a foreign key, an index of an expression
ALTER TABLE target_profile.outbox ADD CONSTRAINT short CHECK (length(profile_id) < 10);
SELECT * FROM enqueue('a constraint');
\set VERBOSITY terse
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'longer than that', '{"a": 1}');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE target_profile.outbox DROP CONSTRAINT short;
ALTER TABLE target_profile.outbox ADD FOREIGN KEY (client_code) REFERENCES target_profile.client;
SELECT * FROM enqueue('a foreign key');
ALTER TABLE target_profile.outbox DROP CONSTRAINT outbox_client_code_fkey;
CREATE INDEX by_upper ON target_profile.outbox (upper(profile_id)) WHERE priority = 0;
SELECT * FROM enqueue('an index');
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'f', '{"a": 1}') > 0 AS enqueued;
SET enable_seqscan = off;
SELECT profile_id FROM target_profile.outbox WHERE upper(profile_id) = 'F' AND priority = 0;
RESET enable_seqscan;
DROP INDEX target_profile.by_upper;

-- an error in the middle of a bulk of rows leaves nothing behind, and the rows are written
CREATE UNIQUE INDEX once ON target_profile.outbox (profile_id);
SELECT target_profile_update('acme', 'mbox3rdPartyId', '150', '{"a": 1}') > 0 AS enqueued;
INSERT INTO customer SELECT n, 'x' FROM generate_series(1, 200) n;
SELECT count(*) FROM target_profile.outbox;
SELECT reason, count(*), min(id) > 0 AS own_ids FROM target_profile.dead_letter GROUP BY reason;
DROP INDEX target_profile.once;
SELECT target_profile.retry_all('acme');
DELETE FROM target_profile.outbox WHERE profile_id <> '150' OR retried_at IS NOT NULL;
TRUNCATE customer;
INSERT INTO customer SELECT n, 'x' FROM generate_series(1, 200) n;
SELECT count(*), count(DISTINCT profile_id), count(DISTINCT id) FROM target_profile.outbox;

-- every index has every row, also of attributes that are kept out of line
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'long',
    jsonb_build_object('a', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 300) n))) > 0 AS enqueued;
SELECT length(attrs ->> 'a') FROM target_profile.outbox WHERE profile_id = 'long';
CREATE EXTENSION amcheck;
SELECT c.relname, bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'target_profile.outbox'::regclass ORDER BY c.relname COLLATE "C";
DROP EXTENSION amcheck;

-- the extension is dropped and made again in one session
SET client_min_messages = warning;
DROP EXTENSION target_profile CASCADE;
RESET client_min_messages;
TRUNCATE customer;
INSERT INTO customer VALUES (1, 'without');
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'again', '{"a": 1}') > 0 AS enqueued;
SELECT profile_id FROM target_profile.outbox;
DROP TABLE customer, seen;
DROP FUNCTION enqueue(text), see();
DROP EXTENSION target_profile;
