-- An id that another dead letter has already (the sequence was set back) is left to that one, and a spare one is taken.
WITH given_up AS (
    SELECT * FROM unnest(:arrays) AS d (:columns)
), gone AS (
    -- Only if it has the version that was read, where all of it was read.
    DELETE FROM target_profile.outbox o USING given_up d
    WHERE o.id = d.id AND (d.version IS NULL OR pg_catalog.jsonb_hash_extended(o.attrs,
        pg_catalog.hashtextextended(o.profile_id, pg_catalog.hashtextextended(o.id_kind,
        pg_catalog.hashtextextended(o.client_code, 0)))) = d.version)
    RETURNING o.*
), buried AS (
    INSERT INTO target_profile.dead_letter
        (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, next_attempt_at, last_outcome,
         reason, response_id, enqueued_by)
    SELECT CASE WHEN taken.taken THEN d.spare_id ELSE g.id END,
        g.client_code, g.id_kind, g.profile_id, g.attrs, g.priority, g.source, g.enqueued_at, d.attempts,
        g.next_attempt_at, coalesce(d.outcome, g.last_outcome),
        CASE WHEN taken.taken THEN format('%s; it was entry %s, an id that another dead letter has', d.reason, g.id) ELSE d.reason END,
        d.response_id, g.enqueued_by
    FROM gone g JOIN given_up d USING (id)
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM target_profile.dead_letter l WHERE l.id = g.id)) taken (taken)
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM buried)
