UPDATE target_profile.outbox o
SET attempts = r.attempts, next_attempt_at = r.next_attempt_at, last_outcome = r.outcome
FROM unnest($1, $2, $3, $4) AS r (id, attempts, next_attempt_at, outcome)
WHERE o.id = r.id
