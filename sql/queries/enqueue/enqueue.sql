-- The ids were drawn when the rows were collected, in their order. One that another entry has already (the sequence was set back) is
-- drawn anew.
INSERT INTO target_profile.outbox (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_by)
SELECT
    CASE
        WHEN EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = e.id)
        THEN (
            SELECT drawn.id
            FROM (
                SELECT pg_catalog.nextval('target_profile.outbox_id_seq'::pg_catalog.regclass)
                FROM pg_catalog.generate_series(1, 100000)
                WHERE e.id IS NOT NULL
            ) drawn (id)
            WHERE NOT EXISTS (SELECT FROM target_profile.outbox o WHERE o.id = drawn.id)
            LIMIT 1
        )
        ELSE e.id
    END,
    e.client_code, e.id_kind, e.profile_id, e.attrs::pg_catalog.jsonb, e.priority, e.source, e.enqueued_by
FROM unnest(:arrays) AS e (:columns)
RETURNING id
