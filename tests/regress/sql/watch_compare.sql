-- What an UPDATE of a watched table sends: it is sent if what is sent has changed, and not otherwise, whatever the columns' types are; and
-- comparing never fails.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE FUNCTION enqueued() RETURNS TABLE (profile_id text, attrs jsonb) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM target_profile.outbox RETURNING *)
    SELECT profile_id, attrs FROM taken ORDER BY id
$$;

-- equal values that are written differently, and the same ones that are stored differently
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE COLLATION ignores_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN amount AS numeric;
CREATE TABLE pairs (type text, before text, after text, n serial);
INSERT INTO pairs (type, before, after) VALUES
    ('float8', '0', '-0'), ('float4', '-0', '0'), ('float8', 'NaN', '-NaN'), ('float8', '1', '1.0'), ('float8', '1', '1.0000000000000002'),
    ('float8[]', '{0}', '{-0}'), ('float8[]', '{1}', '{1}'), ('int[]', '{1,2}', '[2:3]={1,2}'), ('int[]', '{1,NULL}', '{1,NULL}'),
    ('int[]', '{}', NULL), ('text[]', '{a}', '{A}'),
    ('bpchar', 'x', 'x '), ('char(5)', 'x', 'x '), ('"char"', 'x', 'y'), ('name', 'x', 'X'), ('varchar(5)', 'x', 'x '),
    ('text COLLATE ignores_case', 'abc', 'ABC'), ('text', '', NULL),
    ('numeric', '1.0', '1.00'), ('numeric', '1.0', '1.0'), ('numeric(9,2)', '1.0', '1.00'), ('numeric', 'NaN', 'NaN'), ('amount', '1', '1.0'),
    ('json', '{"a":1}', '{"a": 1}'), ('json', '{"a":1}', '{"a":1.0}'), ('json', '[1]', '[ 1 ]'), ('jsonb', '{"a":1}', '{"a": 1}'), ('jsonb', '{"a":1}', '{"a": 1.0}'),
    ('interval', '1 mon', '30 days'), ('interval', '1 day', '24:00'), ('interval', '1 day', '1 day'),
    ('point', '(1,2)', '(1,3)'), ('point', '(0,0)', '(-0,0)'),
    ('pair', '(1,a)', '(1,a)'), ('pair', '(1,a)', '(1,A)'), ('pair', '(,)', NULL), ('colour', 'red', 'green'), ('colour', 'red', 'red'),
    ('int4range', '[1,3)', '[1,2]'), ('int4range', '[1,3)', '[1,4)'), ('int4multirange', '{[1,3)}', '{[1,2),[2,3)}'),
    ('bytea', '\x00', '\x0000'), ('bit(3)', '101', '100'), ('varbit', '1', '10'), ('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'),
    ('inet', '1.2.3.4', '1.2.3.4/31'), ('inet', '::1', '::1/128'), ('cidr', '10.0.0.0/8', '10/8'), ('macaddr', '08:00:2b:01:02:03', '08-00-2b-01-02-03'),
    ('timestamptz', '2020-01-01 00:00+00', '2020-01-01 01:00+01'), ('timetz', '00:00+00', '01:00+01'), ('date', 'infinity', '-infinity'), ('money', '1', '1.00'),
    ('tsvector', 'a b', 'b a'), ('tid', '(0,1)', '(0,2)'), ('xid8', '1', '2'), ('oid', '1', '2'), ('pg_lsn', '0/1', '0/2'), ('box', '(1,1),(0,0)', '(0,0),(1,1)'),
    ('bool', 'true', 'false'), ('bool', 'true', 'yes'), ('int', '1', '01'), ('bigint', '1', NULL), ('regclass', 'pg_class', 'pg_type'), ('jsonpath', '$.a', '$."a"');
-- Each pair by watch, by watch with what changed alone, and by hand. The text that is sent is that of an INSERT.
CREATE FUNCTION try(p pairs) RETURNS TABLE (sent_before jsonb, sent_after jsonb, all_ bigint, changed bigint, by_hand bigint, backwards bigint)
LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
    DROP TABLE IF EXISTS c1, c2, c3;
    EXECUTE format('CREATE TABLE c1 (id text, v %s, note text)', p.type);
    CREATE TABLE c2 (LIKE c1);
    CREATE TABLE c3 (LIKE c1);
    PERFORM target_profile.watch('c1', 'acme', 'mbox3rdPartyId', 'id', '{v}');
    PERFORM target_profile.watch('c2', 'acme', 'mbox3rdPartyId', 'id', '{v}', send => 'changed');
    CREATE TRIGGER t AFTER INSERT OR UPDATE ON c3 FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'v');
    EXECUTE format('INSERT INTO c1 VALUES (''b'', %L), (''a'', %L)', p.before, p.after);
    SELECT max(attrs::text) FILTER (WHERE profile_id = 'b'), max(attrs::text) FILTER (WHERE profile_id = 'a') INTO sent_before, sent_after FROM enqueued();
    EXECUTE format('INSERT INTO c2 VALUES (''b'', %L); INSERT INTO c3 VALUES (''b'', %1$L)', p.before);
    DELETE FROM target_profile.outbox;
    EXECUTE format('UPDATE c1 SET v = %L WHERE id = ''b''', p.after);
    SELECT count(*) INTO all_ FROM enqueued();
    EXECUTE format('UPDATE c1 SET v = %L WHERE id = ''b''', p.before);
    SELECT count(*) INTO backwards FROM enqueued();
    EXECUTE format('UPDATE c2 SET v = %L', p.after);
    SELECT count(*) INTO changed FROM enqueued();
    EXECUTE format('UPDATE c3 SET v = %L', p.after);
    SELECT count(*) INTO by_hand FROM enqueued();
    RETURN NEXT;
END
$$;
SELECT type, before, after, sent_before -> 'v' AS sent_before, sent_after -> 'v' AS sent_after, all_, changed, by_hand, backwards,
    -- To NULL nothing is sent.
    CASE WHEN sent_before IS NOT DISTINCT FROM sent_after THEN all_ = 0 AND changed = 0 AND by_hand = 0 AND backwards = 0
        WHEN sent_after IS NULL THEN all_ = 0 AND backwards = 1 ELSE all_ = 1 AND changed = 1 AND by_hand = 1 END AS ok
FROM pairs p, try(p) ORDER BY n;
SELECT count(*) FROM target_profile.dead_letter;

-- the same value, stored out of line and compressed in other ways
CREATE TABLE large (id text, v text, j jsonb, note text);
ALTER TABLE large ALTER v SET STORAGE external;
SELECT target_profile.watch('large', 'acme', 'mbox3rdPartyId', 'id', '{j}');
SELECT target_profile.watch('large', 'acme', 'mboxPC', 'id', '{v}');
INSERT INTO large SELECT 'a', string_agg(md5(n::text), ''), jsonb_build_object('k', string_agg(md5(n::text), '')) FROM generate_series(1, 200) n;
SELECT count(*) FROM enqueued();
UPDATE large SET note = 'x';
ALTER TABLE large ALTER v SET STORAGE main, ALTER j SET STORAGE external;
UPDATE large SET v = v || '', j = (j::text)::jsonb;
SELECT count(*) FROM enqueued();

-- casts, operators and types of somebody else that fail or may not be called
CREATE TYPE guarded AS (a integer);
CREATE FUNCTION refuses(guarded) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the cast was called'; END $$;
CREATE CAST (guarded AS text) WITH FUNCTION refuses(guarded);
CREATE FUNCTION refuses(guarded, guarded) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the operator was called'; END $$;
CREATE OPERATOR = (LEFTARG = guarded, RIGHTARG = guarded, PROCEDURE = refuses);
CREATE FUNCTION refuses(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the operator was called'; END $$;
CREATE SCHEMA other;
CREATE OPERATOR other.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = refuses);
REVOKE ALL ON FUNCTION refuses(guarded) FROM public;
CREATE TABLE strange (id text, g guarded, d text);
SET search_path = other, pg_catalog, public;
SELECT target_profile.watch('strange', 'acme', 'mbox3rdPartyId', 'id', '{g,d}');
RESET search_path;
CREATE ROLE regress_tp_writer;
GRANT ALL ON strange TO regress_tp_writer;
SET ROLE regress_tp_writer;
INSERT INTO strange VALUES ('a', '(1)', 'x');
UPDATE strange SET g = '(2)';
UPDATE strange SET g = '(2)', d = 'x';
RESET ROLE;
SELECT * FROM enqueued();

-- an id that is an expression: the same id and nothing else is nothing
CREATE TABLE contact (email text, plan text);
SELECT target_profile.watch('contact', 'acme', 'mbox3rdPartyId', 'md5(lower(email))', '{plan}');
INSERT INTO contact VALUES ('A@b', 'x');
UPDATE contact SET email = 'a@B';
UPDATE contact SET email = 'c@B';
UPDATE contact SET email = 'C@B', plan = 'y';
SELECT left(profile_id, 6) AS id, attrs FROM enqueued();

-- a row that comes to meet the condition is sent, so that one which is stored otherwise is sent as well; where OLD is named it is not
CREATE TABLE met (id text, f float8, active boolean);
SELECT target_profile.watch('met', 'acme', 'mbox3rdPartyId', 'id', '{f}', "when" => 'NEW.active');
SELECT target_profile.watch('met', 'acme', 'mboxPC', 'id', '{f}', "when" => 'NEW.active AND OLD.active IS NOT FALSE');
INSERT INTO met VALUES ('a', 'NaN', false);
UPDATE met SET active = true;
SELECT * FROM enqueued();
UPDATE met SET f = '-NaN';
UPDATE met SET f = '1';
SELECT * FROM enqueued();

-- what the triggers look like
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'strange'::regclass ORDER BY tgname;

-- what is wrong with an id or a condition is said with the table
SELECT target_profile.watch('contact', 'acme', 'mboxPC', 'a', '{plan}');
SELECT target_profile.watch('contact', 'acme', 'mboxPC', 'lower(a)', '{plan}');
SELECT target_profile.watch('contact', 'acme', 'mboxPC', 'lower(NEW."A")', '{plan}');
SELECT target_profile.watch('contact', 'acme', 'mboxPC', '(SELECT email)', '{plan}');
SELECT target_profile.watch('contact', 'acme', 'mboxPC', 'coalesce(email, (SELECT max(x) FROM y))', '{plan}');
SELECT target_profile.watch('contact', 'acme', 'mboxPC', 'email', '{plan}', "when" => 'NEW.a = 1');
SELECT target_profile.watch('contact', 'acme', 'mboxPC', 'email', '{plan}', "when" => 'NEW.plan = OLD.b');
\echo :LAST_ERROR_SQLSTATE

DROP TABLE c1, c2, c3, pairs, large, strange, contact, met CASCADE;
DROP EXTENSION target_profile;
DROP FUNCTION enqueued, refuses(guarded), refuses(guarded, guarded), refuses(text, text) CASCADE;
DROP SCHEMA other CASCADE;
DROP TYPE pair, colour, guarded CASCADE;
DROP DOMAIN amount;
DROP COLLATION ignores_case;
DROP ROLE regress_tp_writer;
