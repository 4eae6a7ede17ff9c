-- Responses that are in no number of activity yet, by client and minute. Only the worker that was there last can have left some, so
-- they are among the newest days; the others are not touched, and not locked.
CREATE FUNCTION target_profile._uncounted_responses()
    RETURNS TABLE (client_code text, minute timestamptz, accepted integer, rejected integer, unrecognised integer,
        unauthorized integer, throttled integer, failed integer, counted_to bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    counted bigint;
    place text;
BEGIN
    SELECT coalesce(max(a.counted_to), 0) INTO counted FROM target_profile.activity a;
    FOR place IN SELECT p.part FROM target_profile._response_parts('-infinity') p LIMIT 3 LOOP
        RETURN QUERY EXECUTE format($q$
            SELECT r.client_code::text, date_trunc('minute', r.sent_at, 'UTC'),
                count(*) FILTER (WHERE r.outcome = 'accepted')::integer,
                count(*) FILTER (WHERE r.outcome = 'rejected')::integer,
                count(*) FILTER (WHERE r.outcome = 'unrecognised')::integer,
                count(*) FILTER (WHERE r.outcome = 'unauthorized')::integer,
                count(*) FILTER (WHERE r.outcome = 'throttled')::integer,
                count(*) FILTER (WHERE r.outcome = 'failed')::integer,
                max(r.id)
            FROM %s r
            WHERE r.id > $1
            GROUP BY 1, 2$q$, place) USING counted;
    END LOOP;
END
$$;

-- What a crash has left open in activity, when a worker starts: what was reserved may have been sent, and counts as sent; the
-- responses that were not yet counted are.
CREATE FUNCTION target_profile._close_activity() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO target_profile.activity AS a
        (client_code, minute, accepted, rejected, unrecognised, unauthorized, throttled, failed, counted_to)
    SELECT r.client_code, r.minute, sum(r.accepted), sum(r.rejected), sum(r.unrecognised), sum(r.unauthorized),
        sum(r.throttled), sum(r.failed), max(r.counted_to)
    FROM target_profile._uncounted_responses() r
    GROUP BY 1, 2
    ON CONFLICT (client_code, minute) DO UPDATE SET
        accepted = least(a.accepted::bigint + excluded.accepted, 2147483647),
        rejected = least(a.rejected::bigint + excluded.rejected, 2147483647),
        unrecognised = least(a.unrecognised::bigint + excluded.unrecognised, 2147483647),
        unauthorized = least(a.unauthorized::bigint + excluded.unauthorized, 2147483647),
        throttled = least(a.throttled::bigint + excluded.throttled, 2147483647),
        failed = least(a.failed::bigint + excluded.failed, 2147483647),
        counted_to = greatest(a.counted_to, excluded.counted_to);
    UPDATE target_profile.activity AS a
    SET sent = greatest(a.sent, a.reserved), sent_backfill = greatest(a.sent_backfill, a.reserved_backfill)
    WHERE a.sent < a.reserved OR a.sent_backfill < a.reserved_backfill;
$$;
