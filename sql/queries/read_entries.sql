SELECT profile.number::pg_catalog.int4, entry.id, entry.attrs, entry.attempts, entry.enqueued_at
FROM unnest($1, $2, $3) WITH ORDINALITY AS profile (client_code, id_kind, profile_id, number)
CROSS JOIN LATERAL (
    SELECT o.id, o.attrs::pg_catalog.text AS attrs, o.attempts, o.enqueued_at
    FROM target_profile.outbox o
    WHERE o.client_code = profile.client_code AND o.id_kind = profile.id_kind AND o.profile_id = profile.profile_id
    ORDER BY o.client_code, o.id_kind, o.profile_id, o.id
    LIMIT $4
) entry
