-- The sequence of ids is set back below entries that wait: whoever writes gets other ids, in the order of what was written.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE EXTENSION amcheck;
CREATE TABLE customer (id integer PRIMARY KEY, tier text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
CREATE FUNCTION take(ids bigint[]) RETURNS void LANGUAGE sql AS $$
    TRUNCATE target_profile.outbox;
    SELECT setval('target_profile.outbox_id_seq', 1, false);
    INSERT INTO target_profile.outbox (id, client_code, id_kind, profile_id, attrs)
        SELECT id, 'acme', 'mbox3rdPartyId', 'taken ' || id, '{"a": "1"}' FROM unnest(ids) id;
$$;
CREATE FUNCTION checked() RETURNS TABLE (index name, checked text) LANGUAGE sql AS $$
    SELECT c.relname, bt_index_parent_check(c.oid, true)::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'target_profile.outbox'::regclass ORDER BY c.relname COLLATE "C";
$$;

-- the function: the answer is the id that the entry has
SELECT take('{1,2,3}');
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'f', '{"a": 1}') AS id \gset
SELECT :id > 3 AS another, profile_id FROM target_profile.outbox WHERE id = :id;
SELECT state FROM target_profile.result(:id);
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'f', '{"a": 2}') = :id + 1 AS next;
SELECT count(*) FROM target_profile.outbox;
SELECT * FROM checked();

-- in a transaction that is rolled back to a savepoint, and in one that changes the rows it has written
SELECT take('{1,2}');
BEGIN;
SAVEPOINT s;
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'gone', '{"a": 1}') > 2 AS another;
ROLLBACK TO s;
SELECT setval('target_profile.outbox_id_seq', 1, false);
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'kept', '{"a": 1}') > 2 AS another;
DELETE FROM target_profile.outbox WHERE profile_id = 'taken 1';
COMMIT;
SELECT profile_id FROM target_profile.outbox ORDER BY profile_id COLLATE "C";
SELECT * FROM checked();

-- many rows: the first is taken, one in the middle, some here and there, many in a row
SELECT take('{1}');
INSERT INTO customer SELECT n, 'x' FROM generate_series(1, 600) n;
SELECT count(*), count(DISTINCT profile_id), bool_and(follows) FROM (
    SELECT profile_id, profile_id::integer > lag(profile_id::integer, 1, 0) OVER (ORDER BY id) AS follows
    FROM target_profile.outbox WHERE profile_id !~ 'taken') o;
SELECT take('{300}');
UPDATE customer SET tier = 'y';
SELECT count(*), count(DISTINCT profile_id) FROM target_profile.outbox WHERE profile_id !~ 'taken';
SELECT take(array_agg(n * 50)) FROM generate_series(1, 11) n;
DELETE FROM customer;
INSERT INTO customer SELECT n, 'x' FROM generate_series(1, 600) n;
SELECT count(*), count(DISTINCT profile_id), bool_and(follows) FROM (
    SELECT profile_id, profile_id::integer > lag(profile_id::integer, 1, 0) OVER (ORDER BY id) AS follows
    FROM target_profile.outbox WHERE profile_id !~ 'taken') o;
SELECT * FROM checked();
SELECT take(array_agg(n)) FROM generate_series(1, 2000) n;
UPDATE customer SET tier = 'z' WHERE id <= 300;
SELECT count(*), count(DISTINCT profile_id), min(id) > 2000 AS above FROM target_profile.outbox WHERE profile_id !~ 'taken';
SELECT * FROM checked();

-- so that every attempt meets one that is taken: the statement may fail, and leaves nothing then
SELECT take((SELECT array_agg(1::bigint << n) FROM generate_series(0, 20) n));
DO $$
DECLARE
    written bigint;
BEGIN
    written := target_profile_update('acme', 'mbox3rdPartyId', 'unlucky', '{"a": 1}');
    ASSERT (SELECT profile_id FROM target_profile.outbox WHERE id = written) = 'unlucky';
EXCEPTION WHEN unique_violation THEN
    ASSERT NOT EXISTS (SELECT FROM target_profile.outbox WHERE profile_id = 'unlucky');
END
$$;
SELECT count(*) FROM target_profile.outbox WHERE profile_id ~ 'taken';
SELECT last_value > 1000000 AS so_far FROM target_profile.outbox_id_seq;
SELECT * FROM checked();

DROP FUNCTION checked();
DROP TABLE customer;
DROP FUNCTION take(bigint[]);
DROP EXTENSION amcheck;
DROP EXTENSION target_profile;
