-- Adds to the numbers of each client and minute, up to what the columns hold; what is reserved may also become less.
INSERT INTO target_profile.activity AS a
    (client_code, minute, reserved, reserved_backfill, sent, sent_backfill, accepted, rejected, unrecognised, unauthorized,
     throttled, failed, counted_to)
SELECT n.client_code, n.minute, n.reserved, n.reserved_backfill, n.sent, n.sent_backfill, n.accepted, n.rejected,
    n.unrecognised, n.unauthorized, n.throttled, n.failed, :counted_to
FROM unnest(:arrays) AS n (:columns)
ON CONFLICT (client_code, minute) DO UPDATE SET
    reserved = greatest(least(a.reserved::pg_catalog.int8 + excluded.reserved, 2147483647), 0),
    reserved_backfill = greatest(least(a.reserved_backfill::pg_catalog.int8 + excluded.reserved_backfill, 2147483647), 0),
    sent = least(a.sent::pg_catalog.int8 + excluded.sent, 2147483647),
    sent_backfill = least(a.sent_backfill::pg_catalog.int8 + excluded.sent_backfill, 2147483647),
    accepted = least(a.accepted::pg_catalog.int8 + excluded.accepted, 2147483647),
    rejected = least(a.rejected::pg_catalog.int8 + excluded.rejected, 2147483647),
    unrecognised = least(a.unrecognised::pg_catalog.int8 + excluded.unrecognised, 2147483647),
    unauthorized = least(a.unauthorized::pg_catalog.int8 + excluded.unauthorized, 2147483647),
    throttled = least(a.throttled::pg_catalog.int8 + excluded.throttled, 2147483647),
    failed = least(a.failed::pg_catalog.int8 + excluded.failed, 2147483647),
    counted_to = greatest(a.counted_to, excluded.counted_to)
