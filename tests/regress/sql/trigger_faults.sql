-- A trigger that is wired wrongly, or a row that cannot be sent, never makes the write fail: the update goes to the dead letters,
-- and whoever writes is told once a statement.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE FUNCTION buried() RETURNS TABLE (client_code text, id_kind text, profile_id text, attrs jsonb, source text, reason text)
    LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.dead_letter RETURNING *)
    SELECT client_code, id_kind, profile_id, attrs, source, reason FROM taken ORDER BY id
$$;
CREATE TABLE customer (id text, tier text, city text);

-- a client that is not registered: one warning for three rows, and one more for the next statement
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('unknown', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('1', 'a'), ('2', 'b'), ('3', 'c');
UPDATE customer SET tier = 'd' WHERE id < '3';
SELECT * FROM buried();
-- as soon as it is registered the entries flow
SELECT target_profile.add_client('unknown');
INSERT INTO customer VALUES ('4', 'e');
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id;
DROP TRIGGER t ON customer;

-- different reasons in one statement are told once each
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier', 'city');
INSERT INTO customer VALUES
    ('a/b', 'x'), ('c+d', 'x'), (NULL, 'x'), (NULL, 'y'), ('', 'x'), (repeat('x', 257), 'x'), ('fine', 'x'), (' ', 'x'),
    ('large', repeat('x', 60000));
SELECT client_code, id_kind, left(profile_id, 5) AS profile_id, left(attrs::text, 15) AS attrs, source, reason FROM buried();
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id DESC LIMIT 1;
DROP TRIGGER t ON customer;

-- invalid client code, invalid id kind
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('Acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('1', 'x');
DROP TRIGGER t ON customer;
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'email', 'id', 'tier');
INSERT INTO customer VALUES ('1', 'x');
DROP TRIGGER t ON customer;
SELECT * FROM buried();

-- missing arguments
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger();
INSERT INTO customer VALUES ('1', 'x');
DROP TRIGGER t ON customer;
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id');
INSERT INTO customer VALUES ('1', 'x');
DROP TRIGGER t ON customer;
SELECT * FROM buried();

-- two columns that become one attribute; a blank one
CREATE TRIGGER t AFTER INSERT ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier', 'tier=city');
INSERT INTO customer VALUES ('1', 'x', 'y');
DROP TRIGGER t ON customer;
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', '=city');
INSERT INTO customer VALUES ('1', 'x', 'y');
DROP TRIGGER t ON customer;
SELECT client_code, id_kind, profile_id, source, reason FROM buried();

-- a column that never was, one that is renamed, one that is dropped, the id's own
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'ti', 'city');
INSERT INTO customer VALUES ('1', 'x');
DROP TRIGGER t ON customer;
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier', 'city');
ALTER TABLE customer RENAME tier TO level;
INSERT INTO customer VALUES ('2', 'x');
ALTER TABLE customer RENAME level TO tier;
ALTER TABLE customer DROP city;
UPDATE customer SET tier = 'y' WHERE id = '2';
ALTER TABLE customer ADD city text;
UPDATE customer SET city = 'Basel' WHERE id = '2';
ALTER TABLE customer RENAME id TO number;
UPDATE customer SET city = 'Bern' WHERE number = '2';
ALTER TABLE customer RENAME number TO id;
SELECT * FROM buried();
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id DESC LIMIT 1;
DROP TRIGGER t ON customer;
TRUNCATE customer;

-- BEFORE: the write goes on as it was meant
CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('1', 'a'), ('2', 'b');
UPDATE customer SET tier = 'c' WHERE id = '1';
DELETE FROM customer WHERE id = '2';
SELECT * FROM customer;
DROP TRIGGER t ON customer;
SELECT * FROM buried();

-- INSTEAD OF
CREATE VIEW customer_view AS SELECT * FROM customer;
CREATE TRIGGER t INSTEAD OF INSERT ON customer_view
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer_view VALUES ('1', 'a');
DROP VIEW customer_view;
SELECT * FROM buried();

-- FOR EACH STATEMENT, before and after
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON customer
    FOR EACH STATEMENT EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('3', 'a'), ('4', 'b');
DELETE FROM customer WHERE id = '4';
DROP TRIGGER t ON customer;
CREATE TRIGGER t BEFORE UPDATE OR TRUNCATE ON customer
    FOR EACH STATEMENT EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
UPDATE customer SET tier = 'z';
TRUNCATE customer;
DROP TRIGGER t ON customer;
SELECT * FROM buried();

-- a paused client: entries wait
SELECT target_profile.pause('acme', 'maintenance');
CREATE TRIGGER t AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('5', 'paused');
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id DESC LIMIT 1;
SELECT * FROM buried();

-- called by hand
SELECT target_profile_trigger();
SELECT target_profile._watch_row();
SELECT target_profile._watch_flush();
SELECT target_profile._check_client();
SELECT target_profile._clients_changed();
DROP TABLE customer;
DROP FUNCTION buried;
DROP EXTENSION target_profile;
