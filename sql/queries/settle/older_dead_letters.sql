-- The newest dead letter that is older than what has arrived of its profile, waiting or sent again: of those with ids above 0, and of those
-- with others, which say nothing of when an entry was enqueued. The profile and the id are compared as a row and give the order, so that
-- only an index of both will do: dead letters must not be gone through by their ids.
SELECT arrived.number::pg_catalog.int4, max(older.id)
FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS arrived (client_code, id_kind, profile_id, newest, number)
CROSS JOIN (VALUES (1::pg_catalog.int8, 9223372036854775807), (-9223372036854775808, 1)) AS ids (low, beyond)
CROSS JOIN LATERAL (
    (SELECT d.id
    FROM target_profile.dead_letter d
    WHERE d.client_code = arrived.client_code AND d.id_kind = arrived.id_kind
      AND (d.profile_id, d.id) < (arrived.profile_id, least(arrived.newest, ids.beyond))
      AND (d.profile_id, d.id) >= (arrived.profile_id, ids.low)
      AND d.discarded_at IS NULL
    ORDER BY d.profile_id DESC, d.id DESC
    LIMIT 1)
    UNION ALL
    (SELECT o.id
    FROM target_profile.outbox o
    WHERE o.client_code = arrived.client_code AND o.id_kind = arrived.id_kind
      AND (o.profile_id, o.id) < (arrived.profile_id, least(arrived.newest, ids.beyond))
      AND (o.profile_id, o.id) >= (arrived.profile_id, ids.low)
      AND o.retried_at IS NOT NULL
    ORDER BY o.profile_id DESC, o.id DESC
    LIMIT 1)
) older
GROUP BY arrived.number, ids.low
