-- Who may backfill what, and that nothing runs with more rights than the caller's.
CREATE EXTENSION target_profile;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\set QUIET on
SET client_min_messages = error;
SELECT target_profile.add_client('acme') \gset
CREATE ROLE regress_tp_owner;
CREATE ROLE regress_tp_caller;
CREATE ROLE regress_tp_reader;
SELECT target_profile.grant_to('regress_tp_owner', 'writer') \gset
SELECT target_profile.grant_to('regress_tp_reader', 'reader') \gset
CREATE SCHEMA regress_tp AUTHORIZATION regress_tp_owner;
GRANT USAGE ON SCHEMA regress_tp TO regress_tp_caller;
SET ROLE regress_tp_owner;
CREATE TABLE regress_tp.customer (id varchar(10) PRIMARY KEY, tier text, note text, seen_by text);
INSERT INTO regress_tp.customer VALUES ('1', 'a', '', 'regress_tp_owner'), ('2', 'b', '', 'regress_tp_caller'), ('3', 'c', '', 'regress_tp_caller');
SELECT target_profile.watch('regress_tp.customer', 'acme', 'mbox3rdPartyId', 'id', '{tier}', "when" => 'NEW.tier <> ''c''') \gset
CALL target_profile.backfill('regress_tp.customer');
-- whoever may backfill sees how far it is
SELECT state, rows_done, started_by FROM target_profile.backfill_progress;

-- without the level; with it, and without rights on the table
SET ROLE regress_tp_caller;
CALL target_profile.backfill('regress_tp.customer');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT target_profile.grant_to('regress_tp_caller', 'writer') \gset
SET ROLE regress_tp_caller;
CALL target_profile.backfill('regress_tp.customer');
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.stop_backfill('regress_tp.customer');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT SELECT (id, tier) ON regress_tp.customer TO regress_tp_caller;
SET ROLE regress_tp_caller;
CALL target_profile.backfill('regress_tp.customer');
SELECT target_profile.stop_backfill('regress_tp.customer');
RESET ROLE;
-- the record of the owner's run is as it was
SELECT state, rows_done, started_by FROM target_profile.backfill_progress;
GRANT UPDATE (note) ON regress_tp.customer TO regress_tp_caller;
DELETE FROM target_profile.outbox;
SET ROLE regress_tp_caller;
CALL target_profile.backfill('regress_tp.customer');
-- a column that the caller may not read
CALL target_profile.backfill('regress_tp.customer', 'seen_by IS NOT NULL');
\echo :LAST_ERROR_SQLSTATE
SELECT id FROM target_profile.backfill_run;
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_tp_reader;
SELECT state, started_by FROM target_profile.backfill_progress;
SELECT last_id FROM target_profile.backfill_run;
CALL target_profile.backfill('regress_tp.customer');
RESET ROLE;
SELECT profile_id, attrs, source FROM target_profile.outbox ORDER BY id;

-- row security is that of the caller
DELETE FROM target_profile.outbox;
GRANT SELECT, UPDATE ON regress_tp.customer TO regress_tp_caller;
ALTER TABLE regress_tp.customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_tp.customer USING (seen_by = current_user);
SET ROLE regress_tp_caller;
CALL target_profile.backfill('regress_tp.customer');
RESET ROLE;
SELECT profile_id FROM target_profile.outbox ORDER BY id;
ALTER TABLE regress_tp.customer DISABLE ROW LEVEL SECURITY;

-- Operators that the caller's search_path finds first are neither run with more rights, nor instead of those of the watch.
DELETE FROM target_profile.outbox;
SET ROLE regress_tp_owner;
CREATE FUNCTION regress_tp.seize(text, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION regress_tp.seize(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION regress_tp.seize(oid, oid) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION regress_tp.seize(integer, integer) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION regress_tp.count(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
DO $$
DECLARE
    type text;
    operator text;
BEGIN
    FOREACH type IN ARRAY '{text,varchar,oid,integer}'::text[] LOOP
        FOREACH operator IN ARRAY '{=,<>,<,>,<=,>=}'::text[] LOOP
            EXECUTE format('CREATE OPERATOR regress_tp.%s (LEFTARG = %s, RIGHTARG = %2$s, PROCEDURE = regress_tp.seize)', operator, type);
        END LOOP;
    END LOOP;
    EXECUTE 'CREATE OPERATOR regress_tp.+ (LEFTARG = bigint, RIGHTARG = bigint, PROCEDURE = regress_tp.count)';
END
$$;
CREATE FUNCTION regress_tp.pg_sleep(double precision) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'slept'; END $$;
RESET ROLE;
SET search_path = regress_tp, pg_catalog, public;
CALL target_profile.backfill('customer', chunk => 1);
CALL target_profile.backfill('customer', 'pg_catalog.length(tier) OPERATOR(pg_catalog.=) 1', chunk => 1);
-- the caller's own words mean what the caller sees
CALL target_profile.backfill('customer', 'tier <> ''a''', chunk => 1);
\echo :LAST_ERROR_SQLSTATE
SELECT target_profile.stop_backfill('customer');
RESET search_path;
SELECT profile_id FROM target_profile.outbox ORDER BY id;
SELECT "where", condition FROM target_profile.backfill_run;

DROP SCHEMA regress_tp CASCADE;
DROP EXTENSION target_profile;
DROP ROLE regress_tp_owner;
DROP ROLE regress_tp_caller;
DROP ROLE regress_tp_reader;
