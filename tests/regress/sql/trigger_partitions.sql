-- The trigger on partitioned and inherited tables, on foreign keys' cascades and with generated ids.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE FUNCTION enqueued() RETURNS TABLE (profile_id text, attrs jsonb, source text) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *) SELECT profile_id, attrs, source FROM taken ORDER BY id
$$;

-- one trigger on the root; partitions with columns in another order, and dropped ones
CREATE TABLE customer (id integer, region text, tier text) PARTITION BY LIST (region);
CREATE TABLE customer_eu PARTITION OF customer FOR VALUES IN ('eu');
CREATE TABLE customer_us (gone text, tier text, id integer, region text);
ALTER TABLE customer_us DROP gone;
ALTER TABLE customer ATTACH PARTITION customer_us FOR VALUES IN ('us');
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier', 'region');
CREATE TABLE customer_rest PARTITION OF customer DEFAULT;
INSERT INTO customer VALUES (1, 'eu', 'gold'), (2, 'us', 'silver'), (3, 'cn', 'bronze');
INSERT INTO customer_us (id, region, tier) VALUES (4, 'us', 'gold');
UPDATE customer SET tier = 'platinum' WHERE id < 3;
SELECT * FROM enqueued();
-- a row that moves to another partition
UPDATE customer SET region = 'us' WHERE id = 1;
SELECT * FROM enqueued();
-- a new column that is not mapped
ALTER TABLE customer ADD city text;
UPDATE customer SET city = 'Basel';
SELECT * FROM enqueued();
DROP TABLE customer;

-- inheritance: a trigger belongs to its own table
CREATE TABLE parent (id integer, tier text);
CREATE TABLE child (extra text) INHERITS (parent);
CREATE TRIGGER t AFTER INSERT OR UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO parent VALUES (1, 'a');
INSERT INTO child VALUES (2, 'b');
UPDATE parent SET tier = 'c';
SELECT * FROM enqueued();
DROP TABLE parent CASCADE;

-- changes that a foreign key makes
CREATE TABLE tier (name text PRIMARY KEY);
CREATE TABLE customer (id integer GENERATED ALWAYS AS IDENTITY, tier text REFERENCES tier ON UPDATE CASCADE ON DELETE SET NULL, level text DEFAULT 'x');
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier', 'level');
INSERT INTO tier VALUES ('a'), ('b');
INSERT INTO customer (tier) VALUES ('a'), ('b');
UPDATE tier SET name = 'c' WHERE name = 'a';
DELETE FROM tier WHERE name = 'b';
SELECT * FROM enqueued();
-- a constraint trigger, deferred to the commit
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON customer DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'later=tier');
BEGIN;
INSERT INTO customer (tier) VALUES ('c');
SELECT profile_id, attrs FROM target_profile.outbox;
COMMIT;
SELECT * FROM enqueued();
DROP TABLE customer, tier;

-- a temporary table, and names that need quotes
CREATE TEMP TABLE "Odd ""Name""" ("Id=" integer, "a=b" text);
CREATE TRIGGER t AFTER INSERT ON "Odd ""Name"""
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'Id=', 'a=b', 'c=a=b');
INSERT INTO "Odd ""Name""" VALUES (1, 'x');
SELECT profile_id, attrs FROM enqueued();

DROP TABLE "Odd ""Name""";
DROP FUNCTION enqueued;
DROP EXTENSION target_profile;
