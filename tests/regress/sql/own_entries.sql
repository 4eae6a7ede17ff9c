-- Who is told what became of an entry: whoever enqueued it, and whoever may read the tables.
CREATE EXTENSION target_profile;
\set SHOW_CONTEXT never
SET client_min_messages = error;
SELECT target_profile.add_client('acme');
CREATE ROLE regress_tp_his;
CREATE ROLE regress_tp_hers;
CREATE ROLE regress_tp_group;
CREATE ROLE regress_tp_member IN ROLE regress_tp_group;
CREATE ROLE regress_tp_noinherit NOINHERIT IN ROLE regress_tp_group;
CREATE ROLE regress_tp_reads;
CREATE ROLE regress_tp_rules;
CREATE ROLE regress_tp_reads_all IN ROLE pg_read_all_data;
SELECT target_profile.grant_to(role, level)
FROM (VALUES ('regress_tp_his'::regrole, 'writer'), ('regress_tp_hers', 'writer'), ('regress_tp_group', 'writer'),
    ('regress_tp_noinherit', 'writer'), ('regress_tp_reads', 'reader'), ('regress_tp_rules', 'admin'), ('regress_tp_reads_all', 'writer')) r (role, level);

-- One entry of each way in: the function, a function that runs as its owner, a trigger by hand, a watch, a backfill, and the outbox as somebody
-- has altered it.
CREATE TABLE regress_tp_t (id text PRIMARY KEY, tier text);
GRANT SELECT, INSERT, UPDATE ON regress_tp_t TO PUBLIC;
CREATE TRIGGER t AFTER INSERT ON regress_tp_t FOR EACH ROW WHEN (NEW.id LIKE 'hand%')
    EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
SET ROLE regress_tp_his;
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') AS his \gset
SELECT target_profile_update('acme', 'mboxPC', '2', '{"a": 1}') AS answered \gset
SELECT target_profile_update('acme', 'mboxPC', '2', '{"a": 2}') AS merged \gset
SELECT target_profile_update('acme', 'mboxPC', '3', '{"a": 1}') AS dead \gset
INSERT INTO regress_tp_t VALUES ('hand', 'tin');
CREATE FUNCTION pg_temp.for_him() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
$$ SELECT target_profile_update('acme', 'mboxPC', 'for him', '{"a": 1}') $$;
RESET ROLE;
SELECT target_profile.watch('regress_tp_t', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'NEW.id LIKE ''watched%''');
SET ROLE regress_tp_his;
INSERT INTO regress_tp_t VALUES ('watched', 'tin');
RESET ROLE;
SELECT pg_temp.for_him() AS for_him \gset
SET ROLE regress_tp_group;
SELECT target_profile_update('acme', 'mboxPC', 'group', '{"a": 1}') AS theirs \gset
SET ROLE regress_tp_hers;
SELECT target_profile_update('acme', 'mboxPC', '2', '{"a": 3}') AS merged_too \gset
RESET ROLE;
-- rows of a partition, collected until the commit, when the session is somebody else
CREATE TABLE regress_tp_p (id text, tier text) PARTITION BY LIST (tier);
CREATE TABLE regress_tp_p1 PARTITION OF regress_tp_p DEFAULT;
GRANT INSERT ON regress_tp_p1 TO regress_tp_his;
SELECT target_profile.watch('regress_tp_p', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
BEGIN;
SET LOCAL ROLE regress_tp_his;
INSERT INTO regress_tp_p1 VALUES ('partition', 'tin');
SET LOCAL ROLE regress_tp_hers;
COMMIT;
ALTER TABLE target_profile.outbox ADD CONSTRAINT regress_tp CHECK (true);
SET ROLE regress_tp_his;
SELECT target_profile_update('acme', 'mboxPC', 'slow', '{"a": 1}') AS slow \gset
RESET ROLE;
ALTER TABLE target_profile.outbox DROP CONSTRAINT regress_tp;
SELECT profile_id, source, enqueued_by FROM target_profile.outbox ORDER BY id;

-- As the worker settles them.
SELECT target_profile._ensure_response_partition('2020-01-01');
INSERT INTO target_profile.response
    (id, client_code, id_kind, profile_id, outbox_ids, method, request_bytes, attempt, sent_at, duration, http_status, outcome, message, enqueued_by)
VALUES
    (1, 'acme', 'mboxPC', '2', ARRAY[:answered], 'GET', 1, 1, '2020-01-01 12:00+00', '1 s', 200, 'accepted', 'one', '{regress_tp_his}'),
    (2, 'acme', 'mboxPC', '2', ARRAY[:merged, :merged_too], 'GET', 1, 1, '2020-01-01 12:00+00', '1 s', 200, 'accepted', 'two',
        '{regress_tp_his,regress_tp_hers}');
DELETE FROM target_profile.outbox WHERE profile_id = '2';
WITH gone AS (DELETE FROM target_profile.outbox WHERE profile_id = '3' RETURNING *)
INSERT INTO target_profile.dead_letter (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason, enqueued_by)
SELECT id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, 'a secret reason', enqueued_by FROM gone;

CREATE FUNCTION pg_temp.told(role text, entry bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    by_result text;
    by_wait text;
BEGIN
    PERFORM set_config('role', role, true);
    SELECT r.state INTO by_result FROM target_profile.result(entry) r;
    BEGIN
        SELECT w.state INTO by_wait FROM target_profile.wait(entry, '0') w;
    EXCEPTION WHEN OTHERS THEN
        by_wait := sqlstate;
    END;
    -- wait needs a worker where the entry is not settled
    RETURN coalesce(by_result, '-') || ' ' || coalesce(by_wait, '-');
END
$$;
SELECT entry.name, role, pg_temp.told(role, entry.id) AS "result, wait"
FROM (VALUES (1, 'his', :his), (2, 'answered', :answered), (3, 'merged', :merged), (4, 'merged_too', :merged_too), (5, 'dead', :dead),
    (6, 'for_him', :for_him), (7, 'theirs', :theirs), (8, 'slow', :slow)) AS entry (number, name, id),
    unnest('{regress_tp_his,regress_tp_hers,regress_tp_noinherit,regress_tp_reads,regress_tp_rules,regress_tp_reads_all}'::text[])
    WITH ORDINALITY AS who (role, place)
ORDER BY entry.number, place;

-- a role of the group
GRANT EXECUTE ON FUNCTION target_profile.result(bigint), target_profile.wait(bigint, interval) TO regress_tp_member;
SELECT pg_temp.told('regress_tp_member', :theirs), pg_temp.told('regress_tp_member', :his);

-- an entry of which nobody knows who enqueued it, and one whose role is gone
UPDATE target_profile.outbox SET enqueued_by = NULL WHERE id = :his;
UPDATE target_profile.outbox SET enqueued_by = 'regress_tp_gone' WHERE id = :slow;
SELECT pg_temp.told('regress_tp_his', :his), pg_temp.told('regress_tp_his', :slow), pg_temp.told('regress_tp_reads', :slow);

-- put back and removed, a dead letter stays whose it was
SELECT target_profile.retry(:dead);
SELECT pg_temp.told('regress_tp_his', :dead), pg_temp.told('regress_tp_hers', :dead);
SELECT target_profile.remove_client('acme', true);
SELECT pg_temp.told('regress_tp_his', :dead), pg_temp.told('regress_tp_hers', :dead);
SELECT target_profile.add_client('acme');

-- What is internal is for nobody who only writes.
CREATE FUNCTION pg_temp.may(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    EXECUTE statement;
    RETURN 'yes';
EXCEPTION
    WHEN insufficient_privilege THEN RETURN '';
    WHEN OTHERS THEN RETURN sqlerrm;
END
$$;
SELECT pg_temp.may('regress_tp_his', statement), statement
FROM unnest(ARRAY['SELECT target_profile._in_flight(''acme'', ''mboxPC'', ''1'', 1)', 'SELECT target_profile._fate(1, 10)',
    'SELECT target_profile._check_update(''a'', ''b'', ''c'', ''{}'', true)', 'SELECT target_profile._put_back(''{1}'')',
    'SELECT target_profile._workers()', 'SELECT target_profile._is_adopted()', 'SELECT target_profile._system_identifier()',
    'SELECT target_profile._close_activity()', 'SELECT target_profile._raise_unregistered(''x'')',
    'SELECT target_profile._backfill_chunk(1, 1)', 'SELECT target_profile._backfill_failed(1, ''x'')',
    'SELECT target_profile._backfill_end(1)']) statement;

-- Backfills: of whoever started one, the table's owner, and readers.
ALTER TABLE regress_tp_t OWNER TO regress_tp_group;
SET client_min_messages = error;
SET ROLE regress_tp_hers;
CALL target_profile.backfill('regress_tp_t', 'tier <> ''a secret condition''');
RESET ROLE;
CREATE FUNCTION pg_temp.sees(role text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    RETURN (SELECT string_agg(started_by || ': ' || "where", ', ') FROM target_profile.backfill_progress);
END
$$;
SELECT role, pg_temp.sees(role)
FROM unnest('{regress_tp_his,regress_tp_hers,regress_tp_group,regress_tp_noinherit,regress_tp_reads,regress_tp_rules,regress_tp_reads_all}'::text[]) role;
-- not by way of a function that is looked at before the rows are
SET ROLE regress_tp_his;
CREATE FUNCTION pg_temp.spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE WARNING 'saw %', $1; RETURN true; END $$;
SET client_min_messages = warning;
SELECT count(*) FROM target_profile.backfill_progress WHERE pg_temp.spy("where");
RESET ROLE;

-- a snapshot that is fixed is no reason to be told nothing
BEGIN ISOLATION LEVEL SERIALIZABLE;
SET LOCAL ROLE regress_tp_his;
SELECT state FROM target_profile.result(:answered);
COMMIT;

DROP TABLE regress_tp_t, regress_tp_p;
DROP FUNCTION pg_temp.for_him(), pg_temp.spy(text);
DROP EXTENSION target_profile;
DROP ROLE regress_tp_his, regress_tp_hers, regress_tp_member, regress_tp_noinherit, regress_tp_group, regress_tp_reads, regress_tp_rules,
    regress_tp_reads_all;
