-- Skips locked rows: the breaker of such a client writes its row again.
DELETE FROM target_profile.backing_off b
WHERE b.client_code IN (SELECT f.client_code FROM target_profile.backing_off f FOR UPDATE SKIP LOCKED)
