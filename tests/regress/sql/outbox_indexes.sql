-- Indexes of the outbox that are not as the extension makes them: whatever they are, entries are written, and every index leads to
-- every entry.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE EXTENSION amcheck;
CREATE TABLE customer (id integer PRIMARY KEY, tier text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
SET client_min_messages = warning;
SELECT target_profile_update('acme', 'mbox3rdPartyId', 'first', '{"a": 1}') > 0 AS enqueued;

-- Some transactions of each way of writing, and what is in the indexes then.
CREATE PROCEDURE enqueue() LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE target_profile.outbox;
    COMMIT;
    FOR n IN 1..10 LOOP
        PERFORM target_profile_update('acme', 'mbox3rdPartyId', 'f' || n, '{"a": 1}');
        COMMIT;
        INSERT INTO customer SELECT i, 'tier ' || n FROM generate_series(1, 30) i
            ON CONFLICT (id) DO UPDATE SET tier = excluded.tier;
        COMMIT;
    END LOOP;
    DELETE FROM customer;
END
$$;
CREATE FUNCTION checked() RETURNS TABLE (entries bigint, indexes text) LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM target_profile.outbox), string_agg(c.relname || bt_index_parent_check(c.oid, true)::text, ', ' ORDER BY c.relname COLLATE "C")
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE i.indrelid = 'target_profile.outbox'::regclass AND a.amname = 'btree' AND i.indisvalid;
$$;
CALL enqueue();
SELECT * FROM checked();

-- of other access methods; a BRIN index keeps pages pinned while it is inserted into, from 17 on
CREATE INDEX theirs ON target_profile.outbox USING brin (id, enqueued_at) WITH (pages_per_range = 1, autosummarize = on);
CALL enqueue();
SET enable_seqscan = off;
SELECT count(*) FROM target_profile.outbox WHERE enqueued_at > now() - interval '1 day';
DROP INDEX target_profile.theirs;
CREATE INDEX theirs ON target_profile.outbox USING gin (attrs);
CALL enqueue();
SELECT count(*) FROM target_profile.outbox WHERE attrs @> '{"tier": "tier 3"}';
DROP INDEX target_profile.theirs;
CREATE INDEX theirs ON target_profile.outbox USING hash (profile_id);
CALL enqueue();
SELECT count(*) FROM target_profile.outbox WHERE profile_id = '3';
RESET enable_seqscan;
DROP INDEX target_profile.theirs;

-- ours, not as they were: in another order, with other operators, another collation, more columns, another predicate, none
CREATE FUNCTION instead(index text, definition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP INDEX target_profile.%I', index);
    EXECUTE format('CREATE INDEX %I ON target_profile.outbox %s', index, definition);
END
$$;
SELECT instead('outbox_lane', '(client_code, priority DESC, id)');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_lane', '(client_code text_pattern_ops, priority, id)');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_lane', '(client_code, priority, id) INCLUDE (profile_id)');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_lane', '(client_code, priority, (id + 1))');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_lane', '(client_code, priority, id)');
SELECT instead('outbox_profile', '(client_code, id_kind, profile_id COLLATE "POSIX", id)');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_profile', '(client_code, id_kind, profile_id, id) WHERE priority = 0');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_profile', '(client_code, id_kind, profile_id, id)');
SELECT instead('outbox_retried', '(client_code, id_kind, profile_id, id) WHERE retried_at IS NULL');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_retried', '(client_code, id_kind, profile_id, id) WHERE next_attempt_at IS NOT NULL OR retried_at IS NULL');
CALL enqueue();
SELECT * FROM checked();
SELECT instead('outbox_retried', '(client_code, id_kind, profile_id, id)');
CALL enqueue();
SELECT * FROM checked();
DROP INDEX target_profile.outbox_retried;
CALL enqueue();
SELECT * FROM checked();
CREATE INDEX outbox_retried ON target_profile.outbox (client_code, id_kind, profile_id, id) WHERE retried_at IS NOT NULL;
CALL enqueue();
SELECT * FROM checked();

-- one that could not be built is kept up as PostgreSQL says
\set VERBOSITY sqlstate
CREATE UNIQUE INDEX CONCURRENTLY theirs ON target_profile.outbox (client_code);
\set VERBOSITY default
SELECT indisvalid FROM pg_index WHERE indexrelid = 'target_profile.theirs'::regclass;
CALL enqueue();
SELECT * FROM checked();
DROP INDEX target_profile.theirs;

-- the key, checked at the end of the transaction; or not there
ALTER TABLE target_profile.outbox DROP CONSTRAINT outbox_pkey;
CALL enqueue();
SELECT * FROM checked();
ALTER TABLE target_profile.outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED;
CALL enqueue();
SELECT * FROM checked();

DROP FUNCTION checked(), instead(text, text);
DROP PROCEDURE enqueue();
DROP TABLE customer;
DROP EXTENSION amcheck;
DROP EXTENSION target_profile;
