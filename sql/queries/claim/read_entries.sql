-- The redundant condition on client_code: see read_lanes.sql. The age of a dead letter counts from its retry. attrs is not detoasted here: the
-- worker looks at its size first.
SELECT profile.number::pg_catalog.int4, entry.id, entry.attrs, entry.attempts, entry.enqueued_at, entry.retried
FROM unnest($1, $2, $3) WITH ORDINALITY AS profile (client_code, id_kind, profile_id, number)
CROSS JOIN LATERAL (
    SELECT o.id, o.attempts, coalesce(o.retried_at, o.enqueued_at) AS enqueued_at, o.retried_at IS NOT NULL AS retried,
        o.attrs
    FROM target_profile.outbox o
    WHERE o.client_code = profile.client_code AND o.id_kind = profile.id_kind AND o.profile_id = profile.profile_id
      AND o.client_code >= profile.client_code
    ORDER BY o.client_code, o.id_kind, o.profile_id, o.id
    LIMIT $4
) entry
