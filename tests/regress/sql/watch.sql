-- watch and unwatch: which triggers they create and drop, what those send, and what is refused.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
SELECT target_profile.add_client('beta-with-a-code-that-is-long-and-then-some-more-to-be-longest');
CREATE FUNCTION enqueued() RETURNS TABLE (client text, id_kind text, profile_id text, attrs jsonb, priority smallint) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *)
    SELECT left(client_code, 4), id_kind, profile_id, attrs, priority FROM taken ORDER BY id
$$;
CREATE FUNCTION triggers(regclass) RETURNS TABLE (name text, enabled "char", definition text) LANGUAGE sql AS $$
    SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY tgname
$$;

CREATE SCHEMA "Crm";
CREATE TABLE "Crm"."Customer" ("Id" integer, tier text, "Home City" text, balance numeric, doc json, active boolean DEFAULT true, note text);
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'thirdPartyId', 'Id', '{tier,home=Home City,balance,doc}', "when" => 'NEW.active -- all of them');
SELECT * FROM triggers('"Crm"."Customer"') \gx
SELECT "table", client_code, id_kind, id_column, attrs, send, "when", priority, on_invalid, always, schema_name, table_name,
    cardinality(statements) AS statements FROM target_profile.watched_table;
SELECT * FROM target_profile.watch_state;

INSERT INTO "Crm"."Customer" VALUES (1, 'gold', 'Basel', 1.0, '{"a": 1}', true), (2, 'silver', NULL, 2, NULL, true), (3, 'left', NULL, 0, NULL, false);
SELECT * FROM enqueued();
UPDATE "Crm"."Customer" SET note = 'unwatched', tier = tier;
SELECT * FROM enqueued();
-- equal, and written differently; what cannot be compared
UPDATE "Crm"."Customer" SET balance = 1.00 WHERE "Id" = 1;
UPDATE "Crm"."Customer" SET doc = '{"a": 2}' WHERE "Id" = 1;
UPDATE "Crm"."Customer" SET doc = '{"a": 2}' WHERE "Id" = 1;
-- another id; one that is not active
UPDATE "Crm"."Customer" SET "Id" = 20 WHERE "Id" = 2;
UPDATE "Crm"."Customer" SET tier = 'x' WHERE "Id" = 3;
SELECT * FROM enqueued();

-- the same again changes nothing; something else replaces it; both in one transaction are undone by it
SELECT array_agg(oid) AS before FROM pg_trigger WHERE tgrelid = '"Crm"."Customer"'::regclass \gset
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mbox3rdPartyId', 'Id', '{tier,home=Home City,balance,doc}', "when" => 'NEW.active -- all of them');
SELECT array_agg(oid) = :'before' AS same FROM pg_trigger WHERE tgrelid = '"Crm"."Customer"'::regclass;
BEGIN;
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'thirdPartyId', 'Id', '{note}');
SELECT attrs FROM target_profile.watched_table;
ROLLBACK;
SELECT array_agg(oid) = :'before' AS same FROM pg_trigger WHERE tgrelid = '"Crm"."Customer"'::regclass;
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'thirdPartyId', 'Id', '{tier,note}', send => 'changed', priority => 3::smallint, always => true);
SELECT name, enabled FROM triggers('"Crm"."Customer"');
SELECT attrs, send, "when", priority, always FROM target_profile.watched_table;
UPDATE "Crm"."Customer" SET tier = 'changed' WHERE "Id" = 1;
SELECT * FROM enqueued();
SET session_replication_role = replica;
UPDATE "Crm"."Customer" SET tier = 'replicated' WHERE "Id" = 1;
RESET session_replication_role;
SELECT * FROM enqueued();

-- several on one table: another id kind, another client
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'note', '{tier}');
SELECT target_profile.watch('"Crm"."Customer"', 'beta-with-a-code-that-is-long-and-then-some-more-to-be-longest', 'mbox3rdPartyId', 'Id', '{tier}');
SELECT name, length(name) FROM triggers('"Crm"."Customer"');
INSERT INTO "Crm"."Customer" ("Id", tier, note) VALUES (4, 'a', 'pc.4'), (5, 'b', 'pc.5');
SELECT * FROM enqueued();
SELECT target_profile.unwatch('"Crm"."Customer"', 'acme', 'pcId');
SELECT client_code, id_kind, state FROM target_profile.watch_state;
SELECT target_profile.unwatch('"Crm"."Customer"', 'acme', 'pcId');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.unwatch('"Crm"."Customer"', 'acme');
SELECT target_profile.unwatch('"Crm"."Customer"');
SELECT target_profile.unwatch('"Crm"."Customer"');
SELECT * FROM triggers('"Crm"."Customer"');
SELECT * FROM target_profile.watched_table;
-- the record is gone, the triggers are there
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'note', '{tier}');
DELETE FROM target_profile.watched_table;
SELECT target_profile.unwatch('"Crm"."Customer"', 'acme', 'mboxPC');
SELECT * FROM triggers('"Crm"."Customer"');

-- conditions that are not one expression
CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
CREATE FUNCTION pg_temp.try(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    PERFORM target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'note', '{tier}', "when" => condition);
    RETURN 'taken: ' || coalesce((SELECT string_agg(substring(definition FROM '(?n)WHEN .*$'), ' | ' ORDER BY name)
        FROM public.triggers('"Crm"."Customer"')), '');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ': ' || SQLERRM || coalesce('. ' || nullif(detail, ''), '');
END
$$;
SELECT condition, pg_temp.try(condition) AS result
FROM (VALUES
    (1, 'true) EXECUTE FUNCTION evil() --'),
    (2, 'true) OR (true'),
    (3, 'true) EXECUTE FUNCTION evil(); DROP TABLE "Crm"."Customer"; --'),
    (4, 'true; DROP TABLE "Crm"."Customer"'),
    (5, 'true FROM pg_class'),
    (6, 'true AS x'),
    (7, 'true x'),
    (8, 'true, false'),
    (9, 'DISTINCT true'),
    (10, 'true WHERE true'),
    (11, 'true UNION SELECT true'),
    (12, 'true ORDER BY 1'),
    (13, 'true LIMIT 1'),
    (14, 'true FOR UPDATE'),
    (15, 'true INTO x'),
    (16, '*'),
    (17, ''),
    (18, ' -- nothing'),
    (19, 'true /* open'),
    (20, 'NEW.tier = ''open'),
    (21, 'NEW.tier = $$open'),
    (22, '"open'),
    (23, '(true'),
    (24, 'NEW.unknown'),
    (25, 'NEW.tier'),
    (26, 'OLD.active'),
    (27, 'EXISTS (SELECT 1)'),
    (28, 'count(*) > 1'),
    (29, 'NEW.active /* closed */ AND true --'),
    (30, 'NEW.tier IN (''a)'', $a$b)$a$) OR NEW.active')) AS v (n, condition)
ORDER BY n;
SELECT target_profile.unwatch('"Crm"."Customer"');

-- what else is refused
CREATE VIEW a_view AS SELECT * FROM "Crm"."Customer";
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM "Crm"."Customer";
CREATE FOREIGN DATA WRAPPER regress_tp_fdw;
CREATE SERVER regress_tp_server FOREIGN DATA WRAPPER regress_tp_fdw;
CREATE FOREIGN TABLE a_foreign_table ("Id" integer, tier text) SERVER regress_tp_server;
CREATE SEQUENCE a_sequence;
SELECT target_profile.watch('a_view', 'acme', 'mboxPC', 'Id', '{tier}');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.watch('a_matview', 'acme', 'mboxPC', 'Id', '{tier}');
SELECT target_profile.watch('a_foreign_table', 'acme', 'mboxPC', 'Id', '{tier}');
SELECT target_profile.watch('a_sequence', 'acme', 'mboxPC', 'Id', '{tier}');
SELECT target_profile.watch('no_table', 'acme', 'mboxPC', 'Id', '{tier}');
SELECT target_profile.watch(4294967295::oid::regclass, 'acme', 'mboxPC', 'Id', '{tier}');
SELECT target_profile.watch('target_profile.outbox', 'acme', 'mboxPC', 'id', '{source}');
SELECT target_profile.watch('pg_class', 'acme', 'mboxPC', 'oid', '{relname}');
SELECT target_profile.watch('"Crm"."Customer"', 'other', 'mboxPC', 'Id', '{tier}');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.watch('"Crm"."Customer"', 'ACME', 'mboxPC', 'Id', '{tier}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'email', 'Id', '{tier}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'id', '{tier}');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{tier,"x=home city"}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{tier,NULL}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{tier,tier=note}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{=tier}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{tier}', send => 'some');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', '{tier}', on_invalid => 'ignore');
SELECT target_profile.watch(NULL, 'acme', 'mboxPC', 'Id', '{tier}');
SELECT target_profile.watch('"Crm"."Customer"', 'acme', 'mboxPC', 'Id', NULL);
SELECT target_profile.unwatch('"Crm"."Customer"', 'acme', 'email');
SELECT target_profile.unwatch('a_view');
DROP VIEW a_view;
DROP MATERIALIZED VIEW a_matview;
DROP FOREIGN DATA WRAPPER regress_tp_fdw CASCADE;
DROP SEQUENCE a_sequence;

-- names and values that would like to be more than that
CREATE TABLE "a'; b"" c" ("i'd" text, "x=y" text, "back\slash'" text);
SELECT target_profile.watch('"a''; b"" c"', 'acme', 'mboxPC', 'i''d', ARRAY['x=y', 'a''); DROP=back\slash''']);
INSERT INTO "a'; b"" c" VALUES ('1', 'x', 'y');
UPDATE "a'; b"" c" SET "back\slash'" = 'z';
SELECT * FROM enqueued();
SELECT state FROM target_profile.watch_state;
SELECT target_profile.unwatch('"a''; b"" c"');
DROP TABLE "a'; b"" c";

-- on_invalid
CREATE TABLE customer (id text, tier text, city text);
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}', on_invalid => 'error');
INSERT INTO customer VALUES ('a', 'x'), ('a/b', 'x');
SELECT target_profile.watch('customer', 'acme', 'mbox3rdPartyId', 'id', '{tier,city}');
INSERT INTO customer VALUES ('a', 'x'), ('a/b', 'x');
SELECT * FROM enqueued();
SELECT profile_id, reason FROM target_profile.dead_letter;

-- states
ALTER TABLE customer RENAME city TO town;
SELECT state FROM target_profile.watch_state;
UPDATE customer SET tier = 'y' WHERE id = 'a';
ALTER TABLE customer RENAME town TO city;
ALTER TABLE customer RENAME TO customers;
SELECT * FROM target_profile.watch_state;
ALTER TABLE customers DISABLE TRIGGER "target_profile_acme_mbox3rdPartyId_update";
SELECT state FROM target_profile.watch_state;
-- the same arguments mend what is not as it was
SELECT target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', '{tier,city}');
SELECT state FROM target_profile.watch_state;
DROP TRIGGER "target_profile_acme_mbox3rdPartyId_flush" ON customers;
SELECT state FROM target_profile.watch_state;
INSERT INTO customers VALUES ('b', 'without the statement trigger');
SELECT * FROM enqueued();
SELECT target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', '{tier,city}');
ALTER TABLE customers DROP city;
ALTER TABLE customers DROP city CASCADE;
SELECT state FROM target_profile.watch_state;
INSERT INTO customers VALUES ('c', 'written');
SELECT reason FROM target_profile.dead_letter ORDER BY id DESC LIMIT 1;
BEGIN;
SELECT target_profile.remove_client('acme', true);
SELECT state FROM target_profile.watch_state;
ROLLBACK;
SELECT oid AS gone FROM pg_class WHERE relname = 'customers' \gset
DROP TABLE customers;
SELECT state FROM target_profile.watch_state;
SELECT target_profile.unwatch(:gone::oid::regclass);
SELECT target_profile.unwatch(2147483647::oid::regclass, 'acme', 'mboxPC') IS NULL;
CREATE TABLE customer (id text, tier text);
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier}');
DROP TABLE customer;
CREATE TABLE customer (id text, tier text);
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier}');
SELECT "table", state FROM target_profile.watch_state;

-- who may: the table's owner with the level writer
CREATE ROLE regress_tp_owner;
CREATE ROLE regress_tp_other;
SELECT target_profile.grant_to('regress_tp_owner', 'writer');
SELECT target_profile.grant_to('regress_tp_other', 'writer');
CREATE SCHEMA regress_tp AUTHORIZATION regress_tp_owner;
CREATE TABLE regress_tp.customer (id text, tier text);
ALTER TABLE regress_tp.customer OWNER TO regress_tp_owner;
GRANT ALL ON regress_tp.customer TO regress_tp_other;
GRANT USAGE ON SCHEMA regress_tp TO regress_tp_other;
SET ROLE regress_tp_other;
SELECT target_profile.watch('regress_tp.customer', 'acme', 'mboxPC', 'id', '{tier}');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.unwatch('regress_tp.customer');
SELECT * FROM target_profile.watched_table;
SET ROLE regress_tp_owner;
-- what the owner of the extension runs is not the caller's
CREATE FUNCTION regress_tp.seize(text, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN IF current_user <> 'regress_tp_owner' THEN RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR regress_tp.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = regress_tp.seize);
CREATE OPERATOR regress_tp.= (LEFTARG = oid, RIGHTARG = oid, PROCEDURE = pg_catalog.oidne);
-- names in the condition are the caller's
CREATE FUNCTION regress_tp.is_vip(text) RETURNS boolean LANGUAGE sql AS $$ SELECT $1 ~ 'gold' $$;
SET search_path = regress_tp, pg_catalog, public;
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier}', "when" => 'is_vip(NEW.tier)');
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier}', "when" => 'is_vip(NEW.tier)');
INSERT INTO customer VALUES ('1', 'gold'), ('2', 'tin');
SELECT target_profile.unwatch('customer');
SELECT target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier}');
RESET search_path;
RESET ROLE;
SELECT * FROM enqueued();
SELECT "table", state FROM target_profile.watch_state;
SELECT target_profile.revoke_from('regress_tp_owner', 'writer');
SET ROLE regress_tp_owner;
SELECT target_profile.watch('regress_tp.customer', 'acme', 'mboxPC', 'id', '{tier}');
RESET ROLE;
SELECT target_profile.unwatch('regress_tp.customer');
DROP SCHEMA regress_tp CASCADE;

-- partitions: on the parent
CREATE TABLE part (id integer, region text, tier text, up text GENERATED ALWAYS AS (upper(tier)) STORED) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us');
SELECT target_profile.watch('part', 'acme', 'mboxPC', 'id', '{tier,up}');
INSERT INTO part VALUES (1, 'eu', 'a'), (2, 'us', 'b');
UPDATE part SET tier = 'c' WHERE id = 2;
UPDATE part SET region = 'us' WHERE id = 1;
SELECT * FROM enqueued();
SELECT target_profile.watch('part_eu', 'acme', 'mboxPC', 'id', '{tier}');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.unwatch('part_eu');
SELECT target_profile.watch('part_eu', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
SELECT target_profile.watch('part', 'acme', 'mboxPC', 'id', '{tier}');
SELECT "table", id_kind, state FROM target_profile.watch_state;
SELECT target_profile.unwatch('part');
SELECT name FROM triggers('part_eu');

DROP TABLE part, customer, "Crm"."Customer";
DROP SCHEMA "Crm";
DROP FUNCTION enqueued, triggers, evil;
DROP EXTENSION target_profile;
DROP ROLE regress_tp_owner, regress_tp_other;
