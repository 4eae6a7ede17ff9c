-- The version says whose entry it was and what it held: it is settled only as that. A dead letter that is sent again leaves out what newer updates have set since; its age counts from then.
SELECT profile.number::pg_catalog.int4, entry.id, entry.attrs, entry.attempts, entry.enqueued_at, entry.retried,
    entry.version
FROM unnest($1, $2, $3) WITH ORDINALITY AS profile (client_code, id_kind, profile_id, number)
CROSS JOIN LATERAL (
    SELECT o.id, o.attempts, coalesce(o.retried_at, o.enqueued_at) AS enqueued_at, o.retried_at IS NOT NULL AS retried,
        CASE WHEN o.retried_at IS NULL THEN o.attrs
            ELSE o.attrs - ARRAY(SELECT v.attr FROM target_profile.overtaken v WHERE v.id = o.id)
        END::pg_catalog.text AS attrs,
        pg_catalog.jsonb_hash_extended(o.attrs,
            pg_catalog.hashtextextended(o.profile_id, pg_catalog.hashtextextended(o.id_kind,
            pg_catalog.hashtextextended(o.client_code, 0)))) AS version
    FROM target_profile.outbox o
    WHERE o.client_code = profile.client_code AND o.id_kind = profile.id_kind AND o.profile_id = profile.profile_id
    ORDER BY o.client_code, o.id_kind, o.profile_id, o.id
    LIMIT $4
) entry
