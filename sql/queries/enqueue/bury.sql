-- An id that another dead letter has already (the sequence was set back) is left to that one, and a spare one is taken.
INSERT INTO target_profile.dead_letter
    (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason, failed_at, raw)
SELECT
    CASE
        WHEN l.id IS NULL
            OR EXISTS (SELECT FROM target_profile.dead_letter d WHERE d.id = l.id)
        THEN l.spare_id
        ELSE l.id
    END,
    l.client_code, l.id_kind, l.profile_id, l.attrs::pg_catalog.jsonb, l.priority, l.source, pg_catalog.clock_timestamp(), 0,
    l.reason, pg_catalog.clock_timestamp(), l.raw
FROM unnest(:arrays) AS l (:columns)
