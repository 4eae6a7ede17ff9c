-- What the trigger makes of a value, by its type: scalars exactly, and nothing that depends on the session's settings.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');

CREATE TYPE mood AS ENUM ('so-so', 'happy');
CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
CREATE DOMAIN amounts AS numeric[];
CREATE DOMAIN doc AS jsonb;
CREATE TYPE address AS (street text, zip integer, geo point, tags text[]);
CREATE TABLE value (
    id integer PRIMARY KEY,
    "numeric" numeric, "scaled" numeric(40, 20), "int8" bigint, "int2" smallint,
    "bool" boolean, "float8" double precision, "float4" real,
    "text" text, "char" char(5), "varchar" varchar, "name" name, "mood" mood, "email" email,
    "date" date, "timestamp" timestamp, "timestamptz" timestamptz, "time" time,
    "bytea" bytea, "uuid" uuid, "inet" inet, "bit" bit varying, "range" int4range,
    "texts" text[], "ints" integer[][], "amounts" amounts, "nothing" text[],
    "jsonb" jsonb, "json" json, "doc" doc, "address" address,
    "generated" text GENERATED ALWAYS AS (id || '!') STORED
);
SELECT format('CREATE TRIGGER t AFTER INSERT OR UPDATE ON value FOR EACH ROW EXECUTE FUNCTION target_profile_trigger(''acme'', ''mboxPC'', ''id'', %s)',
    string_agg(quote_literal(attname), ', ' ORDER BY attnum))
FROM pg_attribute WHERE attrelid = 'value'::regclass AND attnum > 1 \gexec

-- the same row under the defaults and under settings that change how values are printed
CREATE PROCEDURE insert_row(number integer) LANGUAGE sql AS $$
INSERT INTO value VALUES (number,
    12345678901234567890.10, 0.00000000010000000000, 9223372036854775807, -32768,
    false, 0.1, 1.1,
    E'tab\t"quote" \\ newline\n and 日本', 'ab', '', 'a name', 'so-so', 'me@example.com',
    '2024-02-03', '2024-02-03 04:05:06.789', '2024-02-03 04:05:06.789+00', '04:05:06',
    '\x00ff41', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '10.0.0.1/8', '1010', '[1,5)',
    '{"a b","c,d",NULL,"\"q\""}', '{{1,2},{3,4}}', '{1.50,12345678901234567890.123}', '{}',
    '{"a": {"b": 1.10, "c": [1, {"d": null}], "n": null, "t": true}, "x": "y", "big": 12345678901234567890.10}',
    '{"z":1.0e2,"a":"\u00e9"}', '{"k": [1]}', ROW ('Main "St"', 1234, '(1,2)', '{x,y}'));
$$;
SET timezone = 'UTC';
CALL insert_row(1);
SET datestyle = 'German, DMY';
SET intervalstyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -10;
CALL insert_row(2);
SET datestyle = 'ISO, YMD';
SELECT name, value, nullif(other, value) AS under_other_settings
FROM target_profile.outbox one
JOIN target_profile.outbox two ON two.profile_id = '2',
    jsonb_each_text(one.attrs) a (name, value),
    jsonb_extract_path_text(two.attrs, name) other
WHERE one.profile_id = '1'
ORDER BY name COLLATE "C";
RESET ALL;
DROP TABLE value;
TRUNCATE target_profile.outbox;

-- the types that are left, the same way: only the name of an object of the catalog (regclass) is as the session quotes it
CREATE TYPE span AS RANGE (subtype = timestamptz);
CREATE DOMAIN deep AS numrange[];
CREATE TYPE part AS ("since" timestamptz, "a.b" interval, tags text[]);
CREATE TABLE value (
    id integer PRIMARY KEY,
    "interval" interval, "intervals" interval[], "timetz" timetz, "money" money,
    "dates" date[], "timestamps" timestamptz[], "bools" boolean[], "byteas" bytea[], "floats" float8[], "uuids" uuid[], "moods" mood[],
    "int8range" int8range, "numrange" numrange, "daterange" daterange, "tsrange" tsrange, "tstzrange" tstzrange, "span" span,
    "multirange" int4multirange, "datemultirange" datemultirange, "emptyrange" int4range, "deep" deep, "ranges" daterange[],
    "cidr" cidr, "inet6" inet, "macaddr" macaddr, "macaddr8" macaddr8, "bit3" bit(3),
    "point" point, "line" line, "lseg" lseg, "box" box, "path" path, "polygon" polygon, "circle" circle,
    "tsvector" tsvector, "tsquery" tsquery, "jsonpath" jsonpath, "pg_lsn" pg_lsn, "oid" oid, "regclass" regclass, "xid8" xid8, "onechar" "char",
    "part" part, "parts" part[], "bounds" integer[], "empty" text, "blank" text, "null" text,
    "a ""quoted"" name" text, "dotted.name" text, "name with  spaces" text, "Grösse_日本" text, "profile.tier" text
);
SELECT format('CREATE TRIGGER t AFTER INSERT OR UPDATE ON value FOR EACH ROW EXECUTE FUNCTION target_profile_trigger(''acme'', ''mboxPC'', ''id'', %s)',
    string_agg(quote_literal(attname), ', ' ORDER BY attnum))
FROM pg_attribute WHERE attrelid = 'value'::regclass AND attnum > 1 \gexec
CREATE OR REPLACE PROCEDURE insert_row(number integer) LANGUAGE sql AS $$
INSERT INTO value VALUES (number,
    '1 year 2 months 3 days 04:05:06.7', '{1 day,-00:00:01}', '04:05:06.7+02', '1234.5',
    '{2024-02-03,infinity}', '{2024-02-03 04:05:06+00,NULL}', '{t,f,NULL}', '{"\\x00ff"}', '{0.1,1e20,NaN}',
    '{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', '{happy,so-so}',
    '[1,9223372036854775807)', '(1.50,)', '[2024-02-03,2024-03-01)', '[2024-02-03 04:05,2024-02-03 05:06)', '[2024-02-03 04:05+00,)', '[2024-02-03 04:05+00,)',
    '{[1,3),[5,8)}', '{[2024-02-03,2024-02-04)}', 'empty', '{"[1.5,2.50)"}', '{"[2024-02-03,2024-02-05)"}',
    '10.1.0.0/16', '2001:db8::1', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '101',
    '(1,2.5)', '{1,-1,0}', '[(0,0),(1,1)]', '(1,1),(0,0)', '((0,0),(1,1))', '((0,0),(1,0),(0,1))', '<(0,0),2>',
    $q$'a':1A 'it''s':2$q$, $q$'a' & !'b'$q$, '$.a[*] ? (@ > 1)', '16/B374D848', 4294967295, 'pg_class', '18446744073709551615', 'x',
    ROW ('2024-02-03 04:05:06+00', '1 day', '{}'), ARRAY[ROW ('2024-02-03 04:05:06+00', '1 day', NULL)::part], '[0:1]={7,8}', '', ' ', NULL,
    'a', 'b', 'c', 'd', 'e');
$$;
SET timezone = 'UTC';
CALL insert_row(1);
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German, DMY';
SET intervalstyle = 'sql_standard';
SET bytea_output = 'escape';
SET extra_float_digits = -10;
SET quote_all_identifiers = on;
SET search_path = public;
CALL insert_row(2);
SELECT name, value, nullif(other, value) AS under_other_settings
FROM target_profile.outbox one
JOIN target_profile.outbox two ON two.profile_id = '2',
    jsonb_each_text(one.attrs) a (name, value),
    jsonb_extract_path_text(two.attrs, name) other
WHERE one.profile_id = '1'
ORDER BY name COLLATE "C";
RESET ALL;
DROP TABLE value;
TRUNCATE target_profile.outbox;
-- xml, on servers that have been built with it
CREATE TABLE value (id integer, v xml);
CREATE TRIGGER t AFTER INSERT ON value FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'v');
INSERT INTO value VALUES (1, '<a b="c">d &amp; e</a>');
SELECT attrs FROM target_profile.outbox;
DROP TABLE value;
DROP DOMAIN deep;
DROP TYPE part, span;
TRUNCATE target_profile.outbox;

-- more values of some types
CREATE TABLE one (id serial, v jsonb);
CREATE TRIGGER t AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'v');
INSERT INTO one (v) VALUES ('"text"'), ('1.10'), ('true'), ('null'), ('[1, "a", null]'), ('{}'), ('{"a": {}}'), (NULL);
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id;
DROP TABLE one;
TRUNCATE target_profile.outbox;
CREATE TABLE one (id bigint, v double precision);
CREATE TRIGGER t AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'v');
INSERT INTO one VALUES (1, 'NaN'), (2, 'Infinity'), (3, '-Infinity'), (4, '-0'), (5, 1e15), (6, 123456789012345), (7, 1e-4), (8, 1e-5),
    (9, 1.7976931348623157e308), (10, 5e-324), (11, -1234.5678), (12, 0.30000000000000004);
SET extra_float_digits = 1;
SELECT v, attrs ->> 'v' = v::text AS same FROM one JOIN target_profile.outbox ON profile_id = one.id::text ORDER BY one.id;
DROP TABLE one;
TRUNCATE target_profile.outbox;
CREATE TABLE one (id numeric, v timestamp, d date, i interval);
CREATE TRIGGER t AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'v', 'd', 'i');
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
INSERT INTO one VALUES (1.0, 'infinity', '-infinity', '1 year 2 mons 3 days 04:05:06'), (2, '0044-03-15 12:00 BC', '0044-03-15 BC', '-1 day');
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id;
DROP TABLE one;

-- arrays as attributes of their own
SELECT target_profile.set_client('acme', arrays => 'indexed');
CREATE TABLE one (id text, v integer[], j jsonb);
CREATE TRIGGER t AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tags=v', 'j');
INSERT INTO one VALUES ('a', '{{1,2},{3,NULL}}', '{"l": [{"x": 1}, 2]}'), ('b', '{}', '[]');
SELECT profile_id, attrs FROM target_profile.outbox WHERE profile_id IN ('a', 'b') ORDER BY id;
DROP TABLE one;

DROP PROCEDURE insert_row;
DROP TYPE mood, address;
DROP DOMAIN email, amounts, doc;
DROP EXTENSION target_profile;
