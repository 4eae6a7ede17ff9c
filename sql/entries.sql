-- What became of an entry, by the id that target_profile_update returned, as far as a role may know: its own entries, and all for
-- whoever may read the tables. No row: there never was such an entry, its records are older than target_profile.response_retention,
-- or it is another role's. Runs with the rights of whoever calls it, who must be able to read the tables.
CREATE FUNCTION target_profile._fate(id bigint, asked_by oid)
    RETURNS TABLE (state text, response_id bigint, http_status integer, message text, finished_at timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    -- All that the index finds.
    SET gin_fuzzy_search_limit = 0
AS $$
    WITH last_response AS MATERIALIZED (
        SELECT r.id, r.http_status, r.message, r.outcome, r.answered_at, r.enqueued_by
        FROM target_profile._last_response($1, coalesce(
            (SELECT o.enqueued_at FROM target_profile.outbox o WHERE o.id = $1),
            (SELECT d.enqueued_at FROM target_profile.dead_letter d WHERE d.id = $1), '-infinity')) r
    ), waiting AS (
        SELECT CASE
                WHEN target_profile._in_flight(o.client_code, o.id_kind, o.profile_id, o.id) THEN 'in flight'
                ELSE 'waiting'
            END AS state,
            o.enqueued_by
        FROM target_profile.outbox o WHERE o.id = $1
    ), fate AS (
        SELECT w.state, l.id, l.http_status, l.message, NULL::timestamptz AS finished_at, w.enqueued_by
        FROM waiting w LEFT JOIN last_response l ON true
        UNION ALL
        SELECT CASE WHEN d.discarded_at IS NULL THEN 'dead' ELSE 'discarded' END, d.response_id, l.http_status, d.reason,
            coalesce(d.discarded_at, d.failed_at), d.enqueued_by
        FROM target_profile.dead_letter d LEFT JOIN last_response l ON l.id = d.response_id
        WHERE d.id = $1
        UNION ALL
        SELECT 'accepted', l.id, l.http_status, l.message, l.answered_at, l.enqueued_by
        FROM last_response l
        WHERE l.outcome = 'accepted'
          AND NOT EXISTS (SELECT FROM waiting)
          AND NOT EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = $1)
    )
    SELECT f.state, f.id, f.http_status, f.message, f.finished_at
    FROM fate f
    WHERE has_table_privilege($2, 'target_profile.response', 'SELECT')
       OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = f.enqueued_by AND pg_has_role($2, r.oid, 'USAGE'))
$$;

-- Whoever may read the tables does; for others wait looks, with the rights of the tables' owner, and at nothing but their own entries.
CREATE FUNCTION target_profile.result(id bigint)
    RETURNS TABLE (state text, response_id bigint, http_status integer, message text, finished_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    asked_by oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user);
BEGIN
    IF has_function_privilege('target_profile._fate(bigint, oid)', 'EXECUTE')
        AND has_table_privilege('target_profile.outbox', 'SELECT')
        AND has_table_privilege('target_profile.dead_letter', 'SELECT')
        AND has_table_privilege('target_profile.response', 'SELECT')
    THEN
        RETURN QUERY SELECT f.* FROM target_profile._fate(result.id, asked_by) f;
    ELSE
        -- A time below zero: without waiting, and of an entry of this very transaction too.
        RETURN QUERY SELECT w.* FROM target_profile.wait(result.id, '-1 s') w;
    END IF;
END
$$;
