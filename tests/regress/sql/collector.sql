-- The triggers of a watched table: a row trigger that collects entries and a statement trigger that writes them, with one INSERT.
-- They are created by hand here, so that each can be left out.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
-- What has been written since the last look, and with how many INSERTs.
CREATE TABLE written (rows bigint);
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.written SELECT count(*) FROM new; RETURN NULL; END $$;
CREATE TRIGGER count_rows AFTER INSERT ON target_profile.outbox REFERENCING NEW TABLE AS new
    FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
CREATE FUNCTION enqueued(OUT inserts text, OUT entries text) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *), counts AS (DELETE FROM public.written RETURNING rows)
    SELECT (SELECT string_agg(rows::text, ' ' ORDER BY rows) FROM counts),
        (SELECT string_agg(profile_id || '=' || (attrs ->> 'tier'), ' ' ORDER BY id) FROM taken)
$$;

CREATE TABLE customer (id text, tier text CHECK (tier <> 'bad'), note text);
CREATE TRIGGER row_i AFTER INSERT ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
CREATE TRIGGER row_u AFTER UPDATE ON customer
    FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tier IS DISTINCT FROM NEW.tier)
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
CREATE TRIGGER flush AFTER INSERT OR UPDATE ON customer FOR EACH STATEMENT EXECUTE FUNCTION target_profile._watch_flush();

-- one INSERT a statement; ids in the order of the rows, also when ids repeat or change: the table has no key
INSERT INTO customer VALUES ('1', 'a'), ('2', 'b'), ('1', 'c');
SELECT * FROM enqueued();
UPDATE customer SET tier = upper(tier) WHERE id = '1';
SELECT * FROM enqueued();
UPDATE customer SET id = (3 - id::integer)::text;
SELECT * FROM enqueued();
UPDATE customer SET note = 'x';
UPDATE customer SET tier = tier;
UPDATE customer SET tier = 'z' WHERE false;
SELECT * FROM enqueued();

-- chunks: by rows, and by bytes
INSERT INTO customer SELECT n::text, 'x' FROM generate_series(1, 2500) n;
SELECT inserts FROM enqueued();
INSERT INTO customer SELECT n::text, repeat('x', 50000) FROM generate_series(1, 50) n;
SELECT inserts FROM enqueued();
SELECT string_agg(id || '=y', ' ' ORDER BY ctid) AS expected FROM customer \gset
UPDATE customer SET tier = 'y';
SELECT inserts, entries = :'expected' AS in_order FROM enqueued();
TRUNCATE customer;

-- rows that cannot be sent, one warning a statement
INSERT INTO customer VALUES ('1', 'a'), (' ', 'b'), ('', 'c'), ('2', NULL), ('3', 'd');
SELECT * FROM enqueued();
SELECT profile_id, attrs, source, reason FROM target_profile.dead_letter ORDER BY id;

-- every way to write
TRUNCATE customer;
CREATE UNIQUE INDEX customer_id ON customer (id);
COPY customer (id, tier) FROM stdin;
1	a
2	b
3	c
\.
SELECT * FROM enqueued();
INSERT INTO customer VALUES ('1', 'd'), ('4', 'e'), ('2', 'b')
    ON CONFLICT (id) DO UPDATE SET tier = excluded.tier;
INSERT INTO customer VALUES ('1', 'never') ON CONFLICT DO NOTHING;
SELECT * FROM enqueued();
WITH i AS (INSERT INTO customer VALUES ('5', 'f'), ('6', 'g')), u AS (UPDATE customer SET tier = 'h' WHERE id = '1' RETURNING id)
    SELECT * FROM u;
SELECT * FROM enqueued();
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM customer WHERE id IN ('2', '3') ORDER BY id FOR UPDATE;
FETCH c;
UPDATE customer SET tier = 'cursor' WHERE CURRENT OF c;
FETCH c;
UPDATE customer SET tier = 'cursor' WHERE CURRENT OF c;
COMMIT;
SELECT * FROM enqueued();
CREATE FUNCTION set_tier(text, text) RETURNS text LANGUAGE sql AS
$$ UPDATE customer SET tier = $2 WHERE id = $1 RETURNING id $$;
SELECT set_tier(id, 'f' || id) FROM (VALUES ('4'), ('5'), ('4')) AS v (id);
SELECT * FROM enqueued();

-- a failed statement takes its rows along, and leaves nothing behind
INSERT INTO customer VALUES ('7', 'x'), ('8', 'bad');
INSERT INTO customer VALUES ('9', 'x');
SELECT * FROM enqueued();

-- savepoints
BEGIN;
INSERT INTO customer VALUES ('s1', 'x');
SAVEPOINT a;
INSERT INTO customer VALUES ('s2', 'rolled back');
ROLLBACK TO a;
INSERT INTO customer VALUES ('s3', 'x');
SAVEPOINT b;
INSERT INTO customer VALUES ('s4', 'x');
RELEASE b;
COMMIT;
SELECT * FROM enqueued();

-- statements inside of statements: each row of the outer one makes the inner one, some of which fail
TRUNCATE customer;
CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id !~ 'echo' THEN
        BEGIN
            INSERT INTO customer VALUES (NEW.id || ' echo', '1'), (NEW.id || ' echo echo', CASE NEW.id WHEN '2' THEN 'bad' ELSE '2' END);
            UPDATE customer SET tier = '3' WHERE id = NEW.id;
        EXCEPTION WHEN check_violation THEN NULL;
        END;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER s AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION echo();
INSERT INTO customer VALUES ('1', '0'), ('2', '0'), ('3', '0');
SELECT * FROM enqueued();
-- the same for a function that is called by the statement, before its own rows are written
DROP TRIGGER s ON customer;
CREATE TRIGGER s BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION echo();
CREATE OR REPLACE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id !~ 'echo' THEN
        INSERT INTO customer VALUES (NEW.id || ' echo', '1');
    END IF;
    RETURN NEW;
END
$$;
INSERT INTO customer VALUES ('5', '0'), ('6', '0');
SELECT * FROM enqueued();
DROP TRIGGER s ON customer;

-- the statement trigger is disabled, or gone: what was collected is written at the bound, before a subtransaction ends, before commit
ALTER TABLE customer DISABLE TRIGGER flush;
INSERT INTO customer VALUES ('d1', 'x'), ('d2', 'x');
SELECT * FROM enqueued();
DROP TRIGGER flush ON customer;
BEGIN;
INSERT INTO customer VALUES ('e1', 'x');
INSERT INTO customer VALUES ('e2', 'x');
SELECT count(*) AS before_commit FROM target_profile.outbox;
SELECT target_profile_update('acme', 'mboxPC', 'e3', '{"tier": "after"}') > 0 AS enqueued;
COMMIT;
SELECT * FROM enqueued();
INSERT INTO customer SELECT 'f' || n, 'x' FROM generate_series(1, 2001) n;
SELECT inserts FROM enqueued();
BEGIN;
INSERT INTO customer VALUES ('g1', 'x');
ROLLBACK;
BEGIN;
INSERT INTO customer VALUES ('g2', 'x');
INSERT INTO customer VALUES ('g3', 'bad');
COMMIT;
INSERT INTO customer VALUES ('g4', 'x');
SELECT * FROM enqueued();
BEGIN;
INSERT INTO customer VALUES ('h1', 'x');
SAVEPOINT a;
INSERT INTO customer VALUES ('h2', 'rolled back');
SAVEPOINT b;
INSERT INTO customer VALUES ('h3', 'released, then rolled back');
RELEASE b;
SELECT profile_id FROM target_profile.outbox;
ROLLBACK TO a;
INSERT INTO customer VALUES ('h4', 'x');
SAVEPOINT c;
INSERT INTO customer VALUES ('h5', 'x');
COMMIT;
SELECT * FROM enqueued();
-- what the outer one has collected first has the lower id, though it is written last
BEGIN;
INSERT INTO customer VALUES ('i', 'older');
SAVEPOINT a;
UPDATE customer SET tier = 'newer' WHERE id = 'i';
RELEASE a;
SELECT profile_id, attrs FROM target_profile.outbox;
COMMIT;
SELECT * FROM enqueued();
DO $$
BEGIN
    FOR i IN 1..4 LOOP
        BEGIN
            INSERT INTO customer VALUES ('j' || i, 'x');
            IF i % 2 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END
$$;
SELECT * FROM enqueued();
CREATE PROCEDURE three() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..3 LOOP
        INSERT INTO customer VALUES ('k' || i, 'x');
        IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END
$$;
CALL three();
SELECT * FROM enqueued();
BEGIN;
INSERT INTO customer VALUES ('l1', 'x');
PREPARE TRANSACTION 'regress_tp_kept';
BEGIN;
INSERT INTO customer VALUES ('l2', 'x');
PREPARE TRANSACTION 'regress_tp_dropped';
INSERT INTO customer VALUES ('l3', 'x');
SELECT * FROM enqueued();
ROLLBACK PREPARED 'regress_tp_dropped';
COMMIT PREPARED 'regress_tp_kept';
SELECT * FROM enqueued();
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO customer VALUES ('m', 'x');
COMMIT;
SELECT * FROM enqueued();
-- a transaction that becomes read-only after its rows were written
BEGIN;
INSERT INTO customer VALUES ('n', 'x');
SET TRANSACTION READ ONLY;
INSERT INTO customer VALUES ('o', 'x');
ROLLBACK;
BEGIN;
INSERT INTO customer VALUES ('n', 'x');
SET TRANSACTION READ ONLY;
COMMIT;
SELECT * FROM enqueued();

-- deferred to the commit
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON customer DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mbox3rdPartyId', 'id', 'all', 'warn', '5', 'tier');
BEGIN;
INSERT INTO customer VALUES ('p1', 'x');
COMMIT;
SELECT profile_id, id_kind, priority FROM target_profile.outbox ORDER BY id;
SELECT * FROM enqueued();
BEGIN;
INSERT INTO customer VALUES ('p2', 'x');
SAVEPOINT a;
SET CONSTRAINTS later IMMEDIATE;
ROLLBACK TO a;
INSERT INTO customer VALUES ('p3', 'x');
COMMIT;
SELECT * FROM enqueued();
DROP TRIGGER later ON customer;
DROP TABLE customer;

-- partitions: a row that moves to another one; rows straight into one, which has no statement trigger
CREATE TABLE customer (id text, region text, tier text) PARTITION BY LIST (region);
CREATE TABLE customer_eu PARTITION OF customer FOR VALUES IN ('eu');
CREATE TABLE customer_us PARTITION OF customer FOR VALUES IN ('us');
CREATE TRIGGER row_i AFTER INSERT ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
CREATE TRIGGER row_u AFTER UPDATE ON customer FOR EACH ROW WHEN (OLD.tier IS DISTINCT FROM NEW.tier)
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
CREATE TRIGGER flush AFTER INSERT OR UPDATE ON customer FOR EACH STATEMENT EXECUTE FUNCTION target_profile._watch_flush();
INSERT INTO customer VALUES ('1', 'eu', 'a'), ('2', 'us', 'b'), ('3', 'eu', 'c');
SELECT * FROM enqueued();
UPDATE customer SET region = 'us', tier = 'moved' WHERE id = '1';
UPDATE customer SET tier = 'd';
SELECT * FROM enqueued();
BEGIN;
INSERT INTO customer_us VALUES ('4', 'us', 'direct');
SELECT count(*) AS before_commit FROM target_profile.outbox;
COMMIT;
SELECT * FROM enqueued();
DROP TABLE customer;

-- changes that a foreign key makes
CREATE TABLE tier (name text PRIMARY KEY);
CREATE TABLE customer (id integer GENERATED ALWAYS AS IDENTITY, tier text REFERENCES tier ON UPDATE CASCADE);
CREATE TRIGGER row_u AFTER UPDATE ON customer FOR EACH ROW
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
CREATE TRIGGER flush AFTER INSERT OR UPDATE ON customer FOR EACH STATEMENT EXECUTE FUNCTION target_profile._watch_flush();
INSERT INTO tier VALUES ('a'), ('b');
INSERT INTO customer (tier) VALUES ('a'), ('b'), ('a');
UPDATE tier SET name = name || name;
SELECT * FROM enqueued();
DROP TABLE customer, tier;

-- options: what an UPDATE sends, what becomes of a row that cannot be sent
CREATE TABLE customer (id text, tier text, city text);
CREATE TRIGGER row_iu AFTER INSERT OR UPDATE ON customer FOR EACH ROW
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'changed', 'error', '-7', 'tier', 'home=city');
INSERT INTO customer VALUES ('1', 'a', 'Basel'), ('2', 'b', 'Bern');
UPDATE customer SET tier = 'c' WHERE id = '1';
UPDATE customer SET city = NULL WHERE id = '1';
UPDATE customer SET city = 'Basel', tier = 'c' WHERE id = '1';
UPDATE customer SET id = '3' WHERE id = '2';
INSERT INTO customer VALUES ('4', 'd'), (' ', 'e');
SELECT profile_id, attrs, priority FROM target_profile.outbox ORDER BY id;
SELECT id FROM customer ORDER BY id;
DROP TRIGGER row_iu ON customer;
-- options that are none
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'tier', 'all', 'warn', '0');
INSERT INTO customer VALUES ('5', 'x');
DROP TRIGGER t ON customer;
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id');
INSERT INTO customer VALUES ('5', 'x');
DROP TRIGGER t ON customer;
SELECT source, profile_id, reason FROM target_profile.dead_letter ORDER BY id DESC LIMIT 2;
-- a statement trigger on a row, and before it
CREATE TRIGGER t BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile._watch_flush();
INSERT INTO customer VALUES ('6', 'x');
SELECT id FROM customer WHERE id = '6';
DROP TRIGGER t ON customer;

-- the owner's rights are used for the INSERT alone, whatever operators and functions the writer has made
CREATE ROLE regress_tp_plain;
CREATE SCHEMA regress_tp_plain AUTHORIZATION regress_tp_plain;
GRANT INSERT ON customer TO regress_tp_plain;
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
DELETE FROM target_profile.outbox;
DROP TRIGGER count_rows ON target_profile.outbox;
SET ROLE regress_tp_plain;
CREATE FUNCTION regress_tp_plain.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE DOMAIN regress_tp_plain.jsonb AS text CHECK (false);
SET search_path = regress_tp_plain, pg_catalog, public;
BEGIN;
INSERT INTO public.customer VALUES ('7', 'x'), ('8', 'x');
COMMIT;
SELECT * FROM target_profile.outbox;
RESET search_path;
RESET ROLE;
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id;

-- the extension goes while something is collected
BEGIN;
INSERT INTO customer VALUES ('9', 'x');
SET client_min_messages = warning;
DROP EXTENSION target_profile CASCADE;
COMMIT;
RESET client_min_messages;
SELECT id FROM customer WHERE id = '9';

DROP TABLE customer, written;
DROP PROCEDURE three;
DROP FUNCTION enqueued, echo, set_tier, count_rows;
DROP SCHEMA regress_tp_plain CASCADE;
DROP ROLE regress_tp_plain;
