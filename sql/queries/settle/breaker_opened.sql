INSERT INTO target_profile.backing_off (client_code, since, next_try_at, reason)
VALUES ($1, $2, $3, $4)
ON CONFLICT (client_code) DO UPDATE
    SET since = excluded.since, next_try_at = excluded.next_try_at, reason = excluded.reason
