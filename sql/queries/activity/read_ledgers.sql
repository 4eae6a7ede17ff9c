-- The requests that count against the quotas: the minutes whose end is not 24 hours old.
SELECT a.client_code, a.minute, greatest(a.reserved, a.sent), greatest(a.reserved_backfill, a.sent_backfill)
FROM target_profile.activity a
WHERE a.minute > pg_catalog.clock_timestamp() - interval '24 hours 1 minute'
