-- What a crash has left open in activity, when a worker starts: what was reserved may have been sent, and counts as sent; the
-- responses that were not yet counted are.
CREATE FUNCTION target_profile._close_activity() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO target_profile.activity AS a
        (client_code, minute, accepted, rejected, unrecognised, unauthorized, throttled, failed, counted_to)
    SELECT r.client_code, date_trunc('minute', r.sent_at, 'UTC'),
        count(*) FILTER (WHERE r.outcome = 'accepted'), count(*) FILTER (WHERE r.outcome = 'rejected'),
        count(*) FILTER (WHERE r.outcome = 'unrecognised'), count(*) FILTER (WHERE r.outcome = 'unauthorized'),
        count(*) FILTER (WHERE r.outcome = 'throttled'), count(*) FILTER (WHERE r.outcome = 'failed'), max(r.id)
    FROM target_profile.response r
    WHERE r.id > (SELECT coalesce(max(a.counted_to), 0) FROM target_profile.activity a)
    GROUP BY 1, 2
    ON CONFLICT (client_code, minute) DO UPDATE SET
        accepted = a.accepted + excluded.accepted,
        rejected = a.rejected + excluded.rejected,
        unrecognised = a.unrecognised + excluded.unrecognised,
        unauthorized = a.unauthorized + excluded.unauthorized,
        throttled = a.throttled + excluded.throttled,
        failed = a.failed + excluded.failed,
        counted_to = greatest(a.counted_to, excluded.counted_to);
    UPDATE target_profile.activity AS a
    SET sent = greatest(a.sent, a.reserved), sent_backfill = greatest(a.sent_backfill, a.reserved_backfill)
    WHERE a.sent < a.reserved OR a.sent_backfill < a.reserved_backfill;
$$;
