-- An entry appears if and only if the transaction and the subtransaction that wrote it commit.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE TABLE customer (id text PRIMARY KEY, tier text CHECK (tier <> 'bad'));
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');

-- rollback, and a commit that becomes one
BEGIN;
SELECT target_profile_update('acme', 'mboxPC', 'rolled back', '{"a": 1}') > 0 AS enqueued;
INSERT INTO customer VALUES ('rolled back', 'x');
SELECT profile_id FROM target_profile.outbox ORDER BY id;
ROLLBACK;
BEGIN;
SELECT target_profile_update('acme', 'mboxPC', 'failed', '{"a": 1}') > 0 AS enqueued;
SELECT target_profile_update('acme', 'mboxPC', '', '{"a": 1}');
COMMIT;
SELECT profile_id FROM target_profile.outbox;

-- a failed statement takes its rows' entries with it
INSERT INTO customer VALUES ('fine', 'x'), ('fails', 'bad');
SELECT profile_id FROM target_profile.outbox;

-- savepoints
BEGIN;
SELECT target_profile_update('acme', 'mboxPC', 'outer 1', '{"a": 1}') > 0 AS enqueued;
SAVEPOINT one;
SELECT target_profile_update('acme', 'mboxPC', 'inner, rolled back', '{"a": 1}') > 0 AS enqueued;
INSERT INTO customer VALUES ('inner, rolled back', 'x');
ROLLBACK TO one;
INSERT INTO customer VALUES ('inner, again', 'x');
SAVEPOINT two;
INSERT INTO customer VALUES ('released', 'x');
RELEASE two;
SAVEPOINT three;
INSERT INTO customer VALUES ('released, rolled back', 'x');
SAVEPOINT four;
INSERT INTO customer VALUES ('deeper', 'x');
RELEASE four;
ROLLBACK TO three;
SELECT target_profile_update('acme', 'mboxPC', 'outer 2', '{"a": 1}') > 0 AS enqueued;
COMMIT;
SELECT profile_id FROM target_profile.outbox ORDER BY id;
TRUNCATE target_profile.outbox;

-- exception blocks
DO $$
BEGIN
    FOR i IN 1..4 LOOP
        BEGIN
            INSERT INTO customer VALUES ('block ' || i, 'x');
            PERFORM target_profile_update('acme', 'mboxPC', CASE WHEN i = 3 THEN '' ELSE 'call ' || i END, '{"a": 1}');
            IF i = 2 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero OR invalid_parameter_value THEN NULL;
        END;
    END LOOP;
END
$$;
SELECT profile_id FROM target_profile.outbox ORDER BY id;
TRUNCATE target_profile.outbox;

-- a procedure that commits as it goes
CREATE PROCEDURE three() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..3 LOOP
        PERFORM target_profile_update('acme', 'mboxPC', 'proc ' || i, '{"a": 1}');
        IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END
$$;
CALL three();
SELECT profile_id FROM target_profile.outbox ORDER BY id;
TRUNCATE target_profile.outbox;

-- two-phase commit: seen by nobody before, and kept by a session that is gone
BEGIN;
SELECT target_profile_update('acme', 'mboxPC', 'prepared', '{"a": 1}') > 0 AS enqueued;
INSERT INTO customer VALUES ('prepared row', 'x');
PREPARE TRANSACTION 'regress_tp_kept';
BEGIN;
INSERT INTO customer VALUES ('prepared, rolled back', 'x');
PREPARE TRANSACTION 'regress_tp_dropped';
SELECT profile_id FROM target_profile.outbox;
\c -
ROLLBACK PREPARED 'regress_tp_dropped';
SELECT profile_id FROM target_profile.outbox;
COMMIT PREPARED 'regress_tp_kept';
SELECT profile_id FROM target_profile.outbox ORDER BY id;
TRUNCATE target_profile.outbox;

-- a dead letter is as transactional
BEGIN;
INSERT INTO customer VALUES (E'\t', 'x');
ROLLBACK;
SELECT count(*) FROM target_profile.dead_letter;
INSERT INTO customer VALUES (E'\t', 'x');
SELECT count(*) FROM target_profile.dead_letter;

-- a client that is registered in the same transaction, and one whose registration is rolled back
BEGIN;
SELECT target_profile.add_client('beta');
SELECT target_profile_update('beta', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;
SAVEPOINT s;
SELECT target_profile.set_client('beta', arrays => 'indexed');
SELECT url FROM target_profile_preview('beta', 'mboxPC', '1', '{"a": [1]}');
ROLLBACK TO s;
SELECT url FROM target_profile_preview('beta', 'mboxPC', '1', '{"a": [1]}');
ROLLBACK;
SELECT target_profile_update('beta', 'mboxPC', '1', '{"a": 1}');

-- isolation levels
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT target_profile_update('acme', 'mboxPC', 'serializable', '{"a": 1}') > 0 AS enqueued;
INSERT INTO customer VALUES ('serializable row', 'x');
COMMIT;
SELECT profile_id FROM target_profile.outbox ORDER BY id;

-- as one statement for many rows, with a priority
SELECT count(target_profile_update('acme', 'mboxPC', 'bulk ' || n, '{"a": 1}', (n % 2)::smallint)) FROM generate_series(1, 1000) n;
SELECT priority, count(*) FROM target_profile.outbox WHERE profile_id LIKE 'bulk %' GROUP BY priority ORDER BY priority;

-- what is written is jsonb as Postgres itself makes it, however many names there are and in whatever order
BEGIN;
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'wide', jsonb_object_agg(name, 'v' || name)) > 0 AS enqueued
    FROM (SELECT repeat('x', n % 7) || chr(97 + n % 26) || n FROM generate_series(1, 300) n
          UNION ALL SELECT unnest('{é,日本,a.b,Zz,z,😀,zz,Z}'::text[])) names (name);
SELECT attrs = attrs::text::jsonb AS as_parsed, count(*) AS names, count(*) FILTER (WHERE attrs ->> name = 'v' || name) AS found
    FROM target_profile.outbox, jsonb_object_keys(attrs) name WHERE profile_id = 'wide' GROUP BY attrs;
ROLLBACK;

DROP PROCEDURE three;
DROP TABLE customer;
DROP EXTENSION target_profile;
