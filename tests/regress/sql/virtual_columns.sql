-- Generated columns that are computed when they are read: PostgreSQL 18 has them, and there they are what GENERATED ALWAYS AS makes.
SELECT current_setting('server_version_num')::integer < 180000 AS has_none \gset
\if :has_none
\echo 'there are none'
\quit
\endif
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE FUNCTION enqueued() RETURNS TABLE (kind text, profile_id text, attrs jsonb) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *)
    SELECT id_kind, profile_id, attrs FROM taken ORDER BY id
$$;
CREATE TABLE customer (
    email text, spent numeric, orders integer, note text,
    id text GENERATED ALWAYS AS (lower(email)),
    is_good boolean GENERATED ALWAYS AS (spent > 100) VIRTUAL,
    mean numeric GENERATED ALWAYS AS (round(spent / orders, 2)),
    double numeric GENERATED ALWAYS AS (spent * 2) STORED,
    "where" text[] GENERATED ALWAYS AS (ARRAY[email]));
-- attributes, the id, and the condition
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{is_good,mean,double}');
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'md5(id)', '{where}', send => 'changed', "when" => 'NEW.is_good');
SELECT id_kind, state FROM target_profile.watch_state;
CREATE TABLE by_hand (LIKE customer INCLUDING GENERATED);
CREATE TRIGGER to_target AFTER INSERT OR UPDATE ON by_hand FOR EACH ROW
    EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'is_good', 'mean', 'where');
INSERT INTO customer VALUES ('A@b', 50, 2), ('C@d', 150, 4);
INSERT INTO by_hand VALUES ('A@b', 50, 2), ('C@d', NULL, 4);
SELECT * FROM enqueued();
-- nothing of what is sent changes; something does; the id does
UPDATE customer SET note = 'x';
UPDATE customer SET email = upper(email);
UPDATE by_hand SET note = 'x', spent = 51 WHERE email = 'A@b';
UPDATE by_hand SET note = 'y';
SELECT * FROM enqueued();
UPDATE customer SET spent = 102, orders = 6 WHERE id = 'a@b';
UPDATE customer SET email = 'e@f' WHERE id = 'c@d';
SELECT * FROM enqueued();
-- what cannot be computed does not stop the write
INSERT INTO customer VALUES ('G@h', 1, 0);
UPDATE customer SET orders = 0 WHERE id = 'a@b';
INSERT INTO by_hand VALUES ('G@h', 1, 0);
SELECT profile_id, reason FROM target_profile.dead_letter ORDER BY id;
DELETE FROM target_profile.outbox;
-- the backfill computes it as well
DELETE FROM customer WHERE orders = 0;
CALL target_profile.backfill('customer', client_code => 'acme', id_kind => 'mbox3rdPartyId');
CALL target_profile.backfill('customer', client_code => 'acme', id_kind => 'mboxPC');
SELECT * FROM enqueued();
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'customer'::regclass AND tgname ~ 'update' ORDER BY tgname;
-- a row of which it cannot be computed becomes a dead letter, and the others are sent: alone, in a chunk, with several rows of one id
DELETE FROM target_profile.dead_letter;
TRUNCATE customer;
INSERT INTO customer (email, spent, orders) SELECT 'c' || n, n, CASE WHEN n IN (3, 4, 7) THEN 0 ELSE 2 END FROM generate_series(1, 9) n;
INSERT INTO customer VALUES ('c2', 5, 0), (NULL, 1, 0);
DELETE FROM target_profile.outbox;
DELETE FROM target_profile.dead_letter;
CALL target_profile.backfill('customer', client_code => 'acme', id_kind => 'mbox3rdPartyId', chunk => 5, restart => true);
SELECT profile_id, attrs FROM enqueued();
SELECT profile_id, reason, attrs FROM target_profile.dead_letter ORDER BY profile_id;
SELECT state, rows_done, entries, invalid, without_id FROM target_profile.backfill_progress WHERE id_kind = 'mbox3rdPartyId';
-- not if the watch says that it is an error
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{is_good,mean,double}', on_invalid => 'error');
CALL target_profile.backfill('customer', client_code => 'acme', id_kind => 'mbox3rdPartyId', chunk => 5, restart => true);
SELECT state, rows_done, last_error FROM target_profile.backfill_progress WHERE id_kind = 'mbox3rdPartyId';
-- through a partition
CREATE TABLE part (id integer, n integer, m integer, twice integer GENERATED ALWAYS AS (n * 2)) PARTITION BY LIST (id);
CREATE TABLE part_1 (m integer, n integer, id integer, twice integer GENERATED ALWAYS AS (n * 3 + m));
ALTER TABLE part ATTACH PARTITION part_1 FOR VALUES IN (1);
SELECT target_profile.watch('part', 'acme', 'mboxPC', 'id', '{twice}');
INSERT INTO part VALUES (1, 1, 0);
UPDATE part SET n = 2;
UPDATE part SET m = 1;
SELECT * FROM enqueued();
SELECT "table", state FROM target_profile.watch_state ORDER BY 1;
DROP TABLE customer, by_hand, part;
DROP FUNCTION enqueued;
DROP EXTENSION target_profile;
