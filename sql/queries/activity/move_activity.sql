-- The clock was set by $2: moves the minutes that count against the quotas. The sort makes the DELETE read all rows before the first one is
-- inserted.
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
    reserved = least(a.reserved::pg_catalog.int8 + excluded.reserved, 2147483647),
    reserved_backfill = least(a.reserved_backfill::pg_catalog.int8 + excluded.reserved_backfill, 2147483647),
    sent = least(a.sent::pg_catalog.int8 + excluded.sent, 2147483647),
    sent_backfill = least(a.sent_backfill::pg_catalog.int8 + excluded.sent_backfill, 2147483647),
    accepted = least(a.accepted::pg_catalog.int8 + excluded.accepted, 2147483647),
    rejected = least(a.rejected::pg_catalog.int8 + excluded.rejected, 2147483647),
    unrecognised = least(a.unrecognised::pg_catalog.int8 + excluded.unrecognised, 2147483647),
    unauthorized = least(a.unauthorized::pg_catalog.int8 + excluded.unauthorized, 2147483647),
    throttled = least(a.throttled::pg_catalog.int8 + excluded.throttled, 2147483647),
    failed = least(a.failed::pg_catalog.int8 + excluded.failed, 2147483647),
    counted_to = greatest(a.counted_to, excluded.counted_to)
