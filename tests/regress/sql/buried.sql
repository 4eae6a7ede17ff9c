-- The write of a row wins, whatever its update is: what cannot be sent is buried in a form that always fits, as much of it as there is
-- room for, and is never sent as something else.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE FUNCTION buried() RETURNS TABLE (kind text, id text, attrs text, reason text) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.dead_letter RETURNING *)
    SELECT id_kind,
        CASE WHEN length(profile_id) > 40 THEN left(profile_id, 5) || '… (' || octet_length(profile_id) || ')' ELSE profile_id END,
        CASE WHEN length(attrs::text) > 90 THEN left(attrs::text, 40) || '… (' || octet_length(attrs::text) || ')' ELSE attrs::text END,
        reason
    FROM taken ORDER BY taken.id
$$;
\set VERBOSITY terse

-- each row is written to a watched table and to one that is wired by hand
CREATE TABLE watched (id text, v text, j json);
CREATE TABLE by_hand (LIKE watched);
SELECT target_profile.watch('watched', 'acme', 'mbox3rdPartyId', 'id', '{v,j}', priority => -5::smallint);
CREATE TRIGGER t AFTER INSERT OR UPDATE ON by_hand
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'thirdPartyId', 'id', 'v', 'j');
CREATE FUNCTION write(id text, v text, j json) RETURNS void LANGUAGE sql AS $$
    INSERT INTO watched VALUES (id, v, j);
    INSERT INTO by_hand VALUES (id, v, j);
$$;
CREATE FUNCTION noise(length integer) RETURNS text LANGUAGE sql AS $$
    SELECT left(string_agg(md5(n::text), ''), length) FROM generate_series(0, length / 32) n
$$;

-- ids that no index holds
SELECT write(noise(2000), 'x', NULL);
SELECT write(noise(6000), 'x', NULL);
SELECT write(repeat('é', 100000), 'x', NULL);
SELECT * FROM buried();
-- an id of which more is stored than is read
SELECT write(repeat('x', 17000000), 'x', NULL);
SELECT * FROM buried();

-- json that jsonb does not hold
SELECT write('a', 'x', '{"k": "x\u0000y"}');
SELECT write('a', 'x', '{"k\u0000": "x"}');
SELECT write('a', 'x', '"x\u0000\u0001"');
SELECT write('a/b', 'x', '1e999999');
SELECT write('a/b', 'x', '{"n": [1e999999]}');
SELECT write('a', 'x', '{"n": "\ud800"}');
SELECT write('a/b', 'x', '{"n": 1, "n": 2}');
SELECT write('a', 'x', (repeat('[', 100) || repeat(']', 100))::json);
SELECT write('a', 'x', (repeat('[', 200) || repeat(']', 200))::json);
SELECT * FROM buried();
-- what is a valid update all the same
SELECT write('a', 'x', '1e999999');
SELECT id_kind, profile_id, attrs, priority FROM target_profile.outbox ORDER BY id;
DELETE FROM target_profile.outbox;

-- values that are far too large
SELECT write('a', repeat('x', 2000000), NULL);
SELECT write('a', repeat('x', 20000000), NULL);
SELECT write('a', noise(300000), NULL);
SELECT * FROM buried();
TRUNCATE watched, by_hand;

-- values that cannot be read
CREATE TYPE mood AS ENUM ('x');
CREATE FUNCTION to_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no json of this'; END $$;
CREATE CAST (mood AS json) WITH FUNCTION to_json(mood);
CREATE TABLE moods (id text, v mood[]);
CREATE TRIGGER t AFTER INSERT OR UPDATE ON moods
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'v');
INSERT INTO moods VALUES ('a', '{x}'), ('b', '{}');
SELECT * FROM buried();
DROP TABLE moods;
CREATE TABLE moods (id json, v text);
CREATE TRIGGER t AFTER INSERT OR UPDATE ON moods
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'v');
INSERT INTO moods VALUES ('"x\u0000y"', 'v'), ('"\ud800"', 'v'), ('{"deep": 1}', 'v');
SELECT * FROM buried();
SELECT profile_id FROM target_profile.outbox;
DELETE FROM target_profile.outbox;
DROP TABLE moods;

-- an id expression that fails, or gives far too much
CREATE TABLE computed (id text, v text);
SELECT target_profile.watch('computed', 'acme', 'mboxPC', '(id::integer)::text', '{v}');
INSERT INTO computed VALUES ('ab', 'x'), ('1', 'x');
SELECT target_profile.unwatch('computed');
SELECT target_profile.watch('computed', 'acme', 'mboxPC', 'repeat(id, 50000000)', '{v}');
INSERT INTO computed VALUES ('ab', 'x');
SELECT * FROM buried();
SELECT profile_id FROM target_profile.outbox;
DELETE FROM target_profile.outbox;
DROP TABLE computed;

-- a buried row has the priority of its watch, and Target's own name of the id kind
SELECT write('C/1', 'gold', NULL);
SELECT id_kind, profile_id, priority, raw FROM target_profile.dead_letter ORDER BY id;
DELETE FROM target_profile.dead_letter;

-- nothing of it is sent as something else
SELECT write('a', 'x', '{"k": "x\u0000y"}');
SELECT write(noise(6000), 'x', NULL);
SELECT target_profile.retry_all('acme');
SELECT count(*) FROM target_profile.outbox;
-- what was valid, but for the client, goes back; with an alias, as older versions kept it, too
CREATE TRIGGER u AFTER INSERT ON by_hand
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('nosuch', 'thirdPartyId', 'id', 'v');
INSERT INTO by_hand VALUES ('C1', 'old');
DROP TRIGGER u ON by_hand;
INSERT INTO target_profile.dead_letter (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason, raw)
    VALUES (-1, 'nosuch', 'pcId', '28.0', '{"v": "x"}', 0, 'older', now(), 0, 'older', true),
        (-2, 'nosuch', 'email', '28.0', '{"v": "x"}', 0, 'older', now(), 0, 'older', true);
SELECT target_profile.add_client('nosuch');
SELECT target_profile.retry_all('nosuch');
SELECT id_kind, profile_id, attrs FROM target_profile.outbox WHERE client_code = 'nosuch' ORDER BY id;
DELETE FROM target_profile.outbox;
DELETE FROM target_profile.dead_letter;

-- savepoints, and what is prepared
BEGIN;
INSERT INTO watched VALUES ('s/1', 'x');
SAVEPOINT a;
INSERT INTO watched VALUES ('s/2', 'rolled back');
INSERT INTO by_hand VALUES ('s/3', 'rolled back');
ROLLBACK TO a;
INSERT INTO by_hand VALUES ('s/4', 'x');
SAVEPOINT b;
INSERT INTO by_hand VALUES ('s/5', 'released');
RELEASE b;
SAVEPOINT c;
INSERT INTO by_hand VALUES ('s/6', 'open');
COMMIT;
SELECT id FROM buried();
BEGIN;
INSERT INTO watched VALUES ('p/1', 'x');
INSERT INTO by_hand VALUES ('p/2', 'x');
PREPARE TRANSACTION 'buried';
SELECT id FROM buried();
COMMIT PREPARED 'buried';
SELECT id FROM buried();
-- a bulk: one subtransaction for many rows, and few for many statements
BEGIN;
INSERT INTO watched SELECT 'b/' || n, 'x' FROM generate_series(1, 5000) n;
DO $$ BEGIN FOR n IN 1..1000 LOOP INSERT INTO by_hand VALUES ('c/' || n, 'x'); INSERT INTO watched VALUES ('d/' || n, 'x'); END LOOP; END $$;
SELECT count(DISTINCT xmin::text) <= 20 AS few FROM target_profile.dead_letter;
COMMIT;
SELECT count(*), count(DISTINCT xmin::text) <= 20 AS few FROM target_profile.dead_letter;
DELETE FROM target_profile.dead_letter;

-- on_invalid => 'error' keeps raising
SELECT target_profile.unwatch('watched');
SELECT target_profile.watch('watched', 'acme', 'mbox3rdPartyId', 'id', '{v,j}', on_invalid => 'error');
INSERT INTO watched VALUES ('a/b', 'x');
INSERT INTO watched VALUES ('a', 'x', '"\u0000"');
SELECT * FROM buried();

-- a backfill passes such rows
SELECT target_profile.unwatch('watched');
TRUNCATE watched;
INSERT INTO watched SELECT 'B' || n, 'x', '{"a": 1}' FROM generate_series(1, 20) n;
INSERT INTO watched VALUES ('B10a', 'x', '{"a": "\u0000"}'), (noise(6000), 'x', NULL), ('B10b', 'x', '"\ud800"'), ('B10c', repeat('x', 17000000), NULL);
SELECT target_profile.watch('watched', 'acme', 'mbox3rdPartyId', 'id', '{v,j}');
CALL target_profile.backfill('watched', chunk => 5);
SELECT state, rows_done, entries, invalid, last_error FROM target_profile.backfill_progress;
SELECT count(*), min(priority) FROM target_profile.outbox;
SELECT * FROM buried();

DROP TABLE watched, by_hand;
-- A write in a read-only transaction, to a temporary table: there is one WARNING, and it shows no id.
CREATE TEMP TABLE unwritten (id text, v text);
CREATE TRIGGER t AFTER INSERT ON unwritten FOR EACH ROW
    EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'v');
\set VERBOSITY default
BEGIN READ ONLY;
INSERT INTO unwritten VALUES ('SECRET/ID', 'x');
COMMIT;
\set VERBOSITY terse
DROP TABLE unwritten;
DROP FUNCTION write(text, text, json), noise(integer), buried();
DROP CAST (mood AS json);
DROP FUNCTION to_json(mood);
DROP TYPE mood;
DROP EXTENSION target_profile;
