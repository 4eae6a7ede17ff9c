-- Finds the client if it is not paused and its row is not locked. A change of these columns would make the pause wrong.
SELECT c.endpoint, c.auth_token, c.resumed_at
FROM target_profile.client c
WHERE c.client_code = $1 AND c.paused_at IS NULL
FOR NO KEY UPDATE SKIP LOCKED
