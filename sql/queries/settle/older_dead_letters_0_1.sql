-- For SQL objects of version 0.1.0.
-- Dead letters, and dead letters that are sent again, that are older than an entry of their profile that has arrived.
SELECT arrived.number::pg_catalog.int4, older.id
FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS arrived (client_code, id_kind, profile_id, newest, number)
CROSS JOIN LATERAL (
    SELECT d.id
    FROM target_profile.dead_letter d
    WHERE d.client_code = arrived.client_code AND d.id_kind = arrived.id_kind AND d.profile_id = arrived.profile_id
      AND d.id < arrived.newest AND d.discarded_at IS NULL
    UNION ALL
    SELECT o.id
    FROM target_profile.outbox o
    WHERE o.client_code = arrived.client_code AND o.id_kind = arrived.id_kind AND o.profile_id = arrived.profile_id
      AND o.id < arrived.newest AND o.retried_at IS NOT NULL
) older
