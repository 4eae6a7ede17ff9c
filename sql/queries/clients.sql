SELECT c.client_code, c.endpoint, c.auth_token, c.method, c.daily_quota, c.backfill_share,
       (extract(epoch FROM c.delay) * 1000000)::bigint,
       c.arrays, c.null_value, c.max_attempts,
       (extract(epoch FROM c.max_age) * 1000000)::bigint,
       c.max_in_flight,
       (extract(epoch FROM c.timeout) * 1000000)::bigint,
       c.paused_at IS NOT NULL
FROM target_profile.client c
WHERE $1 IS NULL OR c.client_code = $1
ORDER BY c.client_code
