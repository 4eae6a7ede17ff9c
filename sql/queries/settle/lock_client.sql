-- Found if the client is to be paused and nobody has its row locked: what would cure it.
SELECT c.endpoint, c.auth_token, c.resumed_at
FROM target_profile.client c
WHERE c.client_code = $1 AND c.paused_at IS NULL
FOR NO KEY UPDATE SKIP LOCKED
