-- Which rows a watch sends, and under which id: conditions over the row as it was and as it is, and ids that are computed.
CREATE EXTENSION target_profile;
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
CREATE FUNCTION conditions(regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT tgname || ': ' || substring(pg_get_triggerdef(oid) FROM 'WHEN (.*) EXECUTE') FROM pg_trigger WHERE tgrelid = $1 AND tgname ~ 'insert|update' ORDER BY tgname
$$;
CREATE SCHEMA "Crm";
CREATE TABLE "Crm"."Customer" (id integer, tier text, consent boolean, note text, n numeric, n2 numeric(9, 2), c char(5));

-- a row that comes to meet the condition is sent, although no watched column changed
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'NEW.consent');
SELECT conditions('"Crm"."Customer"');
INSERT INTO "Crm"."Customer" VALUES (1, 'gold', false), (2, 'tin', NULL), (3, 'silver', true);
SELECT * FROM enqueued();
UPDATE "Crm"."Customer" SET consent = true;
SELECT * FROM enqueued();
UPDATE "Crm"."Customer" SET consent = true, note = 'x';
SELECT * FROM enqueued();
UPDATE "Crm"."Customer" SET consent = false, tier = 'left';
SELECT * FROM enqueued();
-- of what changed alone: everything then
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'id', '{tier,note}', send => 'changed', "when" => 'NEW.consent AND NEW.id < 3');
UPDATE "Crm"."Customer" SET consent = true;
SELECT * FROM enqueued();
UPDATE "Crm"."Customer" SET consent = false;
UPDATE "Crm"."Customer" SET consent = true, tier = 'back';
SELECT * FROM enqueued();

-- conditions over what was before; of a new row that is NULL
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'OLD.tier IS NULL OR "old".tier < NEW.tier -- up only');
SELECT conditions('"Crm"."Customer"');
INSERT INTO "Crm"."Customer" VALUES (4, 'b');
UPDATE "Crm"."Customer" SET tier = 'a' WHERE id = 4;
UPDATE "Crm"."Customer" SET tier = 'c' WHERE id = 4;
SELECT * FROM enqueued();
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'OLD IS NULL');
INSERT INTO "Crm"."Customer" VALUES (5, 'b');
UPDATE "Crm"."Customer" SET tier = 'd' WHERE id = 5;
SELECT * FROM enqueued();
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'U&"old".tier IS NULL');
\echo :LAST_ERROR_SQLSTATE
-- no harm to the table that it names itself
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'OLD.tier IS NULL');
ALTER TABLE "Crm"."Customer" ADD COLUMN more text, DROP COLUMN note;
ALTER TABLE "Crm"."Customer" RENAME COLUMN id TO "Id";
ALTER TABLE "Crm"."Customer" RENAME TO "Customers";
ALTER TABLE "Crm"."Customers" RENAME TO "Customer";
ALTER TABLE "Crm"."Customer" RENAME COLUMN "Id" TO id;
INSERT INTO "Crm"."Customer" (id, tier) VALUES (6, 'b');
SELECT * FROM enqueued();

-- what is equal and written differently
TRUNCATE "Crm"."Customer";
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'id', '{n,n2,c}');
SELECT conditions('"Crm"."Customer"');
INSERT INTO "Crm"."Customer" (id, n, n2, c) VALUES (1, 1.0, 1.0, 'a');
SELECT * FROM enqueued();
UPDATE "Crm"."Customer" SET n2 = 1.00, c = 'a    ';
SELECT * FROM enqueued();
UPDATE "Crm"."Customer" SET n = 1.00;
UPDATE "Crm"."Customer" SET n = 'NaN';
UPDATE "Crm"."Customer" SET n = 'NaN';
UPDATE "Crm"."Customer" SET n = NULL;
SELECT * FROM enqueued();
DROP TABLE "Crm"."Customer";
SELECT state FROM target_profile.watch_state;
SELECT target_profile.unwatch("table") FROM target_profile.watched_table;

-- ids that are computed, of one column or of several
CREATE TABLE customer (region text, nr integer, email text, tier text, born date);
CREATE FUNCTION lower(integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'number ' || $1 $$;
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'lower(email)', '{tier}');
SELECT target_profile.watch('customer', 'acme', 'mboxPC', $$NEW.region || '-' || nr /* both */$$, '{tier}');
SELECT id_kind, id_column, id_expression, id_columns FROM target_profile.watched_table ORDER BY id_kind COLLATE "C";
SELECT conditions('customer');
INSERT INTO customer VALUES ('eu', 1, 'Ann@Example.com', 'gold'), ('us', 2, 'BOB@example.com', 'tin');
UPDATE customer SET email = upper(email);
UPDATE customer SET email = 'robert@example.com', tier = 'silver' WHERE nr = 2;
UPDATE customer SET nr = 3 WHERE nr = 2;
SELECT * FROM enqueued();
-- again is no change
SELECT count(*), array_agg(oid) AS oids FROM pg_trigger WHERE tgrelid = 'customer'::regclass \gset
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'lower(email)', '{tier}');
SELECT array_agg(oid) = :'oids' AS same FROM pg_trigger WHERE tgrelid = 'customer'::regclass;
-- names mean what they meant, and settings of the session change nothing
SELECT target_profile.watch('customer', 'acme', 'mboxPC', $$lower(nr) || ' ' || born$$, '{tier}', send => 'changed');
SELECT id_expression FROM target_profile.watched_table WHERE id_kind = 'mboxPC';
CREATE SCHEMA evil;
CREATE FUNCTION evil.lower(integer) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
SET search_path = evil, pg_catalog, public;
SET DateStyle = 'German';
UPDATE customer SET born = '2001-02-03', tier = 'x' WHERE nr = 1;
RESET DateStyle;
RESET search_path;
SELECT * FROM enqueued();
-- no id; an error of the expression is not one of the write, and the warning comes once
INSERT INTO customer VALUES ('eu', NULL, NULL, 'lost');
SELECT * FROM enqueued();
SELECT target_profile.watch('customer', 'acme', 'mboxPC', '(10 / nr)::text', '{tier}');
INSERT INTO customer VALUES ('eu', 5, 'e', 'a'), ('eu', 0, 'f', 'b'), ('eu', 0, 'g', 'c');
SELECT * FROM enqueued();
SELECT id_kind, profile_id, attrs, reason FROM target_profile.dead_letter ORDER BY id;
SELECT target_profile.watch('customer', 'acme', 'mboxPC', '(10 / nr)::text', '{tier}', on_invalid => 'error');
INSERT INTO customer VALUES ('eu', 0, 'h', 'd');
\echo :LAST_ERROR_SQLSTATE
-- a statement that is cancelled is cancelled
CREATE FUNCTION slow(integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN 'x'; END $$;
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'slow(nr)', '{tier}');
SET statement_timeout = '50ms';
INSERT INTO customer VALUES ('eu', 6, 'i', 'e');
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
-- a column of it that is renamed
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'region || nr', '{tier}');
ALTER TABLE customer RENAME nr TO number;
INSERT INTO customer VALUES ('eu', 7, 'j', 'f');
SELECT * FROM enqueued();
SELECT reason FROM target_profile.dead_letter ORDER BY id DESC LIMIT 1;
SELECT id_kind, state FROM target_profile.watch_state;
ALTER TABLE customer RENAME number TO nr;
INSERT INTO customer VALUES ('eu', 8, 'k', 'g');
SELECT * FROM enqueued();
SELECT id_kind, state FROM target_profile.watch_state;
-- what is none
CREATE FUNCTION pg_temp.try(id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    PERFORM target_profile.watch('customer', 'acme', 'mboxPC', id, '{tier}');
    RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ': ' || SQLERRM || coalesce('. ' || nullif(detail, ''), '');
END
$$;
SELECT id, pg_temp.try(id) FROM (VALUES (1, 'unknown'), (2, ''), (3, 'nr; DROP TABLE customer'), (4, 'nr, nr'), (5, '(SELECT 1)'),
    (6, 'count(nr)'), (7, '''constant'''), (8, 'new'), (9, 'ctid::text'), (10, 'nr) FROM pg_class --'), (11, 'generate_series(1, nr)'),
    (12, 'row_number() OVER ()'), (13, '$1'), (14, 'OLD.nr')) AS v (n, id) ORDER BY n;
SELECT target_profile.unwatch('customer');

-- a temporary table ends with the session
CREATE TEMPORARY TABLE passing (id text, tier text);
\set VERBOSITY terse
SELECT target_profile.watch('passing', 'acme', 'mboxPC', 'id', '{tier}');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE customer;
DROP FUNCTION enqueued(), conditions(regclass), lower(integer), slow(integer);
DROP SCHEMA "Crm";
SET client_min_messages = error;
DROP SCHEMA evil CASCADE;
DROP EXTENSION target_profile;
