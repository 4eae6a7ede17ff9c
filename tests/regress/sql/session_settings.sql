-- Every session sends the same text for the same value, and an id is made into text as an attribute is.
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE TABLE regress_tp_v (
    id timestamptz, f4 real, f8 double precision, i interval, ts timestamptz, b bytea, bs bytea[], r tstzrange, m money,
    fs double precision[]);
CREATE TRIGGER t AFTER INSERT ON regress_tp_v FOR EACH ROW EXECUTE FUNCTION target_profile_trigger(
    'acme', 'mboxPC', 'id', 'f4', 'f8', 'i', 'ts', 'b', 'bs', 'r', 'm', 'fs');
INSERT INTO regress_tp_v VALUES ('2024-01-01 00:00:00+00', 1234567, 2175196785934595.2, '1 day 2 hours',
    '2024-01-01 00:00:00+00', '\x4142', '{"\\x4142"}', '[2024-01-01 00:00:00+00,2024-01-02 00:00:00+00)', 12.5, '{0.1}');
SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Tokyo'; SET bytea_output = 'escape';
SET extra_float_digits = -3;
INSERT INTO regress_tp_v SELECT * FROM regress_tp_v;
SHOW datestyle;
RESET datestyle; RESET intervalstyle; RESET timezone; RESET bytea_output; RESET extra_float_digits;
SELECT count(*), count(DISTINCT (profile_id, attrs)) AS different FROM target_profile.outbox;
SELECT profile_id, jsonb_pretty(attrs) FROM target_profile.outbox ORDER BY id LIMIT 1;
DROP TABLE regress_tp_v;

-- A value that is far too large costs a dead letter, never the write.
CREATE TABLE regress_tp_big (id text, a text);
CREATE TRIGGER t AFTER INSERT ON regress_tp_big FOR EACH ROW
    EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'a');
\set VERBOSITY terse
INSERT INTO regress_tp_big VALUES ('1', repeat('x', 30 * 1024 * 1024));
SELECT count(*) FROM regress_tp_big;
SELECT profile_id, attrs IS NULL AS without_attrs FROM target_profile.dead_letter;
DROP TABLE regress_tp_big;

-- A row of client that is refused is not shown, since it holds the token.
SELECT target_profile.set_client('acme', auth_token => 'secret-token');
\set VERBOSITY default
UPDATE target_profile.client SET paused_by = 'admin';
UPDATE target_profile.client SET paused_by = 'nobody', paused_at = now();
UPDATE target_profile.client SET registered_at = NULL;
DROP EXTENSION target_profile;

-- Other encodings are refused. From PostgreSQL 18 on the context has the script's statement, too.
\set SHOW_CONTEXT never
CREATE DATABASE regress_tp_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\set current :DBNAME
\c regress_tp_latin1
CREATE EXTENSION target_profile;
\c :current
DROP DATABASE regress_tp_latin1;
