-- A row that somebody has locked is not waited for: its breaker writes it anew.
DELETE FROM target_profile.backing_off b
WHERE b.client_code IN (SELECT f.client_code FROM target_profile.backing_off f FOR UPDATE SKIP LOCKED)
