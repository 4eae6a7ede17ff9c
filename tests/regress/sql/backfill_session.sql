-- A session that ends between two chunks takes its backfill's lock with it.
CREATE EXTENSION target_profile;
SET client_min_messages = error;
SELECT target_profile.add_client('acme') \gset
CREATE TABLE customer (id integer PRIMARY KEY, tier text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}') \gset
SELECT target_profile._backfill_begin('customer'::regclass, NULL, NULL, NULL, 2, false) > 0 AS begun;
SELECT state FROM target_profile.backfill_progress;
SELECT pg_backend_pid() AS gone \gset
\c -
SELECT set_config('test.gone', :'gone', false) <> '' AS remembered;
DO $$
DECLARE deadline timestamptz := clock_timestamp() + '30 s';
BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_activity WHERE pid = current_setting('test.gone')::integer) LOOP
        IF clock_timestamp() > deadline THEN RAISE 'the session does not end'; END IF;
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
END $$;
SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'target_profile.backfill_run'::regclass;
SELECT state FROM target_profile.backfill_progress;
SET client_min_messages = error;
CALL target_profile.backfill('customer');
SELECT state FROM target_profile.backfill_progress;
DROP TABLE customer;
DROP EXTENSION target_profile;
