-- The row trigger: which row changes become entries, and what is in them.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
-- What has been enqueued since the last look, in order.
CREATE FUNCTION enqueued() RETURNS TABLE (id_kind text, profile_id text, attrs jsonb, priority smallint, source text)
    LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *)
    SELECT id_kind, profile_id, attrs, priority, source FROM taken ORDER BY id
$$;

CREATE TABLE customer (
    id text PRIMARY KEY,
    tier text,
    "Full Name" text,
    note text,
    points numeric
);
CREATE TRIGGER to_target AFTER INSERT OR UPDATE OR DELETE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'thirdPartyId', 'id', 'tier', 'crm.name=Full Name', 'profile.points=points');

INSERT INTO customer VALUES ('c1', 'gold', 'Zoë "Z" O''Neil', 'private', 10), ('c2', NULL, NULL, NULL, 0);
SELECT * FROM enqueued();

-- an update sends all mapped columns; one that changes none of them sends nothing
UPDATE customer SET tier = 'silver' WHERE id = 'c1';
UPDATE customer SET note = 'other';
UPDATE customer SET tier = tier, points = points;
SELECT * FROM enqueued();

-- equal numbers that are written differently are different attributes
UPDATE customer SET points = 10.00 WHERE id = 'c1';
SELECT * FROM enqueued();

-- a changed id sends under the new one
UPDATE customer SET id = 'c3' WHERE id = 'c2';
SELECT * FROM enqueued();

-- NULL is skipped; a row of nothing but NULLs has nothing to send
UPDATE customer SET tier = NULL WHERE id = 'c1';
INSERT INTO customer VALUES ('c4');
UPDATE customer SET points = NULL WHERE id = 'c3';
SELECT * FROM enqueued();
SELECT count(*) FROM target_profile.dead_letter;
-- or is sent as what the client says
SELECT target_profile.set_client('acme', null_value => '-');
INSERT INTO customer VALUES ('c5');
SELECT * FROM enqueued();
SELECT target_profile.set_client('acme', reset => '{null_value}');

-- DELETE and TRUNCATE send nothing
DELETE FROM customer WHERE id = 'c5';
TRUNCATE customer;
SELECT * FROM enqueued();

-- what a BEFORE trigger makes of the row is what is sent
CREATE FUNCTION upper_tier() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.tier := upper(NEW.tier); RETURN NEW; END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION upper_tier();
INSERT INTO customer VALUES ('c1', 'gold');
UPDATE customer SET note = 'tier stays' WHERE id = 'c1';
SELECT * FROM enqueued();
DROP TRIGGER a ON customer;

-- every way to write
COPY customer (id, tier) FROM stdin;
c6	gold
c7	\N
c8	silver
\.
INSERT INTO customer (id, tier) VALUES ('c6', 'platinum'), ('c9', 'new'), ('c8', 'ignored')
    ON CONFLICT (id) DO UPDATE SET tier = excluded.tier WHERE customer.id <> 'c8';
INSERT INTO customer (id, tier) VALUES ('c6', 'never') ON CONFLICT DO NOTHING;
WITH changed AS (UPDATE customer SET tier = 'cte' WHERE id = 'c7' RETURNING id) SELECT * FROM changed;
PREPARE raise(text, text) AS UPDATE customer SET tier = $2 WHERE id = $1;
EXECUTE raise('c8', 'prepared');
SELECT * FROM enqueued();

-- COPY of a row that cannot be sent writes the row
COPY customer (id, tier) FROM stdin;
c/10	gold
c11	gold
\.
SELECT * FROM enqueued();
SELECT profile_id, attrs, reason FROM target_profile.dead_letter;
SELECT id FROM customer WHERE id ~ '1[01]' ORDER BY id;

-- a trigger that does not fire
SET session_replication_role = replica;
UPDATE customer SET tier = 'replicated';
RESET session_replication_role;
ALTER TABLE customer DISABLE TRIGGER to_target;
UPDATE customer SET tier = 'unseen';
ALTER TABLE customer ENABLE TRIGGER to_target;
SELECT * FROM enqueued();

-- with a WHEN clause, on some columns, and through a view
CREATE TRIGGER vip AFTER UPDATE OF note ON customer FOR EACH ROW WHEN (NEW.tier = 'unseen')
    EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'note');
CREATE VIEW customer_view AS SELECT * FROM customer;
UPDATE customer_view SET note = 'vip' WHERE id = 'c6';
SELECT * FROM enqueued();

DROP TABLE customer CASCADE;
DROP FUNCTION enqueued, upper_tier;
DROP EXTENSION target_profile;
