SELECT c.client_code, c.endpoint, c.auth_token, c.method, c.daily_quota, c.backfill_share, c.delay, c.arrays, c.null_value,
       c.max_attempts, c.max_age, c.max_in_flight, c.timeout, c.paused_at, c.resumed_at
FROM target_profile.client c
WHERE $1 IS NULL OR c.client_code = $1
ORDER BY c.client_code
