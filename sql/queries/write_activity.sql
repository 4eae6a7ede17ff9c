-- Adds to the numbers of each client and minute; what is reserved may also become less.
INSERT INTO target_profile.activity AS a
    (client_code, minute, reserved, reserved_backfill, sent, sent_backfill, accepted, rejected, unrecognised, unauthorized,
     throttled, failed, counted_to)
SELECT n.client_code, n.minute, n.reserved, n.reserved_backfill, n.sent, n.sent_backfill, n.accepted, n.rejected,
    n.unrecognised, n.unauthorized, n.throttled, n.failed, $13
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    AS n (client_code, minute, reserved, reserved_backfill, sent, sent_backfill, accepted, rejected, unrecognised, unauthorized,
          throttled, failed)
ON CONFLICT (client_code, minute) DO UPDATE SET
    reserved = greatest(a.reserved + excluded.reserved, 0),
    reserved_backfill = greatest(a.reserved_backfill + excluded.reserved_backfill, 0),
    sent = a.sent + excluded.sent,
    sent_backfill = a.sent_backfill + excluded.sent_backfill,
    accepted = a.accepted + excluded.accepted,
    rejected = a.rejected + excluded.rejected,
    unrecognised = a.unrecognised + excluded.unrecognised,
    unauthorized = a.unauthorized + excluded.unauthorized,
    throttled = a.throttled + excluded.throttled,
    failed = a.failed + excluded.failed,
    counted_to = greatest(a.counted_to, excluded.counted_to)
