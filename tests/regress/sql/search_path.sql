-- What runs with the owner's rights must not pick up the caller's own operators (supabase/supabase#36981 is of this kind).
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE ROLE regress_tp_plain;
CREATE SCHEMA regress_tp_plain AUTHORIZATION regress_tp_plain;
CREATE TABLE regress_tp_t (id text, a text);
GRANT INSERT ON regress_tp_t TO regress_tp_plain;
CREATE TRIGGER t AFTER INSERT ON regress_tp_t FOR EACH ROW
    EXECUTE FUNCTION target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'a');
SELECT target_profile.grant_to('regress_tp_plain', 'writer');
SET ROLE regress_tp_plain;
CREATE FUNCTION regress_tp_plain.seize(text, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION regress_tp_plain.seize(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE OPERATOR regress_tp_plain.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = regress_tp_plain.seize);
CREATE OPERATOR regress_tp_plain.= (LEFTARG = bigint, RIGHTARG = bigint, PROCEDURE = regress_tp_plain.seize);
SET search_path = regress_tp_plain, pg_catalog, public;
\set VERBOSITY terse
INSERT INTO public.regress_tp_t VALUES ('1', 'x');
SELECT target_profile_update('acme', 'mboxPC', '1', '{"a": 1}') > 0 AS enqueued;
SELECT count(*) FROM target_profile_preview('acme', 'mboxPC', '1', '{"a": 1}');
SELECT state FROM target_profile.wait(1, '0 s');
SELECT state FROM target_profile.result(1);
RESET search_path;
RESET ROLE;
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY id;
DROP TABLE regress_tp_t;
DROP EXTENSION target_profile;
DROP SCHEMA regress_tp_plain CASCADE;
DROP ROLE regress_tp_plain;
