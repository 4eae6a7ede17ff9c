-- Columns, tables and partitions that change places: watch_state shows what the triggers do not follow.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE FUNCTION enqueued() RETURNS TABLE (profile_id text, attrs jsonb) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *)
    SELECT profile_id, attrs FROM taken ORDER BY id
$$;
CREATE TABLE customer (id text, score integer, tier text, "home=city" text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{score,level=tier,home=city}');
INSERT INTO customer VALUES ('a', 1, 'x', 'y');
SELECT * FROM enqueued();
SELECT state FROM target_profile.watch_state;

-- a column of another type takes the name: the usual way to change a type without a long lock
ALTER TABLE customer ADD score_new bigint;
UPDATE customer SET score_new = score;
ALTER TABLE customer RENAME score TO score_old;
SELECT state FROM target_profile.watch_state;
ALTER TABLE customer RENAME score_new TO score;
SELECT state FROM target_profile.watch_state;
UPDATE customer SET score = 2;
SELECT * FROM enqueued();
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{score,level=tier,home=city}');
SELECT state FROM target_profile.watch_state;
UPDATE customer SET score = 3;
SELECT * FROM enqueued();
-- the id, and one that is renamed as an attribute
ALTER TABLE customer ADD tier2 text, ADD id2 text;
ALTER TABLE customer RENAME tier TO tier1;
ALTER TABLE customer RENAME tier2 TO tier;
SELECT state FROM target_profile.watch_state;
ALTER TABLE customer RENAME tier TO tier2;
ALTER TABLE customer RENAME tier1 TO tier;
SELECT state FROM target_profile.watch_state;
ALTER TABLE customer RENAME id TO id1;
ALTER TABLE customer RENAME id2 TO id;
SELECT state FROM target_profile.watch_state;
ALTER TABLE customer RENAME id TO id2;
ALTER TABLE customer RENAME id1 TO id;
-- one that is not watched is not talked about
ALTER TABLE customer RENAME id2 TO id3;
-- a column of a dropped one's name, in an expression
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'lower(id)', '{tier}', "when" => 'NEW.score > 0');
ALTER TABLE customer RENAME id TO id1;
ALTER TABLE customer RENAME id3 TO id;
SELECT id_kind, state FROM target_profile.watch_state;
ALTER TABLE customer RENAME id TO id3;
ALTER TABLE customer RENAME id1 TO id;
SELECT target_profile.unwatch('customer', 'acme', 'mboxPC');
-- columns of "when": one that is renamed is followed; one whose name another column has got is shown, be the other one named as well
ALTER TABLE customer ADD active boolean, ADD active_new boolean;
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier}', "when" => 'NEW.active AND OLD.score > 0 IS NOT TRUE');
SELECT when_columns FROM target_profile.watched_table WHERE id_kind = 'mboxPC';
ALTER TABLE customer RENAME active TO active_old;
SELECT state FROM target_profile.watch_state WHERE id_kind = 'mboxPC';
ALTER TABLE customer RENAME active_new TO active;
SELECT state FROM target_profile.watch_state WHERE id_kind = 'mboxPC';
ALTER TABLE customer RENAME active TO active_new;
ALTER TABLE customer RENAME active_old TO active;
SELECT state FROM target_profile.watch_state WHERE id_kind = 'mboxPC';
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier}', "when" => 'NEW.tier IS NOT NULL AND NEW.tier2 IS NOT NULL');
ALTER TABLE customer RENAME tier TO tier1;
ALTER TABLE customer RENAME tier2 TO tier;
ALTER TABLE customer RENAME tier1 TO tier2;
SELECT state FROM target_profile.watch_state WHERE id_kind = 'mboxPC';
ALTER TABLE customer RENAME tier TO tier1;
ALTER TABLE customer RENAME tier2 TO tier;
ALTER TABLE customer RENAME tier1 TO tier2;
SELECT state FROM target_profile.watch_state WHERE id_kind = 'mboxPC';
SELECT target_profile.unwatch('customer', 'acme', 'mboxPC');
ALTER TABLE customer DROP active, DROP active_new;
-- each way of comparing, and a name that needs quotes
CREATE TABLE compared (id varchar(10), "A b" char(3), c numeric, d jsonb, e float8[], f name, g varchar, h inet, i cidr, j text COLLATE "C");
SELECT target_profile.watch('compared', 'acme', 'mboxPC', 'id', '{"A b",c,d,e,f,g,h,i,j}');
SELECT "table", state FROM target_profile.watch_state WHERE id_kind = 'mboxPC';
SELECT target_profile.unwatch('compared');
DROP TABLE compared;
-- a trigger by hand
CREATE TABLE by_hand (id text, score integer);
CREATE TRIGGER to_target AFTER INSERT OR UPDATE ON by_hand FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'points=score');
ALTER TABLE by_hand RENAME score TO points;
DROP TABLE by_hand;

-- tables that swap their names
CREATE TABLE customer_new (LIKE customer);
ALTER TABLE customer RENAME TO customer_old;
SELECT "table", state FROM target_profile.watch_state;
ALTER TABLE customer_new RENAME TO customer;
SELECT "table", state FROM target_profile.watch_state;
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{score,level=tier,home=city}');
SELECT "table", state FROM target_profile.watch_state ORDER BY 1;
-- the old one goes, as in a dbt run: nothing is left of it
DROP TABLE customer_old;
SELECT "table", state FROM target_profile.watch_state;
BEGIN;
CREATE TABLE customer_new (LIKE customer);
ALTER TABLE customer RENAME TO customer_old;
ALTER TABLE customer_new RENAME TO customer;
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{score,level=tier,home=city}');
COMMIT;
DROP TABLE customer_old;
SELECT "table", state FROM target_profile.watch_state;
SELECT count(*) FROM target_profile.watched_table;
-- a table that was renamed and is watched anew is known by its new name
ALTER TABLE customer RENAME TO client;
CREATE TABLE customer (id text);
SELECT "table", state FROM target_profile.watch_state;
SELECT target_profile.watch('client', 'acme', 'mbox3rdPartyId', 'id', '{score,level=tier,home=city}');
SELECT state FROM target_profile.watch_state WHERE "table" = 'client'::regclass;
DROP TABLE client, customer;
SELECT count(*), min(state) FROM target_profile.watch_state;
DELETE FROM target_profile.watched_table;

-- partitions
CREATE TABLE part (id text, region text, tier text) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us') PARTITION BY LIST (id);
CREATE TABLE part_us_a PARTITION OF part_us FOR VALUES IN ('a');
SELECT target_profile.watch('part', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
SELECT state FROM target_profile.watch_state;
ALTER TABLE part_us_a DISABLE TRIGGER "target_profile_acme_mbox3rdPartyId_update";
SELECT state FROM target_profile.watch_state;
ALTER TABLE part_us_a ENABLE TRIGGER "target_profile_acme_mbox3rdPartyId_update";
SELECT state FROM target_profile.watch_state;
-- detached, it is a table of its own; attached again, it has the triggers again
ALTER TABLE part DETACH PARTITION part_eu;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'part_eu'::regclass;
SELECT "table", state FROM target_profile.watch_state;
CREATE TABLE part_eu_new (LIKE part_eu);
ALTER TABLE part ATTACH PARTITION part_eu_new FOR VALUES IN ('eu');
INSERT INTO part VALUES ('b', 'eu', 'x'), ('a', 'us', 'x');
SELECT * FROM enqueued();
SELECT "table", state FROM target_profile.watch_state;

DROP TABLE part, part_eu;
DROP FUNCTION enqueued;
DROP EXTENSION target_profile;
