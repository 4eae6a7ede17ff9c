WITH given_up AS (
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6) AS d (id, attempts, reason, outcome, response_id, version)
), gone AS (
    -- Only as what it was read, if all of it was.
    DELETE FROM target_profile.outbox o USING given_up d
    WHERE o.id = d.id AND (d.version IS NULL OR pg_catalog.jsonb_hash_extended(o.attrs,
        pg_catalog.hashtextextended(o.profile_id, pg_catalog.hashtextextended(o.id_kind,
        pg_catalog.hashtextextended(o.client_code, 0)))) = d.version)
    RETURNING o.*
)
INSERT INTO target_profile.dead_letter
    (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, next_attempt_at, last_outcome,
     reason, response_id, enqueued_by)
SELECT g.id, g.client_code, g.id_kind, g.profile_id, g.attrs, g.priority, g.source, g.enqueued_at, d.attempts,
    g.next_attempt_at, coalesce(d.outcome, g.last_outcome), d.reason, d.response_id, g.enqueued_by
FROM gone g JOIN given_up d USING (id)
