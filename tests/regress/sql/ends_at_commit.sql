-- What is collected is written at the latest where the transaction ends. An error that ends it then does so as ever; any other one does not.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE TABLE customer (id text, tier text);
CREATE TRIGGER collects AFTER INSERT ON customer FOR EACH ROW
    EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused' USING ERRCODE = TG_ARGV[0];
END
$$;
\set VERBOSITY terse

-- as of two transactions that cannot be serialized
CREATE TRIGGER refuse BEFORE INSERT ON target_profile.outbox FOR EACH ROW EXECUTE FUNCTION refuse('40001');
INSERT INTO customer VALUES ('alone', 'x');
BEGIN;
INSERT INTO customer VALUES ('block', 'x');
COMMIT;
BEGIN;
INSERT INTO customer VALUES ('prepared', 'x');
PREPARE TRANSACTION 'regress_tp_refused';
BEGIN;
SAVEPOINT s;
INSERT INTO customer VALUES ('savepoint', 'x');
RELEASE s;
COMMIT;
SELECT (SELECT count(*) FROM customer) AS customers, (SELECT count(*) FROM target_profile.dead_letter) AS dead_letters,
    (SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'regress_tp_refused') AS prepared;

-- a disk that is full
DROP TRIGGER refuse ON target_profile.outbox;
CREATE TRIGGER refuse BEFORE INSERT ON target_profile.outbox FOR EACH ROW EXECUTE FUNCTION refuse('53100');
BEGIN;
INSERT INTO customer VALUES ('block', 'x');
COMMIT;
SELECT count(*) FROM customer;

-- and what is none of the writer's business
DROP TRIGGER refuse ON target_profile.outbox;
CREATE TRIGGER refuse BEFORE INSERT ON target_profile.outbox FOR EACH ROW EXECUTE FUNCTION refuse('23514');
BEGIN;
INSERT INTO customer VALUES ('block', 'x');
COMMIT;
BEGIN;
INSERT INTO customer VALUES ('prepared', 'x');
PREPARE TRANSACTION 'regress_tp_refused';
COMMIT PREPARED 'regress_tp_refused';
SELECT id FROM customer ORDER BY id;
SELECT profile_id, reason FROM target_profile.dead_letter ORDER BY id;
DROP TABLE customer;
DROP EXTENSION target_profile;
DROP FUNCTION refuse();
