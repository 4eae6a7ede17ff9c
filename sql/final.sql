-- Last of all, when everything is there.

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'target_profile'::pg_catalog.regnamespace
        UNION ALL
        SELECT pg_catalog.unnest(ARRAY[
            '@extschema@.target_profile_update(text, text, text, jsonb, smallint)',
            '@extschema@.target_profile_preview(text, text, text, jsonb)',
            '@extschema@.target_profile_trigger()']::pg_catalog.regprocedure[])
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f);
    END LOOP;
END
$$;

-- Monitoring sees how it goes, not what is sent.
GRANT USAGE ON SCHEMA target_profile TO pg_monitor;
GRANT SELECT ON target_profile.status, target_profile.worker, target_profile.activity, target_profile.watch_state TO pg_monitor;
GRANT EXECUTE ON FUNCTION target_profile._workers(), target_profile._is_adopted(), target_profile._system_identifier()
    TO pg_monitor;
DO $$
BEGIN
    EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_monitor', target_profile._standing_function());
END
$$;

-- A worker that waits for the extension hears of it.
SELECT target_profile._wake();
