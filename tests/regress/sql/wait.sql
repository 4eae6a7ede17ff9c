-- result and wait: what became of an entry.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') AS entry \gset

SELECT * FROM target_profile.result(:entry);
SELECT * FROM target_profile.wait(:entry, '10 ms');
SELECT * FROM target_profile.wait(:entry, '0');
SELECT * FROM target_profile.wait(:entry, '-1 s');

-- ids that no entry has
SELECT * FROM target_profile.result(1000000);
SELECT * FROM target_profile.result(NULL);
SELECT * FROM target_profile.wait(1000000, '10 ms');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM target_profile.wait(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM target_profile.wait(:entry, NULL);
\echo :LAST_ERROR_SQLSTATE

-- An entry of the same transaction, which is not sent before that ends.
BEGIN;
SELECT target_profile_update('acme', 'mboxPC', '2', '{"a": 1}') > 0 AS enqueued;
SELECT * FROM target_profile.result(currval('target_profile.outbox_id_seq'));
SELECT * FROM target_profile.wait(currval('target_profile.outbox_id_seq'));
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT target_profile_update('acme', 'mboxPC', '2', '{"a": 1}') > 0 AS enqueued;
RELEASE s;
SELECT * FROM target_profile.wait(currval('target_profile.outbox_id_seq'));
ROLLBACK;
-- one that a subtransaction enqueued and took back
BEGIN;
SAVEPOINT s;
SELECT target_profile_update('acme', 'mboxPC', '2', '{"a": 1}') > 0 AS enqueued;
ROLLBACK TO s;
SELECT * FROM target_profile.wait(currval('target_profile.outbox_id_seq'), '10 ms');
ROLLBACK;
-- an older one may be waited for
BEGIN;
SELECT target_profile_update('acme', 'mboxPC', '2', '{"a": 1}') > 0 AS enqueued;
SELECT * FROM target_profile.wait(:entry, '10 ms');
ROLLBACK;

-- a transaction that never sees what others commit
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM target_profile.wait(:entry);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM target_profile.wait(:entry);
ROLLBACK;

-- read-only is enough
BEGIN READ ONLY;
SELECT * FROM target_profile.wait(:entry, '10 ms');
COMMIT;

-- what a worker would have recorded, of an entry that had been written by then: accepted alone, accepted merged, failed and waiting, dead, discarded
UPDATE target_profile.outbox SET enqueued_at = '2020-01-02 03:04:05+00' WHERE id = :entry;
SELECT target_profile._ensure_response_partition('2020-01-02');
INSERT INTO target_profile.response (id, client_code, id_kind, profile_id, outbox_ids, method, request_bytes, attempt,
    sent_at, duration, http_status, outcome, message)
VALUES
    (1, 'acme', 'mboxPC', '1', '{1001}', 'GET', 90, 1, '2020-01-02 03:04:05+00', '0.25 s', 200, 'accepted', 'submitted'),
    (2, 'acme', 'mboxPC', '1', '{1002,1003}', 'GET', 90, 1, '2020-01-02 03:04:06+00', '0.25 s', 503, 'throttled', 'busy'),
    (3, 'acme', 'mboxPC', '1', '{1002,1003}', 'GET', 90, 2, '2020-01-02 03:04:07+00', '0.25 s', 200, 'accepted', 'submitted'),
    (4, 'acme', 'mboxPC', '1', ARRAY[:entry], 'GET', 90, 1, '2020-01-02 03:04:08+00', '0.25 s', 503, 'throttled', 'busy'),
    (5, 'acme', 'mboxPC', '1', '{1004,1005}', 'GET', 90, 1, '2020-01-02 03:04:09+00', '0.25 s', 400, 'rejected', 'no such client');
INSERT INTO target_profile.dead_letter (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts,
    reason, failed_at, response_id, discarded_at)
VALUES
    (1004, 'acme', 'mboxPC', '1', '{}', 0, 'function', '2020-01-01', 1, 'no such client', '2020-01-02 03:04:09+00', 5, NULL),
    (1005, 'acme', 'mboxPC', '1', '{}', 0, 'function', '2020-01-01', 1, 'no such client', '2020-01-02 03:04:09+00', 5, '2020-01-03 00:00:00+00');
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT asked.id, r.*
FROM (VALUES (1001), (1002), (1003), (1004), (1005), (:entry)) asked (id), target_profile.result(asked.id) r;
SELECT * FROM target_profile.wait(1003);
SELECT * FROM target_profile.wait(1005);

DROP EXTENSION target_profile;
