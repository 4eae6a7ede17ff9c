-- target_profile.backfill: which rows become entries, what is refused, and where a call goes on.
CREATE EXTENSION target_profile;
\set SHOW_CONTEXT never
\set QUIET on
SET client_min_messages = error;
SELECT target_profile.add_client('acme') \gset
SELECT target_profile_update('acme', 'mboxPC', 'nobody drains', '{"a": 1}') \gset
RESET client_min_messages;
DELETE FROM target_profile.outbox;
CREATE FUNCTION enqueued() RETURNS TABLE (profile_id text, attrs jsonb) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *)
    SELECT profile_id, attrs FROM taken ORDER BY id
$$;
CREATE VIEW progress AS
SELECT "table", client_code, id_kind, "where", state, rows_done, total_estimate, entries, invalid, without_id, locked,
    rate >= 0 AS has_rate, last_chunk_at >= started_at AS has_chunk, finished_at >= last_chunk_at AS is_finished, last_error
FROM target_profile.backfill_progress;
CREATE SCHEMA "Crm";
CREATE TABLE "Crm"."Customer" ("Id" integer PRIMARY KEY, tier text, "Home City" text, balance numeric, doc json, active boolean DEFAULT true);
INSERT INTO "Crm"."Customer"
SELECT n, 'tier ' || n, CASE WHEN n % 2 = 0 THEN 'Basel' END, n + 0.10, json_build_object('n', n), n % 5 <> 0 FROM generate_series(1, 12) n;
ANALYZE "Crm"."Customer";

-- not watched; then watched
CALL target_profile.backfill('"Crm"."Customer"');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'Id', '{tier,home=Home City,balance,doc}', "when" => 'NEW.active -- all of them');
CALL target_profile.backfill('"Crm"."Customer"', chunk => 5);
SELECT priority, source, count(*) FROM target_profile.outbox GROUP BY 1, 2;
SELECT * FROM enqueued();
SELECT * FROM progress \gx
-- again: a new run, with the same values
CALL target_profile.backfill('"Crm"."Customer"');
SELECT count(*), min(profile_id), max(profile_id) FROM enqueued();

-- conditions: bare or with NEW, with a subquery, by names that the session sees
SET search_path = "Crm", public;
CREATE TABLE vip (id integer);
INSERT INTO vip VALUES (3), (4), (99);
CREATE FUNCTION is_even(integer) RETURNS boolean LANGUAGE sql AS $$ SELECT $1 % 2 = 0 $$;
CALL target_profile.backfill('"Customer"', 'is_even("Id") AND NEW.tier <> $$tier 8$$ AND "Home City" IS NOT NULL');
SELECT profile_id FROM enqueued();
CALL target_profile.backfill('"Customer"', 'EXISTS (SELECT FROM vip WHERE vip.id = NEW."Id")', chunk => 1);
SELECT profile_id FROM enqueued();
SELECT condition FROM target_profile.backfill_run;
RESET search_path;
\set VERBOSITY terse
CALL target_profile.backfill('"Crm"."Customer"', 'true; DROP TABLE "Crm"."Customer"');
CALL target_profile.backfill('"Crm"."Customer"', 'true) OR (true');
CALL target_profile.backfill('"Crm"."Customer"', 'true -- and a comment');
CALL target_profile.backfill('"Crm"."Customer"', 'true UNION SELECT true');
CALL target_profile.backfill('"Crm"."Customer"', 'true FROM pg_class');
CALL target_profile.backfill('"Crm"."Customer"', 'true ORDER BY 1');
CALL target_profile.backfill('"Crm"."Customer"', 'tier');
CALL target_profile.backfill('"Crm"."Customer"', 'unknown = 1');
CALL target_profile.backfill('"Crm"."Customer"', 'OLD.active');
CALL target_profile.backfill('"Crm"."Customer"', 'count(*) > 1');
CALL target_profile.backfill('"Crm"."Customer"', '');
\set VERBOSITY default
SELECT count(*) FROM enqueued();

-- what else is refused
BEGIN;
CALL target_profile.backfill('"Crm"."Customer"');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
CREATE FUNCTION nested() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL target_profile.backfill('"Crm"."Customer"'); END $$;
SELECT nested();
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION nested();
SELECT state FROM progress;
CALL target_profile.backfill('"Crm"."Customer"', chunk => 0);
\echo :LAST_ERROR_SQLSTATE
CALL target_profile.backfill('"Crm"."Customer"', chunk => NULL);
CALL target_profile.backfill(NULL);
CALL target_profile.backfill(4294967295::oid::regclass);
CALL target_profile.backfill('"Crm"."Customer"', client_code => 'other');
CALL target_profile.backfill('"Crm"."Customer"', id_kind => 'email');
SELECT target_profile._backfill_chunk(1, 10);
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile._backfill_end(1);
SELECT target_profile._backfill_failed(1, 'by hand');
SELECT target_profile.stop_backfill('"Crm"."Customer"');
SELECT target_profile.stop_backfill(NULL);
-- several watches
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{tier}', "when" => 'OLD IS NULL', priority => -20::smallint);
CALL target_profile.backfill('"Crm"."Customer"');
\echo :LAST_ERROR_SQLSTATE
CALL target_profile.backfill('"Crm"."Customer"', id_kind => 'pcId');
SELECT id_kind, priority, count(*) FROM target_profile.outbox GROUP BY 1, 2;
SELECT count(*) FROM enqueued();
SELECT target_profile.unwatch('"Crm"."Customer"', 'acme', 'mboxPC');
SELECT id_kind, state FROM progress;
CALL target_profile.backfill('"Crm"."Customer"', id_kind => 'pcId');

-- an error in the third chunk: what was done stays done, and the run goes on there
CREATE FUNCTION fussy(integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF $1 = 9 AND EXISTS (SELECT FROM "Crm".vip WHERE id = 99) THEN
        RAISE EXCEPTION 'no nine' USING ERRCODE = 'check_violation', DETAIL = 'It is nine.';
    END IF;
    RETURN true;
END
$$;
CALL target_profile.backfill('"Crm"."Customer"', 'fussy("Id")', chunk => 3);
\echo :LAST_ERROR_SQLSTATE
SELECT state, rows_done, last_error FROM progress WHERE id_kind = 'mbox3rdPartyId';
-- another condition is another run
CALL target_profile.backfill('"Crm"."Customer"');
\echo :LAST_ERROR_SQLSTATE
CALL target_profile.backfill('"Crm"."Customer"', 'true');
DELETE FROM "Crm".vip WHERE id = 99;
CALL target_profile.backfill('"Crm"."Customer"', 'fussy("Id")', chunk => 4);
SELECT string_agg(profile_id, ' ') FROM enqueued();
SELECT state, rows_done, entries, last_error FROM progress WHERE id_kind = 'mbox3rdPartyId';
-- from the beginning
INSERT INTO "Crm".vip VALUES (99);
CALL target_profile.backfill('"Crm"."Customer"', 'fussy("Id")', chunk => 3);
SELECT string_agg(profile_id, ' ') FROM enqueued();
CALL target_profile.backfill('"Crm"."Customer"', restart => true);
SELECT string_agg(profile_id, ' ') FROM enqueued();
-- another id meanwhile
CALL target_profile.backfill('"Crm"."Customer"', 'fussy("Id")', chunk => 3);
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'tier', '{tier}');
CALL target_profile.backfill('"Crm"."Customer"', 'fussy("Id")', chunk => 3);
\echo :LAST_ERROR_SQLSTATE
DELETE FROM "Crm".vip;
CALL target_profile.backfill('"Crm"."Customer"', 'fussy("Id")', restart => true);
SELECT string_agg(profile_id, ', ') FROM enqueued();
-- another type of the id meanwhile
CREATE TABLE retyped (id integer PRIMARY KEY, tier text);
INSERT INTO retyped SELECT n, n FROM generate_series(8, 12) n;
SELECT target_profile.watch('retyped', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'NEW.id < 11 OR 1 / (NEW.id - 11) = 1');
CALL target_profile.backfill('retyped', chunk => 2);
SELECT target_profile.unwatch('retyped');
ALTER TABLE retyped ALTER id TYPE text;
SELECT target_profile.watch('retyped', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
CALL target_profile.backfill('retyped', chunk => 2);
CALL target_profile.backfill('retyped', restart => true);
SELECT string_agg(profile_id, ', ') FROM enqueued();
DROP TABLE retyped;
-- what it needs is gone
ALTER TABLE "Crm"."Customer" RENAME COLUMN tier TO level;
CALL target_profile.backfill('"Crm"."Customer"');
ALTER TABLE "Crm"."Customer" RENAME COLUMN level TO tier;
DROP TRIGGER "target_profile_acme_mbox3rdPartyId_insert" ON "Crm"."Customer";
CALL target_profile.backfill('"Crm"."Customer"');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.unwatch('"Crm"."Customer"');
CALL target_profile.backfill('"Crm"."Customer"');
SELECT state FROM progress;
DROP TABLE "Crm"."Customer";
SELECT id_kind, state FROM progress;

-- rows that cannot be sent
CREATE TABLE customer (id text, tier text);
INSERT INTO customer VALUES ('a', 'x'), ('b/c', 'x'), ('d/e', 'y'), (NULL, 'z'), ('f', NULL), ('a', 'twice'), (repeat('x', 300), 'long');
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
CALL target_profile.backfill('customer');
SELECT profile_id FROM enqueued() ORDER BY 1;
SELECT client_code, id_kind, left(profile_id, 10) AS profile_id, attrs, priority, source, left(reason, 60) AS reason, raw FROM target_profile.dead_letter ORDER BY profile_id;
SELECT rows_done, entries, invalid, without_id FROM progress WHERE "table" = 'customer'::regclass;
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}', on_invalid => 'error');
CALL target_profile.backfill('customer', chunk => 1);
\echo :LAST_ERROR_SQLSTATE
SELECT state, last_error FROM progress WHERE "table" = 'customer'::regclass;
SELECT * FROM enqueued();
-- its client is gone
SET client_min_messages = error;
SELECT target_profile.add_client('short-lived');
RESET client_min_messages;
SELECT target_profile.watch('customer', 'short-lived', 'mboxPC', 'id', '{tier}');
SELECT target_profile.remove_client('short-lived');
CALL target_profile.backfill('customer', client_code => 'short-lived');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE customer;
DELETE FROM target_profile.dead_letter;

-- ids of all types go on where they stopped
CREATE DOMAIN code AS varchar(20);
CREATE TYPE color AS ENUM ('red', 'green', 'blue', 'black');
CREATE TYPE pair AS (a integer, b text);
CREATE FUNCTION in_chunks(type text, ids text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS typed;
    EXECUTE format('CREATE TABLE typed (id %s, n text)', type);
    EXECUTE format('INSERT INTO typed SELECT id::%s, id FROM unnest($1) id', type) USING ids;
    CREATE INDEX ON typed (id);
    PERFORM target_profile.watch('typed', 'acme', 'mboxPC', 'id', '{n}');
END
$$;
SET DateStyle = 'German, DMY';
SET TimeZone = 'Asia/Kathmandu';
SET extra_float_digits = -10;
SET IntervalStyle = 'postgres_verbose';
SET client_min_messages = error;
\set run 'CALL target_profile.backfill(''typed'', chunk => 1); SELECT string_agg(profile_id || ''='' || (attrs ->> ''n''), '' '') FROM enqueued();'
SELECT in_chunks('float8', '{0.1,0.30000000000000004,0.3,-Infinity,1e300}'); :run
SELECT in_chunks('real', '{0.1,16777217,-3}'); :run
SELECT in_chunks('numeric', '{1.10,12345678901234567890.123,-5}'); :run
SELECT in_chunks('timestamptz', '{2026-01-02 03:04:05.678901+00,2026-01-02 03:04:05.678902+00,1999-12-31 00:00+05}'); :run
SELECT in_chunks('date', '{2026-02-01,2026-01-02,infinity}'); :run
SELECT in_chunks('interval', '{1 day,25 hours,3 mons}'); :run
SELECT in_chunks('uuid', '{00000000-0000-0000-0000-000000000002,00000000-0000-0000-0000-000000000001}'); :run
SELECT in_chunks('char(3)', '{a,b,c}'); :run
SELECT in_chunks('code', '{a,b,c}'); :run
SELECT in_chunks('color', '{blue,black,red}'); :run
SELECT in_chunks('bytea', '{a,b,c}'); :run
SELECT in_chunks('name', '{a,b,c}'); :run
SELECT in_chunks('inet', '{10.0.0.2,10.0.0.1}'); :run
SELECT reason FROM target_profile.dead_letter;
SELECT in_chunks('text COLLATE "en-x-icu"', '{b,A,a,B,Ä}'); :run
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT in_chunks('text COLLATE nocase', '{b,A,a,B}'); CALL target_profile.backfill('typed', chunk => 1);
SELECT string_agg(profile_id, ' ' ORDER BY profile_id COLLATE "C") FROM enqueued();
RESET DateStyle;
RESET TimeZone;
RESET extra_float_digits;
RESET IntervalStyle;
RESET client_min_messages;
CREATE TABLE json_ids (id json, n text);
SELECT target_profile.watch('json_ids', 'acme', 'mboxPC', 'id', '{n}');
CALL target_profile.backfill('json_ids');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE typed, json_ids;

-- an id that is an expression, without an index and with one
CREATE TABLE visitor (region text, nr integer, tier text, born date);
INSERT INTO visitor SELECT 'R' || n % 3, n, 'tier ' || n, '2026-01-01'::date + n FROM generate_series(1, 7) n;
SELECT target_profile.watch('visitor', 'acme', 'mbox3rdPartyId', 'lower(NEW.region) || ''-'' || nr', '{tier,born}');
CALL target_profile.backfill('visitor', chunk => 2);
SELECT * FROM enqueued();
CREATE INDEX ON visitor ((lower(region) || '-' || nr));
CALL target_profile.backfill('visitor', chunk => 2);
SELECT string_agg(profile_id, ' ') FROM enqueued();
DROP TABLE visitor;

-- partitions; tables that inherit
CREATE TABLE parted (id integer PRIMARY KEY, tier text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (5);
CREATE TABLE parted_2 (dropped text, tier text, id integer NOT NULL);
ALTER TABLE parted_2 DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (5) TO (100);
INSERT INTO parted SELECT n, 'tier ' || n FROM generate_series(1, 9) n;
SELECT target_profile.watch('parted', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'NEW.id <> 7');
CALL target_profile.backfill('parted', chunk => 3);
SELECT source, count(*) FROM target_profile.outbox GROUP BY 1;
SELECT string_agg(profile_id, ' ') FROM enqueued();
DROP TABLE parted;
CREATE TABLE parent (id integer PRIMARY KEY, tier text);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1, 'own');
INSERT INTO child VALUES (2, 'of the child, which has no trigger');
SELECT target_profile.watch('parent', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
CALL target_profile.backfill('parent');
SELECT * FROM enqueued();
DROP TABLE parent CASCADE;
-- a dropped table of the same name has left nothing
CREATE TABLE parent (id integer PRIMARY KEY, tier text);
SELECT target_profile.watch('parent', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
CALL target_profile.backfill('parent');
SELECT count(*) FROM target_profile.backfill_run WHERE table_name = 'parent';
-- the session's isolation level does not matter
SET default_transaction_isolation = serializable;
INSERT INTO parent VALUES (1, 'x');
DELETE FROM target_profile.outbox;
CALL target_profile.backfill('parent');
RESET default_transaction_isolation;
SELECT * FROM enqueued();
SET default_transaction_read_only = on;
CALL target_profile.backfill('parent');
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;
DROP TABLE parent;

DROP VIEW progress;
DROP FUNCTION in_chunks, fussy, enqueued;
DROP TYPE color, pair;
DROP DOMAIN code;
DROP COLLATION nocase;
DROP SCHEMA "Crm" CASCADE;
DROP EXTENSION target_profile;
