-- What became of an entry, by the id that target_profile_update returned. No row: there never was such an entry, or its records
-- are older than target_profile.response_retention.
CREATE FUNCTION target_profile.result(id bigint)
    RETURNS TABLE (state text, response_id bigint, http_status integer, message text, finished_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH last_response AS MATERIALIZED (
        SELECT r.id, r.http_status, r.message, r.outcome, r.answered_at
        FROM target_profile._last_response($1, coalesce(
            (SELECT o.enqueued_at FROM target_profile.outbox o WHERE o.id = $1),
            (SELECT d.enqueued_at FROM target_profile.dead_letter d WHERE d.id = $1), '-infinity')) r
    ), waiting AS (
        SELECT CASE
                WHEN target_profile._in_flight(o.client_code, o.id_kind, o.profile_id, o.id) THEN 'in flight'
                ELSE 'waiting'
            END AS state
        FROM target_profile.outbox o WHERE o.id = $1
    )
    SELECT w.state, l.id, l.http_status, l.message, NULL::timestamptz
    FROM waiting w LEFT JOIN last_response l ON true
    UNION ALL
    SELECT CASE WHEN d.discarded_at IS NULL THEN 'dead' ELSE 'discarded' END, d.response_id, l.http_status, d.reason,
        coalesce(d.discarded_at, d.failed_at)
    FROM target_profile.dead_letter d LEFT JOIN last_response l ON l.id = d.response_id
    WHERE d.id = $1
    UNION ALL
    SELECT 'accepted', l.id, l.http_status, l.message, l.answered_at
    FROM last_response l
    WHERE l.outcome = 'accepted'
      AND NOT EXISTS (SELECT FROM waiting)
      AND NOT EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = $1)
$$;
