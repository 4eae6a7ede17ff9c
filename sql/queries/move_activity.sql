-- The clock was set by $2: what counts against the quotas moves along. Sorted, so that all of it is gone from where it was
-- before the first of it comes to where it belongs.
WITH gone AS (
    DELETE FROM target_profile.activity a WHERE a.minute >= $1
    RETURNING a.*
)
INSERT INTO target_profile.activity AS a
    (client_code, minute, reserved, reserved_backfill, sent, sent_backfill, accepted, rejected, unrecognised, unauthorized,
     throttled, failed, counted_to)
SELECT g.client_code, g.minute + $2, g.reserved, g.reserved_backfill, g.sent, g.sent_backfill, g.accepted, g.rejected,
    g.unrecognised, g.unauthorized, g.throttled, g.failed, g.counted_to
FROM gone g
ORDER BY g.client_code, g.minute
ON CONFLICT (client_code, minute) DO UPDATE SET
    reserved = a.reserved + excluded.reserved,
    reserved_backfill = a.reserved_backfill + excluded.reserved_backfill,
    sent = a.sent + excluded.sent,
    sent_backfill = a.sent_backfill + excluded.sent_backfill,
    accepted = a.accepted + excluded.accepted,
    rejected = a.rejected + excluded.rejected,
    unrecognised = a.unrecognised + excluded.unrecognised,
    unauthorized = a.unauthorized + excluded.unauthorized,
    throttled = a.throttled + excluded.throttled,
    failed = a.failed + excluded.failed,
    counted_to = greatest(a.counted_to, excluded.counted_to)
