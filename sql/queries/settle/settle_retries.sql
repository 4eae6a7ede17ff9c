-- Only if it has the version that was read: an entry that was changed since has not failed.
UPDATE target_profile.outbox o
SET attempts = r.attempts, next_attempt_at = r.next_attempt_at, last_outcome = r.outcome
FROM unnest(:arrays) AS r (:columns)
WHERE o.id = r.id AND pg_catalog.jsonb_hash_extended(o.attrs,
    pg_catalog.hashtextextended(o.profile_id, pg_catalog.hashtextextended(o.id_kind,
    pg_catalog.hashtextextended(o.client_code, 0)))) = r.version
