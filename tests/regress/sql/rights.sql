-- Nobody becomes more than he is: what one role has written and another role's session runs.
CREATE EXTENSION target_profile;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\set QUIET on
SET client_min_messages = error;
SELECT target_profile.add_client('acme') \gset
CREATE ROLE regress_tp_mallory;
CREATE ROLE regress_tp_eve;
CREATE SCHEMA regress_tp;
CREATE SCHEMA regress_tp_eve AUTHORIZATION regress_tp_eve;
GRANT USAGE ON SCHEMA regress_tp TO public;
CREATE TABLE regress_tp.ran_as (who text, what text);
GRANT SELECT, INSERT ON regress_tp.ran_as TO public;

-- Types of pg_temp and the id expression, behind an application's own SECURITY DEFINER function with a pinned search_path.
CREATE DOMAIN regress_tp.plan AS text CHECK (value <> '');
CREATE TYPE regress_tp.tier AS ENUM ('gold');
CREATE TABLE regress_tp.subscription (email varchar(100), plan regress_tp.plan, tier regress_tp.tier, at date, n integer);
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mbox3rdPartyId', 'md5(lower(email))', '{plan}') \gset
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mboxPC',
    'md5(pg_catalog.concat(email::text, plan, (''gold''::regress_tp.tier)::text, at::text, n::bigint, ''regress_tp.subscription''::regclass::text,
        CASE WHEN n::numeric > 1::numeric THEN ''a''::name ELSE ''b''::name END, ''{1}''::integer[]))', '{plan}') \gset
CREATE FUNCTION regress_tp.subscribe(e text, p text) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ INSERT INTO regress_tp.subscription VALUES (e, p, 'gold', '2026-01-02', 1) $$;
CREATE TABLE regress_tp.by_hand (email varchar(100), plan text);
CREATE TRIGGER t AFTER INSERT ON regress_tp.by_hand FOR EACH ROW
    EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', '=md5(lower(email::text))', 'plan');
CREATE FUNCTION regress_tp.by_hand(e text, p text) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ INSERT INTO regress_tp.by_hand VALUES (e, p) $$;
SET ROLE regress_tp_mallory;
CREATE FUNCTION pg_temp.own() RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO regress_tp.ran_as VALUES (current_user, 'pg_temp'); RETURN true; END $$;
CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.varchar AS pg_catalog.varchar CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.name AS pg_catalog.name CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.date AS pg_catalog.date CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.int8 AS pg_catalog.int8 CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.regclass AS pg_catalog.regclass CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.tier AS regress_tp.tier CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.plan AS pg_catalog.text CHECK (pg_temp.own());
CREATE DOMAIN pg_temp.subscription AS pg_catalog.text CHECK (pg_temp.own());
SELECT regress_tp.subscribe('a@example.com', 'gold');
RESET ROLE;
SELECT who, what FROM regress_tp.ran_as;
SELECT id_kind, profile_id, attrs FROM target_profile.outbox ORDER BY id;
SELECT reason FROM target_profile.dead_letter;
-- A trigger by hand, whose text nobody has looked at.
TRUNCATE target_profile.outbox, regress_tp.ran_as;
SET ROLE regress_tp_mallory;
SELECT regress_tp.by_hand('a@example.com', 'gold');
RESET ROLE;
SELECT who, what FROM regress_tp.ran_as;
SELECT profile_id FROM target_profile.outbox;
DISCARD TEMP;
-- What is in pg_temp now belongs to another session then.
CREATE FUNCTION pg_temp.norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE DOMAIN pg_temp.mail AS text;
CREATE TEMP TABLE temporary (a integer);
CREATE OPERATOR pg_temp.### (RIGHTARG = text, FUNCTION = pg_temp.norm);
\set VERBOSITY default
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mbox3rdPartyId', 'pg_temp.norm(email)', '{plan}');
\set VERBOSITY terse
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mbox3rdPartyId', 'email::pg_temp.mail', '{plan}');
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mbox3rdPartyId', 'email || (''{x}''::pg_temp.mail[])::text', '{plan}');
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mbox3rdPartyId', 'email || ''temporary''::regclass', '{plan}');
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mbox3rdPartyId', 'OPERATOR(pg_temp.###) email', '{plan}');
SELECT target_profile.watch('regress_tp.subscription', 'acme', 'mbox3rdPartyId', 'email || (NULL::pg_temp.temporary).a', '{plan}');
SELECT id_column FROM target_profile.watched_table WHERE id_kind = 'mbox3rdPartyId';
DISCARD TEMP;
DROP TABLE regress_tp.by_hand, regress_tp.subscription;

-- A backfill that another role goes on with.
TRUNCATE target_profile.outbox, regress_tp.ran_as, target_profile.watched_table;
CREATE TABLE regress_tp.customer (id text PRIMARY KEY, tier text);
INSERT INTO regress_tp.customer VALUES ('1', 'a'), ('2', 'b'), ('3', 'c');
SELECT target_profile.watch('regress_tp.customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}') \gset
SELECT target_profile.grant_to('regress_tp_eve', 'writer') \gset
GRANT SELECT, UPDATE (tier) ON regress_tp.customer TO regress_tp_eve;
SET ROLE regress_tp_eve;
CREATE FUNCTION regress_tp_eve.differs(text, text) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
    IF current_user <> 'regress_tp_eve' THEN
        INSERT INTO regress_tp.ran_as VALUES (current_user, 'operator');
    END IF;
    -- Her own backfill stops here.
    IF $1 = 'c' AND current_user = 'regress_tp_eve' THEN
        RAISE EXCEPTION 'stopped';
    END IF;
    RETURN pg_catalog.textne($1, $2);
END
$$;
CREATE OPERATOR regress_tp_eve.<> (FUNCTION = regress_tp_eve.differs, LEFTARG = text, RIGHTARG = text);
SET search_path = regress_tp_eve, pg_catalog, public;
CALL target_profile.backfill('regress_tp.customer', 'tier <> ''none''', chunk => 1);
RESET search_path;
RESET ROLE;
SELECT state, rows_done FROM target_profile.backfill_progress;
\set VERBOSITY default
CALL target_profile.backfill('regress_tp.customer', 'tier <> ''none''', chunk => 1);
\set VERBOSITY terse
SELECT who, what FROM regress_tp.ran_as;
CALL target_profile.backfill('regress_tp.customer', 'tier <> ''none''', chunk => 1, restart => true);
SELECT who, what FROM regress_tp.ran_as;
SELECT state, rows_done, started_by = current_user AS own FROM target_profile.backfill_progress;
-- What means the same to both can be gone on with: each runs what he has written himself.
SET ROLE regress_tp_eve;
CREATE FUNCTION regress_tp_eve.fine(text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN IF $1 = 'c' AND current_user = 'regress_tp_eve' THEN RAISE EXCEPTION 'stopped'; END IF; RETURN true; END $$;
CALL target_profile.backfill('regress_tp.customer', 'regress_tp_eve.fine(tier)', chunk => 1);
RESET ROLE;
CALL target_profile.backfill('regress_tp.customer', 'regress_tp_eve.fine(tier)', chunk => 1);
SELECT state, rows_done, started_by FROM target_profile.backfill_progress;
-- A condition that somebody has written into the record is nobody's.
SET ROLE regress_tp_eve;
CALL target_profile.backfill('regress_tp.customer', 'regress_tp_eve.fine(tier)', chunk => 1);
RESET ROLE;
UPDATE target_profile.backfill_run SET condition = 'regress_tp_eve.differs(new.tier, '''')';
CALL target_profile.backfill('regress_tp.customer', 'regress_tp_eve.fine(tier)', chunk => 1);
SELECT who, what FROM regress_tp.ran_as;
-- By hand, in one session: a run is that of the role which began it.
SET ROLE regress_tp_eve;
SELECT target_profile._backfill_begin('regress_tp.customer'::regclass, 'regress_tp_eve.differs(tier, '''')', NULL, NULL, 1, true) AS run \gset
RESET ROLE;
SELECT target_profile._backfill_chunk(:run, 1);
SELECT target_profile._backfill_end(:run);
SELECT who, what FROM regress_tp.ran_as;
SET ROLE regress_tp_eve;
SELECT target_profile._backfill_chunk(:run, 1);
SELECT target_profile._backfill_end(:run) \gset
RESET ROLE;

DROP SCHEMA regress_tp, regress_tp_eve CASCADE;
SELECT target_profile.revoke_from('regress_tp_eve') \gset
DROP EXTENSION target_profile;
DROP OWNED BY regress_tp_mallory;
DROP ROLE regress_tp_mallory;
DROP ROLE regress_tp_eve;
